"""SQL memories: tables, statements, limits and faults of SQLite and PostgreSQL alike."""

from __future__ import annotations

import asyncio
import re
import sqlite3
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from anyio import CancelScope, fail_after
from pydantic_ai.conversation_store import ConversationEntry, ConversationRecord

from pais_sdk import ConfigurationError, InvalidRequestError, MemoryUnavailableError
from pais_sdk.memory.sql import (
    SQLiteMemory,
    SQLMemory,
    postgres,
    schema,
    statements,
)

from .postgres import postgres_url
from .sql_stores import EXCHANGE, run_in, runs_in, table
from .sql_stores import sql_url as sql_url

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("bad", ["mysql://joe:secret@host/x", "postgresql+psycopg://joe:secret@host/x", "joe:secret"])
def test_a_url_of_something_else_is_refused_without_its_password(bad: str) -> None:
    with pytest.raises(ConfigurationError, match="postgresql://") as raised:
        SQLMemory(bad)
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize("limits", [{"max_sessions": 0}, {"max_session_messages": 0}, {"ttl_s": 0}, {"lease_s": 0}])
def test_limits_that_keep_nothing_are_refused(limits: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=f"{next(iter(limits))}=0"):
        SQLiteMemory("pais.db", **limits)


async def test_many_may_make_the_tables_at_once(url: str) -> None:
    memories = [SQLMemory(url) for _ in range(6)]
    try:
        with fail_after(60):
            await asyncio.gather(*(run_in(memory, f"s{index}") for index, memory in enumerate(memories)))
            assert len(await memories[0].list_sessions()) == 6
            assert await table(url, "SELECT version FROM pais_meta") == [(len(schema.MIGRATIONS),)]
    finally:
        for memory in memories:
            await memory.close()


async def test_tables_of_an_older_version_are_brought_to_this_one_by_whoever_comes_first(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with SQLMemory(url) as memory:
        await run_in(memory)
    newer = (*schema.MIGRATIONS, ("ALTER TABLE pais_sessions ADD COLUMN colour {id} DEFAULT 'red'",))
    monkeypatch.setattr(schema, "MIGRATIONS", newer)
    memories = [SQLMemory(url) for _ in range(4)]
    try:
        with fail_after(60):
            await asyncio.gather(*(memory.open() for memory in memories))
            assert await table(url, "SELECT version FROM pais_meta") == [(len(newer),)]
            assert await table(url, "SELECT id, colour FROM pais_sessions") == [("s", "red")]
            assert len(await memories[0].get_events("s")) == 2
    finally:
        for memory in memories:
            await memory.close()


async def test_tables_of_a_newer_version_are_refused_and_left_as_they_are(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as newer:
        newer.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, ()))
        async with SQLMemory(url) as memory:
            await run_in(memory)
    memory = SQLMemory(url)
    with pytest.raises(ConfigurationError, match=r"^the tables .*of version 2, and this release knows 1"):
        await memory.open()
    assert await table(url, "SELECT version FROM pais_meta") == [(2,)]


async def test_a_migration_that_fails_leaves_nothing_behind(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as broken:
        broken.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, ("CREATE TABLE pais_new (id {id})", "no SQL")))
        memory = SQLMemory(url)
        with pytest.raises(MemoryUnavailableError, match="syntax"):
            await memory.open()
    async with SQLMemory(url) as memory:
        await run_in(memory)
    assert await table(url, "SELECT version FROM pais_meta") == [(1,)]


WALKS_ALL = {"SCOPES", "DELETE_LEFT_LEASES"}  # now and then


IN_ORDER = {"PAGE", "RECORDS", "RECORDS_OF_LABEL", "OLDEST"}


async def test_each_statement_finds_its_rows_by_an_index(tmp_path: Path) -> None:
    """Nothing is scanned but what is there for that, and what is to come in order comes in the order of an index."""
    async with SQLiteMemory(tmp_path / "pais.db") as memory:
        compiled = {
            name: memory._dialect.compiled(sql)
            for name, sql in vars(statements).items()
            if name.isupper() and isinstance(sql, str) and name not in ("HELD", "SEEN")
        }
    connection = sqlite3.connect(tmp_path / "pais.db")
    try:
        for name, (sql, names) in compiled.items():
            plan = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {sql}", ["[]" for _ in names])]
            scans = [line for line in plan if re.match(r"SCAN ([sel]|pais_\w+)\b", line)]
            if name == "RECORDS":  # a walk in the order that is asked for, as far as the limit
                scans = [line for line in scans if "USING INDEX pais_sessions_updated" not in line]
            assert scans == [] or name in WALKS_ALL, (name, plan)
            assert name not in IN_ORDER or not any("TEMP B-TREE" in line for line in plan), (name, plan)
    finally:
        connection.close()
    assert len(compiled) > 40


