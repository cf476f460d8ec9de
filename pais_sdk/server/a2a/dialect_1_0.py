"""A2A 1.0: the JSON of Protobuf messages."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, ClassVar

from a2a.server.events import Event
from a2a.types.a2a_pb2 import (
    CancelTaskRequest,
    GetTaskRequest,
    ListTasksRequest,
    SendMessageRequest,
    SendMessageResponse,
    SubscribeToTaskRequest,
)
from a2a.utils.errors import InvalidParamsError
from a2a.utils.proto_utils import to_stream_response
from google.protobuf.json_format import MessageToDict, ParseDict, ParseError
from google.protobuf.message import Message as ProtoMessage

from .dialect import Dialect, Operation, check_base64
from .rpc import Frame, RequestId

_REQUESTS: dict[Operation, type[ProtoMessage]] = {
    "send": SendMessageRequest,
    "stream": SendMessageRequest,
    "get": GetTaskRequest,
    "list": ListTasksRequest,
    "cancel": CancelTaskRequest,
    "subscribe": SubscribeToTaskRequest,
}
_FIELD = re.compile(r"Failed to parse (\w+) field")


class Dialect10(Dialect):
    """The dialect of clients that send `A2A-Version: 1.0`."""

    methods: ClassVar[Mapping[str, Operation]] = {
        "SendMessage": "send",
        "SendStreamingMessage": "stream",
        "GetTask": "get",
        "ListTasks": "list",
        "CancelTask": "cancel",
        "SubscribeToTask": "subscribe",
        "CreateTaskPushNotificationConfig": "push",
        "GetTaskPushNotificationConfig": "push",
        "ListTaskPushNotificationConfigs": "push",
        "DeleteTaskPushNotificationConfig": "push",
        "GetExtendedAgentCard": "card",
    }

    def read(self, frame: Frame) -> ProtoMessage:
        check_base64(frame, "raw")
        kind = _REQUESTS[self.methods[frame.method]]
        try:
            # Unknown fields are those of later versions.
            return ParseDict(frame.params, kind(), ignore_unknown_fields=True)
        except (ParseError, ValueError, OverflowError, RecursionError) as error:
            where = ".".join(_FIELD.findall(str(error)))
            raise InvalidParamsError(f"{where or 'params'} cannot be read as A2A 1.0 has it.") from None

    def result(self, operation: Operation, result: Any, request: ProtoMessage) -> Any:
        if operation == "send":
            return MessageToDict(SendMessageResponse(task=result))
        if operation == "list":
            assert isinstance(request, ListTasksRequest)
            listed = MessageToDict(result, always_print_fields_with_no_presence=True)
            if not request.include_artifacts:
                for task in listed["tasks"]:
                    task.pop("artifacts", None)  # absent, and not empty: they were not asked for
            return listed
        return MessageToDict(result)

    def event(self, event: Event, request_id: RequestId) -> Any:
        return MessageToDict(to_stream_response(event))
