"""What a memory promises whose sessions several processes share."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from collections.abc import Callable

import pytest

from ...errors import SessionBusyError
from ..base import Memory
from .conversations import loaded
from .events import contents, note
from .exchanges import append, exchange, history, said, save

LIMIT_S = 30
LEASE_S = 0.6

CreateMemory = Callable[..., Memory]


class Shared:
    """Two memory objects on one store see the same, and exclude each other's runs; so they may be in two processes."""

    async def test_each_sees_what_the_other_wrote(self, create_memory: CreateMemory) -> None:
        one, other = create_memory(), create_memory()
        assert one.is_shared
        await append(one, "s", exchange("one"), annotations=[note("x", minute=1)])
        assert await said(other, "s") == ["one"]
        await append(other, "s", exchange("other", minute=2))
        assert await said(one, "s") == ["one", "other"]
        assert await contents(one) == await contents(other) == ["one", "re: one", "x", "other", "re: other"]
        await save(one, "t", "x")
        assert await other.list_sessions() == ["t", "s"]
        await other.delete_session("s")
        assert await one.list_sessions() == ["t"]
        assert await history(one, "s") == []

    async def test_what_one_keeps_outlives_it(self, create_memory: CreateMemory) -> None:
        one = create_memory()
        async with one:
            await append(one, "s", exchange("one"))
        other = create_memory()
        async with other:
            assert await said(other, "s") == ["one"]

    async def test_each_waits_for_the_runs_of_the_other(self, create_memory: CreateMemory) -> None:
        one, other = create_memory(), create_memory()
        async with asyncio.timeout(LIMIT_S):
            async with one.open_session("s") as session:
                for options in ({"on_busy": "reject"}, {"wait_s": 0.05}, {"wait_s": 0}):
                    with pytest.raises(SessionBusyError):
                        async with other.open_session("s", **options):  # pyright: ignore[reportArgumentType]
                            pass
                with pytest.raises(SessionBusyError):
                    await other.delete_session("s", wait_s=0.05)
                async with other.open_session("t"):
                    pass
                waiting = asyncio.create_task(append(other, "s", exchange("other")))
                with pytest.raises(SessionBusyError):
                    async with other.open_session("s", on_busy="reject"):
                        pass
                await session.append(exchange("one"))
            await waiting
        assert await said(one, "s") == ["one", "other"]

    async def test_a_run_that_ends_without_a_word_gives_its_session_free(self, create_memory: CreateMemory) -> None:
        one, other = create_memory(), create_memory()
        with contextlib.suppress(ZeroDivisionError):
            async with one.open_session("s"):
                raise ZeroDivisionError
        async with other.open_session("s", on_busy="reject") as session:
            await session.append(exchange("x"))
        async with one.open_session("s", on_busy="reject") as session:
            assert len(session.history) == 2

    async def test_runs_of_both_in_one_session_are_all_stored_whole(self, create_memory: CreateMemory) -> None:
        memories = [create_memory(), create_memory()]

        async def run(number: int) -> None:
            async with memories[number % 2].open_session("s", limit=2) as session:
                await session.append(exchange(f"m{number}", tools=1))

        async with asyncio.timeout(LIMIT_S):
            await asyncio.gather(*(run(number) for number in range(20)))
        assert sorted(await said(memories[0], "s")) == sorted(f"m{number}" for number in range(20))
        events = await memories[1].get_events("s")
        assert [event.event_type for event in events] == [
            *("user_message", "tool_call", "tool_result", "agent_response")
        ] * 20

    async def test_nobody_is_kept_waiting_by_a_queue_that_never_ends(self, create_memory: CreateMemory) -> None:
        one, other = create_memory(), create_memory()
        had_its_turn = asyncio.Event()

        async def run_on_and_on() -> None:
            while not had_its_turn.is_set():
                async with one.open_session("s", limit=0) as session:
                    await asyncio.sleep(0)
                    await session.append([])

        async def run_once() -> None:
            async with other.open_session("s", wait_s=LIMIT_S) as session:
                await session.append(exchange("other"))
            had_its_turn.set()

        async with asyncio.timeout(LIMIT_S):
            await asyncio.gather(*(run_on_and_on() for _ in range(3)), run_once())
        assert await said(one, "s") == ["other"]

    async def test_a_session_whose_holder_died_is_free_when_its_lease_is_over(
        self, create_memory: CreateMemory
    ) -> None:
        one, other = create_memory(lease_s=LEASE_S), create_memory()
        async with asyncio.timeout(LIMIT_S), contextlib.AsyncExitStack() as stack:
            session = await stack.enter_async_context(one.open_session("s"))
            await one.close()  # from now on it prolongs nothing, as if it had died
            async with other.open_session("s", wait_s=LIMIT_S) as next_session:
                await session.append(exchange("late"))  # a run that is paid is stored all the same
                with pytest.raises(SessionBusyError):  # and takes the session from nobody
                    async with one.open_session("s", on_busy="reject"):
                        pass
                await next_session.append(exchange("next"))
        assert await said(other, "s") == ["late", "next"]

    async def test_who_leaves_late_takes_the_session_from_nobody(self, create_memory: CreateMemory) -> None:
        one, other = create_memory(lease_s=LEASE_S), create_memory()
        async with asyncio.timeout(LIMIT_S), contextlib.AsyncExitStack() as stack:
            async with contextlib.AsyncExitStack() as first:
                await first.enter_async_context(one.open_session("s"))
                await one.close()
                await stack.enter_async_context(other.open_session("s", wait_s=LIMIT_S))
            with pytest.raises(SessionBusyError):
                async with one.open_session("s", on_busy="reject"):
                    pass

    async def test_a_session_stays_held_as_long_as_its_run_lasts(self, create_memory: CreateMemory) -> None:
        one, other = create_memory(lease_s=LEASE_S), create_memory(lease_s=LEASE_S)
        async with asyncio.timeout(2 * LIMIT_S):
            attempts = itertools.count()
            while not await _stays_held(one, other, f"s{next(attempts)}"):  # the machine was too slow to tell
                pass

    async def test_a_save_of_one_makes_what_the_other_loaded_stale(self, create_memory: CreateMemory) -> None:
        one, other = create_memory(), create_memory()
        conversation = await save(one, "s", "one")
        await append(other, "s", exchange("two"))
        assert (await loaded(one, "s")).revision != conversation.revision


async def _stays_held(one: Memory, other: Memory, session_id: str) -> bool:
    """Hold a session for two leases' time; return False where the machine stood still for so long that it was lost."""
    async with one.open_session(session_id) as session:
        async with _Stills() as stills:
            try:
                async with other.open_session(session_id, wait_s=2 * LEASE_S):
                    assert stills.longest_s > LEASE_S / 3, "the lease was not prolonged"
                    return False
            except SessionBusyError:
                pass
        await session.append(exchange("long"))
    async with other.open_session(session_id, on_busy="reject") as next_session:
        assert len(next_session.history) == 2
    return True


class _Stills(contextlib.AbstractAsyncContextManager["_Stills"]):
    """Measures how long the event loop stands still at the longest."""

    longest_s = 0.0

    async def __aenter__(self) -> _Stills:
        self._watching = asyncio.create_task(self._watch())
        return self

    async def __aexit__(self, *error: object) -> None:
        self._watching.cancel()

    async def _watch(self) -> None:
        last = time.monotonic()
        while True:
            await asyncio.sleep(0.01)
            self.longest_s, last = max(self.longest_s, time.monotonic() - last), time.monotonic()
