"""How a task is sent in each dialect of A2A."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .._delegation_wire import CONTEXT_ROLE
from .task_request import TaskRequest
from .values import RemoteProtocol

_LAST_MESSAGES = 10


@dataclass(frozen=True, kw_only=True)
class Dialect:
    """The words of one dialect."""

    send: str
    stream: str
    get: str
    cancel: str
    role: str
    part_type: str | None
    """The field that says of a part that it is text."""

    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    message: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """What else each message says."""

    metadata: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """The metadata of each message."""

    params: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """What else is said with a message that is answered when all is done."""

    session_fields: tuple[str, ...] = ()
    """Where the session is named beside the message."""

    def task(self, request: TaskRequest, *, streaming: bool) -> dict[str, Any]:
        """Return the call for a task."""
        context = request.context
        parts = [] if not context else [self._part(context) | {"metadata": {"role": CONTEXT_ROLE}}]
        message = {
            **self.message,
            "messageId": str(uuid.uuid4()),
            "role": self.role,
            "parts": [*parts, self._part(request.text)],
        }
        metadata = dict(self.metadata) if request.store else {**self.metadata, "store": False}
        if metadata:
            message["metadata"] = metadata
        params: dict[str, Any] = {"message": message}
        if request.session_id is not None:
            message["contextId"] = request.session_id
            params |= dict.fromkeys(self.session_fields, request.session_id)
        if not streaming:
            params |= self.params
        return _call(self.stream if streaming else self.send, params)

    def look(self, task_id: str) -> dict[str, Any]:
        """Return the request that asks how a task is."""
        return _call(self.get, {"id": task_id, "historyLength": _LAST_MESSAGES})

    def end(self, task_id: str) -> dict[str, Any]:
        """Return the request that ends a task."""
        return _call(self.cancel, {"id": task_id})

    def _part(self, text: str) -> dict[str, Any]:
        return {"text": text} if self.part_type is None else {self.part_type: "text", "text": text}


def _call(method: str, params: dict[str, Any]) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": str(uuid.uuid4()), "method": method, "params": params}


DIALECTS: Mapping[RemoteProtocol, Dialect] = {
    "a2a-1.0": Dialect(
        send="SendMessage",
        stream="SendStreamingMessage",
        get="GetTask",
        cancel="CancelTask",
        role="ROLE_USER",
        part_type=None,
        headers={"a2a-version": "1.0"},
    ),
    "a2a-0.3": Dialect(
        send="message/send",
        stream="message/stream",
        get="tasks/get",
        cancel="tasks/cancel",
        role="user",
        part_type="kind",
        message={"kind": "message"},
        params={"configuration": {"blocking": True}},
    ),
    "a2a-kaos": Dialect(
        send="SendMessage",
        stream="SendMessage",
        get="GetTask",
        cancel="CancelTask",
        role="user",
        part_type="type",
        metadata={"delegation": True},
        params={"configuration": {"blocking": True}},
        session_fields=("contextId", "sessionId"),
    ),
}
