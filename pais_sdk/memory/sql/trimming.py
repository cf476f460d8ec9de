"""A session that has become too long loses its oldest runs."""

from __future__ import annotations

from ..retention import Retention
from .changes import lock_families
from .connection import SqlConnection
from .dropping import read_members
from .state import read_state
from .statements import (
    ANCESTORS,
    BEGIN_AT,
    CHAIN,
    DELETE_EARLIER_ANNOTATIONS,
    DELETE_ENTRIES,
    REACHES,
    TRIMMED,
)


async def trim(connection: SqlConnection, session_id: str, retention: Retention) -> None:
    """Drop what lies before the newest messages, in whole runs, unless a fork or a branch that was left shares it.

    Where that does not make it short enough, it is not tried again before the session is an eighth longer.
    """
    keep = retention.max_session_messages
    await lock_families(connection, session_id, ())
    found = await read_state(connection, session_id)
    if keep is None or found is None or not retention.is_over(found[0].depth - found[0].dropped):
        return
    state = found[0]
    chain = await connection.fetch(CHAIN, id=session_id, limit=keep)
    if not chain:
        return
    start, first_id, parent_id = chain[0]
    if parent_id is not None and await _drop_before(connection, session_id, state.family, parent_id):
        await connection.fetch(BEGIN_AT, id=first_id)
        await connection.fetch(DELETE_EARLIER_ANNOTATIONS, id=session_id, after=start)
        dropped = start
    else:
        dropped = state.dropped if parent_id is not None else start
    over = retention.is_over(state.depth - dropped)
    trim_at = state.depth + max(1, (state.depth - dropped) // 8) if over else 0
    await connection.fetch(TRIMMED, id=session_id, dropped=dropped, trim_at=trim_at)


async def _drop_before(connection: SqlConnection, session_id: str, family: str, newest_id: str) -> bool:
    """Drop a message and all before it, and return True; or False where others reach them."""
    rows = await connection.fetch(ANCESTORS, id=newest_id)
    ids = {row[0] for row in rows}
    oldest_id = next(entry_id for entry_id, parent_id in rows if parent_id not in ids)
    # Histories that have any message in common have the first one in common.
    tips: list[str] = []
    for _, member_id, member_tips in await read_members(connection, [family]):
        tips.extend(member_tips[1:] if member_id == session_id else member_tips)
    if tips and await connection.fetch(REACHES, ids=connection.dialect.pack_ids(tips), id=oldest_id):
        return False
    await connection.fetch(DELETE_ENTRIES, ids=connection.dialect.pack_ids([*ids]))
    return True
