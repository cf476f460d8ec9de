"""What is read, each in one statement."""

from __future__ import annotations

from collections.abc import Sequence
from operator import itemgetter

from pydantic_ai.conversation_store import ConversationEntry, ConversationRecord
from pydantic_ai.messages import ModelMessage

from ..event_log import Annotation, SessionLog
from ..message_json import unpack_event, unpack_messages, unpack_record
from ..page import SessionPage, from_cursor, to_cursor
from ..session_id import from_internal, to_internal
from .connection import Row, Step
from .database import Database
from .state import SessionState, from_us, from_window, scope_key
from .statements import ALL, ENTRY, HISTORY, LOG, PAGE, RECORD, RECORDS, RECORDS_OF_LABEL, WINDOW

_first = itemgetter(0)


def window_step(session_id: str, limit: int | None) -> Step:
    """Return what reads the newest part of a session's history, in whole runs."""
    return Step(WINDOW, {"id": session_id, "limit": _at_most(limit)})


def window_of(rows: Sequence[Row], limit: int | None) -> tuple[SessionState | None, bool, list[ModelMessage]]:
    """Return a session, whether its time is over, and its history, of what `window_step` has read."""
    if not rows:
        return None, False, []
    session, *messages = sorted(rows, key=_first)
    state = from_window(session, messages[-1] if messages else None)
    return state, bool(session[7]), [] if limit == 0 else unpack_messages([row[1] for row in messages])


async def read_log(database: Database, session_id: str, limit: int | None) -> SessionLog | None:
    """Return the newest part of what is stored for a session, or None for an unknown one."""
    most = _at_most(limit)
    rows = await database.read(LOG, id=session_id, limit=most, annotations=most + 1)
    depth = next((row[1] for row in rows if row[0] == 0), None)
    if depth is None:
        return None
    entries = sorted((row[1:] for row in rows if row[0] == 1), key=_first)
    added = sorted(((row[2], row[1], row[5]) for row in rows if row[0] == 2), key=_first)
    start: int = entries[0][0] if entries else depth
    newest = added[-limit:] if limit else [] if limit == 0 else added
    return SessionLog(
        _entries([(row[2], row[3], row[4]) for row in entries]),
        [Annotation(unpack_event(event), after) for _, after, event in newest],
        start,
        complete=start == 0 or (bool(entries) and entries[0][3] is None),
        lacks_annotations=len(newest) < len(added),
    )


async def read_page(database: Database, scope: str | None, limit: int, cursor: str | None) -> SessionPage:
    """Return sessions of a scope, the most recently used first."""
    limit = _at_most(limit)
    used_us, session_id = (1 << 62, "") if cursor is None else from_cursor(cursor)
    rows = await database.read(
        PAGE, scope=scope_key(scope), used_us=used_us, id=to_internal(scope, session_id), limit=limit + 1
    )
    page = SessionPage(from_internal(row[0]) for row in rows[:limit])
    page.used = [from_us(row[1]) for row in rows[:limit]]
    if len(rows) > limit > 0:
        page.next = to_cursor(rows[limit - 1][1], page[-1])
    return page


async def read_record(database: Database, session_id: str) -> ConversationRecord | None:
    """Return the record of a session, or None for an unknown one."""
    rows = await database.read(RECORD, id=session_id)
    return unpack_record(rows[0][0]) if rows else None


async def read_records(database: Database, label: str | None, limit: int | None) -> list[ConversationRecord]:
    """Return records, or those with a label, the most recently updated first."""
    if label is None:
        rows = await database.read(RECORDS, limit=_at_most(limit))
    else:
        rows = await database.read(RECORDS_OF_LABEL, label=label, limit=_at_most(limit))
    return [unpack_record(row[0]) for row in rows]


async def read_entry(database: Database, entry_id: str) -> ConversationEntry:
    """Return an entry.

    Raises:
        LookupError: There is none with this id.
    """
    rows = await database.read(ENTRY, id=entry_id)
    if not rows:
        raise LookupError(entry_id)
    return _entries(rows)[0]


async def read_history(database: Database, head_id: str, limit: int | None) -> list[ConversationEntry]:
    """Return the newest `limit` entries up to one, oldest first.

    Raises:
        LookupError: There is none with this id, or not all those that it follows are stored.
    """
    rows = sorted(await database.read(HISTORY, head_id=head_id, limit=_at_most(limit)), key=_first)
    missing = rows[0][2] if rows else head_id
    if missing is not None and len(rows) < _at_most(limit):
        raise LookupError(missing)
    return _entries([row[1:] for row in rows])


def _at_most(limit: int | None) -> int:
    return ALL if limit is None else min(limit, ALL)


def _entries(rows: Sequence[Row]) -> list[ConversationEntry]:
    messages = unpack_messages([row[2] for row in rows])
    return [
        ConversationEntry(id=row[0], parent_id=row[1], message=message)
        for row, message in zip(rows, messages, strict=True)
    ]
