"""A dialect of A2A: how requests are read, and results and events written."""

from __future__ import annotations

import base64
import binascii
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Literal, TypeAlias, cast

from a2a.server.events import Event
from a2a.utils.errors import InvalidParamsError
from google.protobuf.message import Message as ProtoMessage

from .rpc import Frame, RequestId

Operation: TypeAlias = Literal["send", "stream", "get", "list", "cancel", "subscribe", "push", "card"]
"""What a method does; `push` is whatever is about push notifications, `card` asks for the extended card."""


class Dialect(ABC):
    """All dialects ask the same of the same tasks."""

    methods: ClassVar[Mapping[str, Operation]]

    @abstractmethod
    def read(self, frame: Frame) -> ProtoMessage:
        """Return the request of a2a-sdk's handler.

        Raises:
            InvalidParamsError: It cannot be read; the text names the field, and quotes nothing.
        """

    @abstractmethod
    def result(self, operation: Operation, result: Any, request: ProtoMessage) -> Any:
        """Return the result of a JSON-RPC answer."""

    @abstractmethod
    def event(self, event: Event, request_id: RequestId) -> Any:
        """Return the result of one answer of a stream."""


def check_base64(frame: Frame, *path: str) -> None:
    """Refuse files that are not base64, which decoders would read as something else.

    Args:
        frame: The request.
        path: Where the data is in a part.
    """
    message = frame.params.get("message")
    parts: Any = cast("dict[str, Any]", message).get("parts") if isinstance(message, dict) else None
    if not isinstance(parts, list):
        return
    for index, part in enumerate(cast("list[Any]", parts)):
        value = part
        for key in path:
            value = cast("dict[str, Any]", value).get(key) if isinstance(value, dict) else None
        if isinstance(value, str) and not _is_base64(value):
            raise InvalidParamsError(f"message.parts[{index}].{'.'.join(path)} is not base64.")


def _is_base64(text: str) -> bool:
    plain = text.replace("-", "+").replace("_", "/")  # Protobuf's JSON has both alphabets
    try:
        base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True)
    except (binascii.Error, ValueError):
        return False
    return True
