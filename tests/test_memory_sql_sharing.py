"""SQL memories where several write at once, and where sessions share messages."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import Any

import asyncpg
import pytest
from anyio import fail_after
from pydantic_ai.conversation_store import ConversationRecord

from pais_sdk import SessionBusyError
from pais_sdk.memory.leases import Lease
from pais_sdk.memory.sql import (
    SQLMemory,
    changes,
    dropping,
    housekeeping,
    statements,
)
from pais_sdk.memory.sql.appending import Append
from pais_sdk.memory.sql.connection import SqlConnection
from pais_sdk.memory.sql.postgres import PostgresConnection

from .postgres import postgres_url
from .sql_stores import EXCHANGE, exchange_in, run_in, runs_in, says, script, table
from .sql_stores import sql_url as sql_url

pytestmark = pytest.mark.anyio


async def test_a_run_stored_in_a_fork_while_what_it_was_forked_from_is_deleted_stays(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    read_members = dropping.read_members

    async with postgres_url() as url, SQLMemory(url) as memory:
        await exchange_in(memory, "a", "1")
        await memory.fork("a", new_conversation_id="fork")

        async def read_and_append(connection: SqlConnection, families: Sequence[str]) -> list[Any]:
            members = await read_members(connection, families)
            await exchange_in(memory, "fork", "2")
            return members

        monkeypatch.setattr(dropping, "read_members", read_and_append)
        with fail_after(60):
            assert await memory.delete_session("a")
        assert await runs_in(memory, "fork") == ["1", "2"]


async def test_a_session_whose_messages_another_gets_while_it_is_held_keeps_them(url: str) -> None:
    async with SQLMemory(url) as memory:
        await exchange_in(memory, "held", "1")
        await memory.create_session("other")
        held, other = await memory.read_record("held"), await memory.read_record("other")
        assert held is not None
        assert other is not None
        async with memory.open_session("held") as session:
            await memory.write_record(
                ConversationRecord(conversation_id="other", head_id=held.head_id), expected_revision=other.revision
            )
            await session.append(EXCHANGE)
        await memory.delete_session("other")
        assert await runs_in(memory, "held") == ["1", "r"]


async def test_entries_that_are_stored_for_two_sessions_stay_until_both_are_deleted(url: str) -> None:
    async with SQLMemory(url) as memory:
        await exchange_in(memory, "a", "1")
        record = await memory.read_record("a")
        assert record is not None
        entries = await memory.read_history(record.head_id)
        copy = ConversationRecord(conversation_id="copy", head_id=record.head_id)
        await memory.write_record(copy, new_entries=entries, expected_revision=None)
        await memory.delete_session("a")
        assert await runs_in(memory, "copy") == ["1"]
        await memory.delete_session("copy")
        assert await table(url, "SELECT COUNT(*) FROM pais_entries") == [(0,)]


async def test_families_that_become_one_while_somebody_waits_to_lock_them_are_locked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with postgres_url() as url, SQLMemory(url) as memory:
        for session_id in ("a", "b"):
            await exchange_in(memory, session_id, session_id)
        database = await memory._database()
        locked: list[str] = []

        async def merged(connection: SqlConnection, families: Sequence[str]) -> None:
            if not locked:
                await database.change("UPDATE pais_sessions SET family = 'new'")
            locked.extend(families)

        monkeypatch.setattr(PostgresConnection, "lock_families", merged)
        await database.write(partial(changes.lock_families, session_id="a", entry_ids=()))
        assert locked[1:] == ["new"]


async def test_a_session_that_is_used_when_it_is_about_to_go_stays(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    drop = housekeeping.drop_free_unused
    async with SQLMemory(url, max_sessions=2) as memory, SQLMemory(url) as other:
        database = await memory._database()
        for session_id in ("a", "b"):
            await run_in(other, session_id)
        tried: list[list[str]] = []

        async def use_first(connection: SqlConnection, used_us: dict[str, int]) -> None:
            tried.append([*used_us])
            await drop(connection, used_us)

        evict = database.write

        async def write(work: Any, **options: Any) -> Any:
            if isinstance(work, partial) and work.func is use_first and not tried:
                await run_in(other, "a")
            return await evict(work, **options)

        monkeypatch.setattr(housekeeping, "drop_free_unused", use_first)
        monkeypatch.setattr(database, "write", write)
        await run_in(memory, "c")
        assert tried == [["a"]]
        assert sorted(await memory.list_sessions()) == ["a", "b", "c"]
        await run_in(memory, "d")
        assert tried[1:] == [["b", "c"]]
        assert sorted(await memory.list_sessions()) == ["a", "d"]


async def test_a_write_that_is_in_the_way_of_another_is_tried_again(url: str) -> None:
    """Two transactions that lock each other's sessions: one is broken off, and tried again."""
    async with SQLMemory(url) as memory:
        for session_id in ("a", "b"):
            await run_in(memory, session_id)
        database = await memory._database()
        both = asyncio.Barrier(2) if database.dialect.shared else None

        async def use(first: str, second: str) -> None:
            tries = 0

            async def work(connection: Any) -> None:
                nonlocal tries
                tries += 1
                await connection.fetch(statements.USE_SESSION, id=first)
                if both is not None and tries == 1:
                    await both.wait()
                await connection.fetch(statements.USE_SESSION, id=second)

            await database.write(work)

        with fail_after(60):
            await asyncio.gather(use("a", "b"), use("b", "a"))
            await run_in(memory, "a")


HOLD = """
import asyncio, sys
from pais_sdk.memory.sql import SQLMemory

async def main():
    memory = SQLMemory(sys.argv[1], lease_s=float(sys.argv[2]))
    async with memory.open_session("s"):
        print("held", flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
    await memory.close()

asyncio.run(main())
"""


async def test_a_session_of_a_killed_process_is_free_when_its_lease_is_over(url: str) -> None:
    with fail_after(60):
        async with SQLMemory(url) as memory, script(HOLD, url, 0.5) as process:
            assert await says(process) == "held"
            process.kill()
            await process.wait()
            await run_in(memory, wait_s=20)
            assert len(await memory.get_events("s")) == 2


async def test_a_run_that_is_stored_twice_is_there_once(url: str) -> None:
    async with SQLMemory(url) as memory:
        database = await memory._database()
        work = Append(Lease("s", "process"), None, EXCHANGE, [], None, None, None)
        assert await work.at_once(database) is not None
        await database.write(work, sees_itself=True)
        await run_in(memory)
        await database.write(work, sees_itself=True)
        assert len(await memory.get_events("s")) == 4


async def test_a_session_that_is_reserved_while_its_run_is_stored_is_free_for_whoever_reserved_it() -> None:
    async with postgres_url() as url, SQLMemory(url) as memory, SQLMemory(url) as other:
        await run_in(memory)
        waiter = await asyncpg.connect(url)
        try:
            with fail_after(20):
                async with memory.open_session("s") as session:
                    async with waiter.transaction():
                        await waiter.execute(
                            "UPDATE pais_leases SET next_process = $1, next_until_us = $2", other._process, 2**60
                        )
                        storing = asyncio.create_task(session.append(EXCHANGE))
                        blocked = "SELECT count(*) FROM pg_locks WHERE NOT granted"
                        while not await waiter.fetchval(blocked):
                            await asyncio.sleep(0)
                    await storing
                with pytest.raises(SessionBusyError):
                    await run_in(memory, on_busy="reject")
                await run_in(other, on_busy="reject")
        finally:
            await waiter.close()
        assert len(await memory.get_events("s")) == 6
