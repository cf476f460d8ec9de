"""What a write has to know of a session as it is stored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from pydantic_ai.conversation_store import ConversationRecord

from ..message_json import pack_record, unpack_record
from ..session_id import scope_of
from .connection import Row, SqlConnection
from .places import Place
from .statements import PLACES, SESSION

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class SessionState:
    """A session as it was when it was read."""

    revision: str
    family: str
    """Which sessions may share messages with it: those forked from it, and from those."""

    depth: int
    """How many messages its history has, dropped ones too."""

    dropped: int
    """How many of them retention has dropped, as far as is known."""

    trim_at: int
    """Trimming is of no use before it has so many."""

    packed: str
    head: Place | None = None
    """Where its newest message is; None also where that was not read."""

    @property
    def record(self) -> ConversationRecord:
        return unpack_record(self.packed)


def from_window(session: Row, newest: Row | None) -> SessionState:
    """Return the state of what `WINDOW` read: the session's row, and that of its newest message."""
    _, packed, revision, family, depth, dropped, trim_at, _ = session
    head = None if newest is None else Place(newest[0], newest[4], newest[2])
    return SessionState(revision, family, depth, dropped, trim_at, packed, head)


async def read_state(connection: SqlConnection, session_id: str) -> tuple[SessionState, bool] | None:
    """Return a session, held against other writers until the end of the transaction, and whether it can be seen."""
    rows = await connection.fetch(SESSION, id=session_id)
    if not rows:
        return None
    revision, family, depth, dropped, trim_at, packed, visible = rows[0]
    return SessionState(revision, family, depth, dropped, trim_at, packed), bool(visible)


async def read_places(connection: SqlConnection, ids: Sequence[str]) -> tuple[dict[str, Place], set[str]]:
    """Return where stored entries are, of those of these ids that are stored, and their families."""
    if not ids:
        return {}, set()
    rows = await connection.fetch(PLACES, ids=connection.dialect.pack_ids(ids))
    return {row[0]: Place(row[2], row[3], row[4]) for row in rows}, {row[1] for row in rows}


def session_values(record: ConversationRecord, *, family: str, depth: int, ttl_s: float | None) -> dict[str, Any]:
    """Return the values of a session's row.

    Raises:
        MemoryUnavailableError: The record cannot be stored.
    """
    return {
        "id": record.conversation_id,
        "scope": scope_key(scope_of(record.conversation_id)),
        "label": record.scope,
        "family": family,
        "revision": record.revision,
        "head_id": record.head_id,
        "depth": depth,
        "record": pack_record(record).decode(),
        "updated_us": to_us(record.updated_at),
        "ttl_us": None if ttl_s is None else round(ttl_s * 1_000_000),
    }


def scope_key(scope: str | None) -> str:
    """Return a scope as a column that is never null."""
    return "" if scope is None else f"{scope}/"


def to_us(when: datetime) -> int:
    """Return microseconds since 1970; a time without a zone is UTC."""
    return ((when if when.tzinfo else when.replace(tzinfo=UTC)) - _EPOCH) // timedelta(microseconds=1)


def from_us(us: int) -> datetime:
    """Return the time of microseconds since 1970."""
    return _EPOCH + timedelta(microseconds=us)
