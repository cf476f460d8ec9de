"""What holds sessions: that nothing of it is left behind, whatever becomes of the holder."""

from __future__ import annotations

import asyncio
import gc
import sqlite3
import threading
import weakref
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from anyio import CancelScope, fail_after

from pais_sdk import ConfigurationError, InvalidRequestError, LocalMemory, MemoryUnavailableError, SQLiteMemory
from pais_sdk import Memory as AnyMemory
from pais_sdk._shield import to_its_end
from pais_sdk.memory.contract.exchanges import append, exchange
from pais_sdk.memory.locks import SessionLocks
from pais_sdk.memory.retention import Retention

pytestmark = pytest.mark.anyio


def left_by_a_closed_loop(locks: SessionLocks) -> None:
    """Take a lock on a loop that is closed without another word."""

    def hold() -> None:
        loop = asyncio.new_event_loop()

        def interrupt() -> None:
            loop.call_soon_threadsafe(loop.stop)

        loop.run_until_complete(locks.acquire("s", interrupt, wait_s=1, on_busy="queue"))
        loop.close()

    thread = threading.Thread(target=hold)
    thread.start()
    thread.join()


@pytest.mark.parametrize("on_busy", ["queue", "reject", "interrupt"])
async def test_a_loop_that_was_closed_holds_nothing(on_busy: str) -> None:
    locks = SessionLocks()
    left_by_a_closed_loop(locks)
    assert not locks.is_held("s")
    with fail_after(5):
        hold = await locks.acquire("s", lambda: None, wait_s=1, on_busy=on_busy)  # type: ignore[arg-type]
    assert locks.is_held("s")
    locks.release(hold)
    assert not locks._held


async def test_who_was_superseded_gives_nothing_back() -> None:
    locks = SessionLocks()
    left_by_a_closed_loop(locks)
    late = locks._held["s"].hold
    hold = await locks.acquire("s", lambda: None, wait_s=1, on_busy="queue")
    locks.release(late)
    assert locks.is_held("s")
    locks.release(hold)
    locks.release(hold)
    assert not locks.is_held("s")


async def test_a_write_that_is_cancelled_by_anyio_is_waited_for_quietly(monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[object] = []
    wait = asyncio.wait

    async def counted(*arguments: object, **options: object) -> object:
        waits.append(arguments)
        return await wait(*arguments, **options)  # type: ignore[call-overload]

    async def work() -> None:
        for _ in range(100):
            await asyncio.sleep(0)
        done.append(True)

    monkeypatch.setattr(asyncio, "wait", counted)
    done: list[bool] = []
    with fail_after(5), CancelScope() as scope:
        scope.cancel()
        await to_its_end(work())
    assert done == [True]
    assert len(waits) <= 2


async def test_a_message_that_cannot_be_read_holds_no_session(tmp_path: Path) -> None:
    async with SQLiteMemory(tmp_path / "x.db") as memory:
        await append(memory, "s", exchange("secret words"))
        with sqlite3.connect(tmp_path / "x.db") as database:
            database.execute("UPDATE pais_entries SET message = replace(message, 'kind', 'mind')")
        database.close()
        with fail_after(5):
            for _ in range(2):
                with pytest.raises(MemoryUnavailableError, match="a stored message cannot be read") as raised:
                    async with memory.open_session("s", wait_s=0.5):
                        pass
                assert "secret" not in str(raised.value)
            assert await memory.delete_session("s")


def test_loops_that_ended_are_not_kept(tmp_path: Path) -> None:
    memory = SQLiteMemory(tmp_path / "x.db")
    loops: list[weakref.ref[asyncio.AbstractEventLoop]] = []

    async def use() -> None:
        loops.append(weakref.ref(asyncio.get_running_loop()))
        await append(memory, "s", exchange("hi"))
        await memory.close()

    for _ in range(3):
        asyncio.run(use())
    gc.collect()
    assert [loop() for loop in loops[:2]] == [None, None]


@pytest.fixture(params=["local", "sqlite"])
def memory(request: pytest.FixtureRequest, tmp_path: Path) -> AnyMemory:
    return LocalMemory() if request.param == "local" else SQLiteMemory(tmp_path / "x.db")


async def test_an_event_from_the_future_is_on_a_page_like_all_others(memory: AnyMemory) -> None:
    async with memory:
        for number in range(4):
            event = memory.create_event("note", number)
            if number == 1:
                event = type(event)(event_type="note", content=1, timestamp=datetime.now(UTC) + timedelta(days=1))
            await memory.store_event(f"s{number}", event)
        page = await memory.get_events(limit=2)
        pages = [page]
        while page.next is not None:
            page = await memory.get_events(limit=2, before=page.next)
            pages.append(page)
        assert [[event.content for event in page] for page in pages] == [[2, 3], [0, 1]]


async def test_a_page_before_an_event_leads_on(memory: AnyMemory) -> None:
    async with memory:
        events = [await memory.add_event("s", "note", number) for number in range(6)]
        page = await memory.get_events(before=events[4].event_id, limit=2)
        assert [event.content for event in page] == [2, 3]
        rest = await memory.get_events(before=page.next, limit=2)
        assert ([event.content for event in rest], rest.next) == ([0, 1], None)


@pytest.mark.parametrize("scope", ["a\0b", "half \ud800", "x" * 257])
def test_a_scope_that_no_store_can_tell_from_others_is_refused(memory: AnyMemory, scope: str) -> None:
    with pytest.raises(InvalidRequestError, match="a scope has at most 256 characters"):
        memory.scoped(scope)


@pytest.mark.parametrize("seconds", [0, -1, float("inf"), float("nan"), 1e15])
def test_a_time_that_is_none_is_refused(tmp_path: Path, seconds: float) -> None:
    with pytest.raises(ConfigurationError, match="ttl_s"):
        LocalMemory(ttl_s=seconds)
    with pytest.raises(ConfigurationError, match="lease_s"):
        SQLiteMemory(tmp_path / "x.db", lease_s=seconds)


def test_what_is_to_be_kept_for_ages_is_kept_for_ever() -> None:
    assert [Retention().ttl_of(ttl_s) for ttl_s in (None, 5, float("inf"), float("nan"))] == [None, 5, None, None]
    assert [Retention(ttl_s=9).ttl_of(ttl_s) for ttl_s in (None, 5, float("inf"), 10)] == [9, 5, 9, 9]
