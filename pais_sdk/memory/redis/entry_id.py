"""The id of a stored message, and where it is stored."""

from __future__ import annotations

from dataclasses import replace
from typing import Self

from pydantic_ai.conversation_store import ConversationRecord


class EntryId(str):
    """Compares and prints as the id alone.

    Attributes:
        family: The hash that holds the message; all forks of a session share it.
    """

    family: str

    def __new__(cls, text: str, family: str = "") -> Self:
        entry_id = super().__new__(cls, text)
        entry_id.family = family
        return entry_id


def family_of(entry_id: str | None) -> str:
    """Return the family of an id that this store gave; the empty text for any other."""
    return entry_id.family if isinstance(entry_id, EntryId) else ""


def located(record: ConversationRecord, family: str) -> ConversationRecord:
    """Return a record whose ids know where their messages are."""
    return replace(
        record,
        head_id=None if record.head_id is None else EntryId(record.head_id, family),
        forked_at=None if record.forked_at is None else EntryId(record.forked_at, family),
        branches=[EntryId(branch, family) for branch in record.branches],
    )
