"""A2A 0.3, by a2a-sdk's own converters."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from a2a.compat.v0_3 import conversions
from a2a.compat.v0_3 import types as v0_3
from a2a.server.events import Event
from a2a.utils.errors import InvalidParamsError
from a2a.utils.proto_utils import to_stream_response
from google.protobuf.json_format import ParseError
from google.protobuf.message import Message as ProtoMessage
from pydantic import BaseModel, ValidationError

from .dialect import Dialect, Operation, check_base64
from .rpc import Frame, RequestId

_REQUESTS: dict[Operation, tuple[type[BaseModel], Callable[[Any], ProtoMessage]]] = {
    "send": (v0_3.SendMessageRequest, conversions.to_core_send_message_request),
    # The converter reads what both kinds of request have.
    "stream": (v0_3.SendStreamingMessageRequest, conversions.to_core_send_message_request),
    "get": (v0_3.GetTaskRequest, conversions.to_core_get_task_request),
    "cancel": (v0_3.CancelTaskRequest, conversions.to_core_cancel_task_request),
    "subscribe": (v0_3.TaskResubscriptionRequest, conversions.to_core_subscribe_to_task_request),
}


class Dialect03(Dialect):
    """The dialect of clients that send no `A2A-Version`, or 0.3."""

    methods: ClassVar[Mapping[str, Operation]] = {
        "message/send": "send",
        "message/stream": "stream",
        "tasks/get": "get",
        "tasks/cancel": "cancel",
        "tasks/resubscribe": "subscribe",
        "tasks/pushNotificationConfig/set": "push",
        "tasks/pushNotificationConfig/get": "push",
        "tasks/pushNotificationConfig/list": "push",
        "tasks/pushNotificationConfig/delete": "push",
        "agent/getAuthenticatedExtendedCard": "card",
    }

    def read(self, frame: Frame) -> ProtoMessage:
        check_base64(frame, "file", "bytes")
        kind, to_core = _REQUESTS[self.methods[frame.method]]
        try:
            # The id is not looked at: here it may be null, and there it must not.
            request = kind.model_validate({**frame.body, "params": frame.params, "id": frame.id or ""})
        except ValidationError as error:
            first = error.errors(include_url=False, include_context=False, include_input=False)[0]
            where = ".".join(str(step) for step in first["loc"])
            raise InvalidParamsError(f"{where} cannot be read as A2A 0.3 has it: {first['msg']}.") from None
        try:
            return to_core(request)
        except (ParseError, ValueError, TypeError, KeyError, OverflowError, RecursionError):
            raise InvalidParamsError("params cannot be read as A2A 0.3 has it.") from None

    def result(self, operation: Operation, result: Any, request: ProtoMessage) -> Any:
        return _json(conversions.to_compat_task(result))

    def event(self, event: Event, request_id: RequestId) -> Any:
        answer = conversions.to_compat_stream_response(to_stream_response(event), request_id)
        return _json(answer.result)


def _json(model: BaseModel) -> Any:
    return model.model_dump(mode="json", by_alias=True, exclude_none=True)
