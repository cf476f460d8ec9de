"""Messages, records and events as JSON; the same for every backend."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from functools import cache
from typing import Any

from pydantic import TypeAdapter
from pydantic_ai.conversation_store import ConversationRecord
from pydantic_ai.messages import ModelMessage, ModelMessagesTypeAdapter, ModelRequest, ModelResponse
from pydantic_core import from_json, to_json, to_jsonable_python

from .._whole_text import whole_json
from ..errors import MemoryUnavailableError
from .events import MemoryEvent


def pack_message(message: ModelMessage) -> bytes:
    """Return a message as JSON; what JSON cannot hold becomes text.

    Raises:
        MemoryUnavailableError: It cannot be written all the same.
    """
    # A model of somebody else's may return a subclass, with fields that no schema can be made of.
    return _pack(_adapter(ModelRequest if isinstance(message, ModelRequest) else ModelResponse), message)


def unpack_messages(packed: Sequence[bytes | str]) -> list[ModelMessage]:
    """Return the messages of what `pack_message` gave, in one go: that takes half the time of one by one.

    Raises:
        MemoryUnavailableError: They cannot be read, as those of a newer version of Pydantic AI may be.
    """
    if not packed:
        return []
    texts = [text if isinstance(text, bytes) else text.encode() for text in packed]
    try:
        return ModelMessagesTypeAdapter.validate_json(b"[" + b",".join(texts) + b"]")
    except ValueError as error:
        raise MemoryUnavailableError("a stored message cannot be read") from error


def pack_record(record: ConversationRecord) -> bytes:
    """Return a record as JSON.

    Raises:
        MemoryUnavailableError: It cannot be written.
    """
    return _pack(_adapter(ConversationRecord), record)


def unpack_record(packed: bytes | str) -> ConversationRecord:
    """Return the record of what `pack_record` gave.

    Raises:
        MemoryUnavailableError: It cannot be read.
    """
    try:
        return _adapter(ConversationRecord).validate_json(packed)
    except ValueError as error:
        raise MemoryUnavailableError("a stored record cannot be read") from error


def pack_event(event: MemoryEvent) -> bytes:
    """Return an event as JSON; what JSON cannot hold becomes text.

    Raises:
        MemoryUnavailableError: It cannot be written all the same.
    """
    try:
        data = event.to_dict()
        try:
            return to_json(data)
        except ValueError:
            return json.dumps(whole_json(data), ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise MemoryUnavailableError(f"an event cannot be stored as JSON: {error}") from error


def unpack_event(packed: bytes | str) -> MemoryEvent:
    """Return the event of what `pack_event` gave.

    Raises:
        MemoryUnavailableError: It cannot be read.
    """
    try:
        data: dict[str, Any] = from_json(packed)
    except ValueError as error:
        raise MemoryUnavailableError("a stored event cannot be read") from error
    return MemoryEvent(
        event_id=data["event_id"],
        timestamp=datetime.fromisoformat(data["timestamp"]),
        event_type=data["event_type"],
        content=data["content"],
        metadata=data["metadata"],
    )


@cache
def _adapter(kind: type[Any]) -> TypeAdapter[Any]:
    """Return the adapter of one class; for messages, to write with it takes half the time of the union's."""
    return TypeAdapter(kind)


def _pack(adapter: TypeAdapter[Any], value: object) -> bytes:
    try:
        try:
            return adapter.dump_json(value, fallback=_as_text)
        except ValueError:  # half a character, such as file names have that are not UTF-8
            data = adapter.dump_python(value, fallback=_as_text)
            plain = to_jsonable_python(data, fallback=_as_text, bytes_mode="base64")
            return json.dumps(whole_json(plain), ensure_ascii=False).encode()
    except ValueError as error:
        raise MemoryUnavailableError(f"a {type(value).__name__} cannot be stored as JSON: {error}") from error


def _as_text(value: object) -> str:
    try:
        return str(value)
    except Exception:  # noqa: BLE001 - a tool may return anything; its run is not lost for that
        return f"<{type(value).__name__}>"
