"""What is particular to sessions in a database: its file or server, its tables, other processes."""

from __future__ import annotations

import asyncio
import re
import sqlite3
import sys
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from anyio import CancelScope, fail_after
from pydantic_ai.conversation_store import ConversationEntry, ConversationRecord
from pydantic_ai.messages import ModelRequest, ModelResponse, TextPart, UserPromptPart
from sqlalchemy.exc import DBAPIError

from pais_sdk import ConfigurationError, InvalidRequestError, MemoryUnavailableError, SessionBusyError
from pais_sdk.memory.leases import Lease
from pais_sdk.memory.sql import (
    SQLiteMemory,
    SQLMemory,
    changes,
    dropping,
    housekeeping,
    postgres,
    schema,
    sqlite,
    statements,
)
from pais_sdk.memory.sql.appending import Append
from pais_sdk.memory.sql.connection import SqlConnection
from pais_sdk.memory.sql.postgres import PostgresConnection

from .postgres import postgres_url

pytestmark = pytest.mark.anyio

EXCHANGE = [ModelRequest([UserPromptPart("hi")], run_id="r"), ModelResponse([TextPart("hello")], run_id="r")]


@pytest.fixture(params=["sqlite", "postgres"])
async def url(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncGenerator[str]:
    """The URL of an empty database."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/pais.db"
        return
    async with postgres_url() as found:
        yield found


@asynccontextmanager
async def script(code: str, *arguments: object) -> AsyncGenerator[asyncio.subprocess.Process]:
    """Run Python code in a process of its own, which is killed when the block ends."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-W", "error", "-c", code, *map(str, arguments)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def says(process: asyncio.subprocess.Process) -> str:
    """Return the next line that a process prints."""
    assert process.stdout is not None
    return (await process.stdout.readline()).decode().strip()


async def run_in(memory: SQLMemory, session_id: str = "s", **options: Any) -> None:
    """Store one exchange."""
    async with memory.open_session(session_id, **options) as session:
        await session.append(EXCHANGE)


async def table(url: str, sql: str) -> list[tuple[Any, ...]]:
    """Return what another program finds in the database."""
    if url.startswith("sqlite"):
        connection = sqlite3.connect(url.removeprefix("sqlite:///"))
        try:
            return connection.execute(sql).fetchall()
        finally:
            connection.close()
    other = await asyncpg.connect(url)
    try:
        return [tuple(row) for row in await other.fetch(sql)]
    finally:
        await other.close()


# --- the file


async def test_the_file_and_its_folder_are_made_whatever_they_are_called(tmp_path: Path) -> None:
    path = tmp_path / "a folder" / "100% of ?x=1&y#z:é'\".db"
    async with SQLiteMemory(path) as memory:
        await run_in(memory)
        assert path.is_file()
    async with SQLiteMemory(str(path)) as memory:
        conversation = await memory.load("s")
    assert conversation is not None
    assert conversation.messages == EXCHANGE


async def test_a_relative_path_is_that_of_the_folder_where_the_memory_was_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    memory = SQLiteMemory()
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    async with memory:
        await run_in(memory)
    assert (tmp_path / "pais.db").is_file()


async def test_the_log_is_written_ahead_and_synchronized_now_and_then(tmp_path: Path) -> None:
    async with SQLiteMemory(tmp_path / "pais.db") as memory:
        database = await memory._database()
        for ask in (database.read, database.change):
            assert [*await ask("PRAGMA journal_mode")] == [("wal",)]
            assert [*await ask("PRAGMA synchronous")] == [(1,)]
            assert [*await ask("PRAGMA busy_timeout")] == [(10_000,)]


@pytest.mark.parametrize("where", ["folder", "file/pais.db", "file"])
async def test_a_path_that_cannot_be_a_database_is_refused(tmp_path: Path, where: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("this is no database" * 100)
    memory = SQLiteMemory(tmp_path / where)
    for _ in range(2):
        with pytest.raises(ConfigurationError, match=r"name another file|name a file"):
            await memory.open()
    with pytest.raises(ConfigurationError):
        await memory.create_session("s")
    assert (tmp_path / "file").read_text().startswith("this is no database")


@pytest.mark.parametrize("path", [":memory:", "", "file::memory:?cache=shared"])
def test_a_database_in_memory_is_refused(path: str) -> None:
    with pytest.raises(ConfigurationError, match="LocalMemory"):
        SQLiteMemory(path)
    with pytest.raises(ConfigurationError, match="LocalMemory"):
        SQLMemory(f"sqlite:///{path}")


@pytest.mark.parametrize("bad", ["mysql://joe:secret@host/x", "postgresql+psycopg://joe:secret@host/x", "joe:secret"])
def test_a_url_of_something_else_is_refused_without_its_password(bad: str) -> None:
    with pytest.raises(ConfigurationError, match="postgresql://") as raised:
        SQLMemory(bad)
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize("limits", [{"max_sessions": 0}, {"max_session_messages": 0}, {"ttl_s": 0}, {"lease_s": 0}])
def test_limits_that_keep_nothing_are_refused(limits: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=f"{next(iter(limits))}=0"):
        SQLiteMemory("pais.db", **limits)


# --- other processes

LOCK = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN EXCLUSIVE")
print("locked", flush=True)
sys.stdin.readline()
connection.execute("COMMIT")
"""


async def test_a_write_waits_for_that_of_another_process_and_reads_do_not(tmp_path: Path) -> None:
    path = tmp_path / "pais.db"
    with fail_after(60):
        async with SQLiteMemory(path) as memory, script(LOCK, path) as process:
            await run_in(memory)
            assert await says(process) == "locked"
            writing = asyncio.create_task(run_in(memory))
            for _ in range(10):
                assert len(await memory.get_events("s")) == 2
            assert not writing.done()
            await process.communicate(b"\n")
            await writing
            assert len(await memory.get_events("s")) == 4


async def test_a_write_that_has_to_wait_too_long_fails_and_the_next_one_succeeds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sqlite.CONNECT_ARGUMENTS, "timeout", 0.05)
    path = tmp_path / "pais.db"
    with fail_after(60):
        async with SQLiteMemory(path) as memory:
            async with memory.open_session("held") as session, script(LOCK, path) as process:
                assert await says(process) == "locked"
                with pytest.raises(MemoryUnavailableError, match="locked") as raised:
                    await session.append(EXCHANGE)
                assert isinstance(raised.value.__cause__, sqlite3.OperationalError)
                for write in (memory.add_event("s", "note", 1), memory.fork("s"), run_in(memory)):
                    with pytest.raises(Exception, match=r"locked|not in the store"):
                        await write
                await process.communicate(b"\n")
                await session.append(EXCHANGE)
            await run_in(memory)
            assert sorted(await memory.list_sessions()) == ["held", "s"]
            assert len(await memory.get_events()) == 4


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


async def test_a_session_is_held_by_one_process_at_a_time(url: str) -> None:
    with fail_after(60):
        async with SQLMemory(url) as memory, script(HOLD, url, 20) as process:
            assert await says(process) == "held"
            with pytest.raises(SessionBusyError):
                await run_in(memory, on_busy="reject")
            waiting = asyncio.create_task(run_in(memory, wait_s=20))
            await run_in(memory, "another")
            assert not waiting.done()
            assert await process.communicate(b"\n") == (b"", b"")
            await waiting
            assert await table(url, "SELECT session_id FROM pais_leases") == []


async def test_a_session_of_a_killed_process_is_free_when_its_lease_is_over(url: str) -> None:
    with fail_after(60):
        async with SQLMemory(url) as memory, script(HOLD, url, 0.5) as process:
            assert await says(process) == "held"
            process.kill()
            await process.wait()
            await run_in(memory, wait_s=20)
            assert len(await memory.get_events("s")) == 2


OPEN_AND_RUN = """
import asyncio, sys
from pais_sdk.memory.sql import SQLMemory

async def main():
    memory = SQLMemory(sys.argv[1])
    async with memory.open_session("s") as session:
        await session.append([])
    await memory.add_event("s", "note", "kept")
    print(len(await memory.get_events("s")), flush=True)

for _ in range(int(sys.argv[2])):
    asyncio.run(main())
"""


async def test_a_program_that_never_closes_its_memory_ends_quietly(tmp_path: Path) -> None:
    with fail_after(60):
        async with script(OPEN_AND_RUN, f"sqlite:///{tmp_path}/pais.db", 3) as process:
            assert await process.communicate() == (b"1\n2\n3\n", b"")
            assert process.returncode == 0


async def test_loops_that_ended_leave_no_threads_behind(tmp_path: Path) -> None:
    code = OPEN_AND_RUN.replace("    memory = ", "    global memory\n    memory = globals().get('memory') or ")
    code += "\nimport gc, threading\nwhile threading.active_count() > 3:\n    gc.collect()\nprint('few')\n"
    with fail_after(60):
        async with script(code, f"sqlite:///{tmp_path}/pais.db", 4) as process:
            assert await process.communicate() == (b"1\n2\n3\n4\nfew\n", b"")


FILL = """
import asyncio, resource, sys
from pais_sdk import MemoryUnavailableError
from pais_sdk.memory.sql import SQLiteMemory

async def main():
    async with SQLiteMemory(sys.argv[1]) as memory:
        await memory.create_session("s")
        resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, resource.RLIM_INFINITY))
        stored = 0
        try:
            while True:
                await memory.add_event("s", "note", "x" * 50_000)
                stored += 1
        except MemoryUnavailableError:
            pass
        assert 5 < stored < 20, stored
        assert len(await memory.get_events("s")) == stored
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        await memory.add_event("s", "note", "x" * 50_000)
        assert len(await memory.get_events("s")) == stored + 1

