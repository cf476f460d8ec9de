"""A write: a record with what comes with it, as the script takes it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from pydantic_ai.conversation_store import ConversationEntry, ConversationRecord

from ..events import MemoryEvent
from ..message_json import pack_event, pack_message, pack_record

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_CENTURY_S = 100 * 365 * 86_400.0


@dataclass(frozen=True)
class Write:
    """What the script `write` stores."""

    record: ConversationRecord
    entries: Sequence[ConversationEntry]
    annotations: Sequence[MemoryEvent]
    expected_revision: str | None
    token: str
    ttl_s: float | None
    key: str
    """Tells it from every other write, and not from itself where it is sent again."""

    family: str = ""

    def arguments(self, limits: tuple[str | int, str | int]) -> list[str | bytes | int]:
        record = self.record
        arguments: list[str | bytes | int] = [
            self.key,
            record.revision,
            self.expected_revision or "",
            self.token,
            pack_record(record),
            label_of(record),
            record.head_id or "",
            to_microseconds(record.updated_at),
            to_milliseconds(self.ttl_s),
            self.family,
            *limits,
            len(record.branches),
            *record.branches,
            len(self.entries),
        ]
        for entry in self.entries:
            run_id = entry.message.run_id or ""
            arguments += [entry.id, entry.parent_id or "", run_id, pack_message(entry.message)]
        arguments += [pack_event(event) for event in self.annotations]
        return arguments


def label_of(record: ConversationRecord) -> str:
    return "-" if record.scope is None else f"+{record.scope}"


def to_microseconds(when: datetime) -> int:
    return (when - EPOCH) // timedelta(microseconds=1)


def to_milliseconds(seconds: float | None) -> str | int:
    """Return a time as Redis takes it; what is no number, or more than a century, is for ever."""
    if seconds is None or not seconds <= _CENTURY_S:
        return ""
    return max(1, round(max(seconds, 0) * 1000))


def or_empty(limit: int | None) -> str | int:
    return "" if limit is None else limit
