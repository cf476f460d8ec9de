"""Writes of records and annotations, each in a transaction of the caller's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pydantic_ai.conversation_store import ConversationConflict, ConversationEntry, ConversationRecord

from ..append import new_record
from .connection import SqlConnection, Step
from .dropping import drop_sessions, lock_all
from .places import PlacedEntry, placed
from .state import SessionState, read_places, read_state, session_values
from .statements import (
    EXISTS,
    FAMILIES,
    FAMILY_OF_ENTRIES,
    FAMILY_OF_SESSIONS,
    INSERT_ANNOTATION,
    INSERT_ENTRY,
    INSERT_SESSION,
    KEEP_ANNOTATIONS,
    UPDATE_SESSION,
    USE_SESSION,
)


@dataclass(frozen=True)
class Written:
    """What a write has made of a session."""

    session_id: str
    created: bool
    depth: int = 0
    dropped: int = 0
    trim_at: int = 0


async def write_record(
    connection: SqlConnection,
    record: ConversationRecord,
    entries: Sequence[ConversationEntry],
    packed: Sequence[str],
    expected: str | None,
    ttl_s: float | None,
) -> Written:
    """Store a record and new entries.

    Raises:
        ConversationConflict: As the store says.
    """
    session_id, head_id = record.conversation_id, record.head_id
    new_ids = {entry.id for entry in entries}
    named = {entry.parent_id for entry in entries} | {head_id}
    ids = [
        entry_id for entry_id in named | new_ids if entry_id is not None
    ]  # new ones may be stored for another session
    await lock_families(connection, session_id, ids)
    state = await seen_state(connection, session_id)
    if (None if state is None else state.revision) != expected:
        raise ConversationConflict(session_id)
    places, families = await read_places(connection, ids)
    if head_id is not None and head_id not in new_ids and head_id not in places:
        raise ConversationConflict(session_id)
    family = state.family if state is not None else min(families, default=record.revision)
    rows = placed(entries, packed, places)
    places.update((row.id, row.place) for row in rows)
    depth = 0 if head_id is None else places[head_id].depth + 1
    step, written = session_step(record, state, family=family, depth=depth, ttl_s=ttl_s)
    if await connection.run([step, *entry_steps(rows, family)], atomic=False) is None:
        raise ConversationConflict(session_id)
    await _merge_families(connection, family, ids)
    return written


async def annotate(
    connection: SqlConnection, session_id: str, events: Sequence[str], ttl_s: float | None, keep: int | None
) -> Written:
    """Add packed events to a session, which is created where there is none; `ttl_s` is for a new one."""
    while True:
        rows = await connection.fetch(USE_SESSION if events else EXISTS, id=session_id)
        if rows:
            await connection.run(annotation_steps(session_id, events, after=rows[0][0], keep=keep), atomic=False)
            return Written(session_id, created=False)
        await lock_families(connection, session_id, ())
        if await seen_state(connection, session_id) is None:
            record = new_record(session_id)
            step, written = session_step(record, None, family=record.revision, depth=0, ttl_s=ttl_s)
            steps = [step, *annotation_steps(session_id, events, after=0, keep=keep)]
            if await connection.run(steps, atomic=False) is not None:
                return written


async def delete_record(connection: SqlConnection, session_id: str, expected: str) -> None:
    """Delete a session, its annotations, and the entries that no other record reaches.

    Raises:
        ConversationConflict: It is another revision that is stored, or none.
    """
    await lock_families(connection, session_id, ())
    state = await seen_state(connection, session_id)
    if state is None or state.revision != expected:
        raise ConversationConflict(session_id)
    await drop_sessions(connection, [session_id])


async def seen_state(connection: SqlConnection, session_id: str) -> SessionState | None:
    """Return a session, held until the end of the transaction; one whose time is over is dropped."""
    found = await read_state(connection, session_id)
    if found is None:
        return None
    state, visible = found
    if not visible:
        await drop_sessions(connection, [session_id])
        return None
    return state


def session_step(
    record: ConversationRecord, state: SessionState | None, *, family: str, depth: int, ttl_s: float | None
) -> tuple[Step, Written]:
    """Return what stores a record in place of a state, or of none, and finds no row where something else is stored."""
    values = session_values(record, family=family, depth=depth, ttl_s=ttl_s)
    if state is None:
        return Step(INSERT_SESSION, values, needed=True), Written(record.conversation_id, created=True, depth=depth)
    # What was dropped is not known of a history that does not go on.
    dropped, trim_at = (state.dropped, state.trim_at) if depth >= state.depth else (0, 0)
    values |= {"expected": state.revision, "dropped": dropped, "trim_at": trim_at}
    written = Written(record.conversation_id, created=False, depth=depth, dropped=dropped, trim_at=trim_at)
    return Step(UPDATE_SESSION, values, needed=True), written


def entry_steps(entries: Sequence[PlacedEntry], family: str) -> list[Step]:
    """Return what stores entries of a family."""
    return [Step(INSERT_ENTRY, [entry.row(family) for entry in entries])] if entries else []


def annotation_steps(session_id: str, events: Sequence[str], *, after: int, keep: int | None) -> list[Step]:
    """Return what stores packed events of a session with so many messages, and forgets its oldest if need be."""
    if not events:
        return []
    steps = [Step(INSERT_ANNOTATION, [{"id": session_id, "after": after, "event": event} for event in events])]
    return steps if keep is None else [*steps, Step(KEEP_ANNOTATIONS, {"id": session_id, "keep": keep})]


async def lock_families(connection: SqlConnection, session_id: str, entry_ids: Sequence[str]) -> None:
    """Keep others from deleting what a session, or one that is to have these entries, shares."""
    await lock_all(connection, FAMILIES, id=session_id, ids=connection.dialect.pack_ids(entry_ids))


async def _merge_families(connection: SqlConnection, family: str, entry_ids: Sequence[str]) -> None:
    """Make one family of all that have any of these entries, for from now on they share messages."""
    _, families = await read_places(connection, entry_ids)  # again: another may have stored the same ones meanwhile
    if connection.dialect.shared:
        await connection.lock_families(sorted(families))
    for other in families - {family}:
        # First the sessions: what is stored for one of the other family after that is stored again, for this one.
        await connection.fetch(FAMILY_OF_SESSIONS, family=family, other=other)
        await connection.fetch(FAMILY_OF_ENTRIES, family=family, other=other)