asyncio.run(main())
"""


async def test_a_full_disk_fails_the_write_and_nothing_else(tmp_path: Path) -> None:
    with fail_after(60):
        async with script(FILL, tmp_path / "pais.db") as process:
            assert await process.communicate() == (b"", b"")
            assert process.returncode == 0


# --- the tables


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
    with pytest.raises(ConfigurationError, match="of version 2, and this release knows 1"):
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


# --- writes of which no answer came, and servers that go


async def test_a_run_that_is_stored_twice_is_there_once(url: str) -> None:
    async with SQLMemory(url) as memory:
        database = await memory._database()
        work = Append(Lease("s", "process"), None, EXCHANGE, [], None, None, None)
        assert await work.at_once(database) is not None
        await database.write(work, sees_itself=True)
        await run_in(memory)
        await database.write(work, sees_itself=True)
        assert len(await memory.get_events("s")) == 4


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


# --- what sessions share


async def exchange_in(memory: SQLMemory, session_id: str, run_id: str) -> None:
    """Store one exchange of a run of its own."""
    async with memory.open_session(session_id) as session:
        await session.append(
            [ModelRequest([UserPromptPart("hi")], run_id=run_id), ModelResponse([TextPart("hello")], run_id=run_id)]
        )


async def runs_in(memory: SQLMemory, session_id: str) -> list[str | None]:
    """Return which runs a session has."""
    conversation = await memory.load(session_id)
    assert conversation is not None
    return [message.run_id for message in conversation.messages[::2]]


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


# --- time


async def test_a_lease_for_which_the_file_was_waited_for_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "pais.db"
    with fail_after(60):
        async with SQLiteMemory(path) as memory, script(LOCK, path) as process:
            await memory.create_session("s")
            database = await memory._database()
            assert await says(process) == "locked"
            asked = asyncio.Event()

            async def take() -> int:
                asked.set()
                values = {"id": "s", "token": "t", "process": "p", "lease_us": 0}
                await database.change(statements.TAKE, **values)
                return (await database.read("SELECT until_us FROM pais_leases"))[0][0]

            taking = asyncio.create_task(take())
            await asked.wait()
            await memory.read_page()  # a round on another thread
            free_us = time.time_ns() // 1000
            await process.communicate(b"\n")
            assert await taking >= free_us


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


# --- cancellation


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


# --- another file


async def remove(path: Path) -> None:
    """Remove a database with all that belongs to it."""
    for file in path.parent.iterdir():
        file.unlink()


async def test_a_file_that_is_removed_is_reported_and_then_made_anew(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "pais.db"
    async with SQLiteMemory(path) as memory:
        await run_in(memory)
        await memory.check()
        await remove(path)
        with pytest.raises(MemoryUnavailableError, match="removed or replaced"):
            await memory.check()
        await memory.check()
        assert await memory.list_sessions() == []
        await run_in(memory, "new")
        async with SQLiteMemory(path) as other:
            assert await other.list_sessions() == ["new"]


async def test_a_connection_is_not_made_to_a_file_that_came_instead(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "pais.db"
    async with SQLiteMemory(path) as memory:
        await run_in(memory)
        database = await memory._database()
        await remove(path)
        with pytest.raises(DBAPIError, match="unable to open"):  # also where it goes between the look and this
            await memory._dialect.connect(first=False)
        path.parent.rmdir()
        path.parent.write_text("no folder")
        with pytest.raises(MemoryUnavailableError, match="removed or replaced"):
            await asyncio.gather(*(database.read("SELECT 1") for _ in range(4)))
        with pytest.raises(ConfigurationError, match="cannot be made"):
            await memory.list_sessions()
        path.parent.unlink()
        assert await memory.list_sessions() == []


@pytest.mark.parametrize("path", ["a\0b", "file:a\0b", "\ud800"])
def test_a_name_that_no_file_can_have_is_refused(path: str) -> None:
    with pytest.raises(ConfigurationError, match="no file can have the name"):
        SQLiteMemory(path)


# --- what cannot be kept


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
