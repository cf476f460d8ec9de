"""SQLiteMemory and its file: where it is, who else uses it, what becomes of it."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from pathlib import Path

import pytest
from anyio import fail_after
from sqlalchemy.exc import DBAPIError

from pais_sdk import ConfigurationError, MemoryUnavailableError
from pais_sdk.memory.sql import (
    SQLiteMemory,
    SQLMemory,
    sqlite,
    statements,
)

from .sql_stores import EXCHANGE, run_in, says, script
from .sql_stores import sql_url as sql_url

pytestmark = pytest.mark.anyio


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
