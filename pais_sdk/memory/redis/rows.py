"""Rows of a list of sessions, as the script answers them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from pydantic import TypeAdapter
from pydantic_ai.conversation_store import ConversationRecord
from pydantic_core import from_json

from .entry_id import located


@dataclass(frozen=True)
class Row:
    session_id: str
    """The store's own id."""

    score: str
    """Microseconds since 1970."""

    record: ConversationRecord | None = None


def rows_of(answer: Sequence[Any], *, with_records: bool) -> Iterator[Row]:
    """Yield the rows of one answer; their records, where it has them, were packed by `pack_record`."""
    names, scores, *_, records, families = answer
    listed = zip(from_json(names), from_json(scores), strict=True)
    if not with_records:
        return (Row(name, score) for name, score in listed)
    found = _records().validate_json(b"[" + records + b"]")  # in one go: that takes half the time of one by one
    return (
        Row(name, score, located(record, family))
        for (name, score), record, family in zip(listed, found, from_json(families), strict=True)
    )


@cache
def _records() -> TypeAdapter[list[ConversationRecord]]:
    return TypeAdapter(list[ConversationRecord])
