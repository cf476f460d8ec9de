"""What goes with a session: its annotations, and the messages that no other session reaches."""

from __future__ import annotations

import uuid
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
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
    USED,
)


async def drop_free_expired(connection: SqlConnection, ids: Sequence[str]) -> None:
    """Drop those of some sessions whose time is over and that nobody holds."""
    async with _held(connection, ids) as free:
        await drop_expired(connection, free)


async def drop_free_unused(connection: SqlConnection, used_us: Mapping[str, int]) -> None:
    """Drop those of some sessions that nobody holds and whose newest use is still this one."""
    async with _held(connection, [*used_us]) as free:
        rows = await connection.fetch(USED, ids=connection.dialect.pack_ids(free))
        await drop_sessions(connection, [row[0] for row in rows if row[1] == used_us[row[0]]])


async def drop_expired(connection: SqlConnection, ids: Sequence[str]) -> None:
    """Drop those of some sessions whose time is over, whoever holds them."""
    packed = connection.dialect.pack_ids(ids)
    await lock_all(connection, FAMILIES_OF_SESSIONS, ids=packed)
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


async def lock_all(connection: SqlConnection, families: str, **values: Any) -> None:
    """Lock the families that a statement finds, also those that they became part of while we waited for the lock."""
    if not connection.dialect.shared:
        return
    locked: set[str] = set()
    while new := {row[0] for row in await connection.fetch(families, **values)} - locked:
        await connection.lock_families(sorted(new))
        locked |= new


@asynccontextmanager
async def _held(connection: SqlConnection, ids: Sequence[str]) -> AsyncGenerator[list[str]]:
    """Give those of some sessions that nobody holds, and that nobody takes until the end of the block."""
    packed = connection.dialect.pack_ids(ids)
    await lock_all(connection, FAMILIES_OF_SESSIONS, ids=packed)
    token = uuid.uuid4().hex
    yield [row[0] for row in await connection.fetch(HOLD, ids=packed, token=token)]
    await connection.fetch(LET_GO, ids=packed, token=token)
