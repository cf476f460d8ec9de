"""What goes with a session: its annotations, and the messages that no other session reaches."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any, cast

from pydantic_core import from_json

from .connection import SqlConnection
from .statements import (
    DELETE_ANNOTATIONS,
    DELETE_FAMILIES,
    DELETE_SESSIONS,
    DELETE_UNREACHED,
    FAMILIES_OF_SESSIONS,
    HOLD,
    LET_GO,
    MEMBERS,
    STILL_EXPIRED,
)


async def drop_free_sessions(connection: SqlConnection, ids: Sequence[str], *, expired: bool) -> None:
    """Drop those of some sessions that nobody holds.

    Args:
        connection: In a transaction.
        ids: The store's own.
        expired: Only those whose time is over.
    """
    packed = connection.dialect.pack_ids(ids)
    await _lock(connection, packed)
    token = uuid.uuid4().hex
    rows = await connection.fetch(HOLD, ids=packed, token=token)  # so that nobody takes one while it goes
    free = [row[0] for row in rows]
    await (drop_expired if expired else drop_sessions)(connection, free)
    await connection.fetch(LET_GO, ids=packed, token=token)


async def drop_expired(connection: SqlConnection, ids: Sequence[str]) -> None:
    """Drop those of some sessions whose time is over, whoever holds them."""
    packed = connection.dialect.pack_ids(ids)
    await _lock(connection, packed)
    rows = await connection.fetch(STILL_EXPIRED, ids=packed)
    await drop_sessions(connection, [row[0] for row in rows])


async def drop_sessions(connection: SqlConnection, ids: Sequence[str]) -> None:
    """Drop sessions in a transaction that keeps others from their families."""
    if not ids:
        return
    packed = connection.dialect.pack_ids(ids)
    families = [row[0] for row in await connection.fetch(FAMILIES_OF_SESSIONS, ids=packed)]
    await connection.fetch(DELETE_SESSIONS, ids=packed)
    await connection.fetch(DELETE_ANNOTATIONS, ids=packed)
    members: dict[str, list[str]] = {}
    for family, _, tips in await read_members(connection, families):
        members.setdefault(family, []).extend(tips)
    lonely = [family for family in families if family not in members]
    if lonely:
        await connection.fetch(DELETE_FAMILIES, ids=connection.dialect.pack_ids(lonely))
    for family, tips in members.items():
        await connection.fetch(DELETE_UNREACHED, family=family, ids=connection.dialect.pack_ids(tips))


async def read_members(connection: SqlConnection, families: Sequence[str]) -> list[tuple[str, str, list[str]]]:
    """Return family, session id, and the newest messages of the history and of each branch that was left."""
    rows = await connection.fetch(MEMBERS, ids=connection.dialect.pack_ids(families))
    return [(family, session_id, _tips(head_id, record)) for session_id, family, head_id, record in rows]


def _tips(head_id: str | None, record: str) -> list[str]:
    branches = cast("list[str]", from_json(record)["branches"])
    return branches if head_id is None else [head_id, *branches]


async def _lock(connection: SqlConnection, packed_ids: Any) -> None:
    if connection.dialect.shared:
        rows = await connection.fetch(FAMILIES_OF_SESSIONS, ids=packed_ids)
        await connection.lock_families([row[0] for row in rows])