async def test_a_first_page_takes_as_long_with_many_sessions_as_with_few(tmp_path: Path) -> None:
    async with SQLiteMemory(tmp_path / "pais.db") as memory:
        for index in range(5):
            await memory.create_session(f"s{index}")
        connection = sqlite3.connect(tmp_path / "pais.db")
        steps: list[int] = []
        for _ in range(2):
            sql, names = memory._dialect.compiled(statements.PAGE)
            values = {"scope": "", "used_us": 1 << 62, "id": "", "limit": 4, "now": 1}
            counted: list[None] = []

            def count(counted: list[None] = counted) -> None:
                counted.append(None)

            connection.set_progress_handler(count, 1)
            assert len(connection.execute(sql, [values[name] for name in names]).fetchall()) == 4
            connection.set_progress_handler(None, 0)
            steps.append(len(counted))
            connection.execute(
                "WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 20000) "
                "INSERT OR IGNORE INTO pais_sessions "
                "SELECT 'many' || n, '', NULL, 'f' || n, 'r', NULL, 0, 0, 0, '{}', n, n, NULL, NULL FROM n"
            )
            connection.commit()
        connection.close()
        assert steps[1] <= steps[0] + 8
        assert (await memory.list_sessions(limit=4))[0] == "s4"


async def test_connections_that_the_server_ends_are_made_anew(tmp_path: Path) -> None:
    async with postgres_url() as url, SQLMemory(url) as memory:
        await run_in(memory)
        for step in range(3):
            async with memory.open_session("s") as session:
                await asyncio.gather(*(memory.get_events("s") for _ in range(5)))  # so that there are several
                await table(url, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()"
                                 " AND datname = current_database()")  # fmt: skip
                await session.append(EXCHANGE)
            assert len(await memory.get_events("s")) == 2 * (step + 2)


async def test_what_is_wrong_with_a_url_is_said_without_its_password(tmp_path: Path) -> None:
    async with postgres_url() as url:
        folder = url.partition("?host=")[2]
        for database, why in (
            (f"none?host={folder}", "is not there; create it"),
            (f"postgres?host={folder}&nonsense=1", "cannot be reached with this URL"),
        ):
            with pytest.raises(ConfigurationError, match=why) as raised:
                await SQLMemory(f"postgresql://pais:secret@/{database}").open()
            assert "secret" not in str(raised.value)
    memory = SQLMemory(f"postgres://joe:secret@/test?host={tmp_path}&sslmode=disable")
    with pytest.raises(MemoryUnavailableError, match="does not answer") as unreachable:  # a server may come yet
        await memory.open()
    assert "secret" not in str(unreachable.value)


async def test_the_server_gives_a_statement_up_before_we_do(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = postgres.CONNECT_ARGUMENTS["server_settings"]
    assert int(settings["statement_timeout"]) < 1000 * postgres.CONNECT_ARGUMENTS["command_timeout"]
    monkeypatch.setitem(settings, "statement_timeout", "200")
    async with postgres_url() as url, SQLMemory(url) as memory:
        await run_in(memory)
        other: Any = await asyncpg.connect(url)
        async with memory.open_session("s") as session, other.transaction():
            await other.execute("SELECT 1 FROM pais_sessions FOR UPDATE")
            with fail_after(20), pytest.raises(MemoryUnavailableError, match="statement timeout"):
                await session.append(EXCHANGE)
        await other.close()
        assert await runs_in(memory, "s") == ["r"]


async def test_a_cancelled_scope_closes_what_it_does_not_keep(url: str, caplog: pytest.LogCaptureFixture) -> None:
    memory = SQLMemory(url)
    with fail_after(60):
        with CancelScope() as scope:
            asyncio.get_running_loop().call_soon(scope.cancel)
            await memory.open()
        assert scope.cancelled_caught
        await run_in(memory)
        database = await memory._database()
        connection = await database._readers.acquire()
        with CancelScope() as scope:
            scope.cancel()
            await database._readers.release(connection)
            await database.close()
        await memory.close()
    assert caplog.records == []


@pytest.mark.parametrize("bad", ["a\0b", "a\ud800b"])
async def test_ids_and_labels_that_cannot_be_kept_are_refused_and_leave_nothing(url: str, bad: str) -> None:
    async with SQLMemory(url) as memory:
        labelled = ConversationRecord(conversation_id="s", head_id=None, scope=bad)
        named = ConversationRecord(conversation_id="s", head_id=bad)
        entry = ConversationEntry(id=bad, parent_id=None, message=EXCHANGE[0])
        for refused in (
            run_in(memory, bad),
            memory.annotate(bad, []),
            memory.write_record(labelled, expected_revision=None),
            memory.write_record(named, new_entries=[entry], expected_revision=None),
        ):
            with pytest.raises(InvalidRequestError, match="NUL or half of a character"):
                await refused
        assert await memory.list_sessions() == []
        assert await table(url, "SELECT session_id FROM pais_leases") == []


async def test_postgres_is_there_although_it_is_asked_for_what_it_cannot_keep() -> None:
    async with postgres_url() as url, SQLMemory(url) as memory:
        for bad in ("a\0b", "a\ud800b"):
            for refused in (memory.read_record(bad), memory.read_records(scope=bad), memory.read_history(bad)):
                with pytest.raises(InvalidRequestError, match="NUL or half of a character"):
                    await refused
        await memory.check()
