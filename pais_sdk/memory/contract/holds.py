"""What a memory promises of who may run in a session."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from ...errors import SessionBusyError
from ..base import Memory
from .conversations import loaded
from .exchanges import append, echo_agent, exchange, said, save

LIMIT_S = 20


class Holds:
    """One run at a time in a session, in order of arrival; everything else may go on meanwhile."""

    async def test_one_holds_a_session_and_others_wait_in_order(self, memory: Memory) -> None:
        order: list[str] = []

        async def hold(name: str) -> None:
            async with memory.open_session("s") as session:
                order.append(name)
                await session.append(exchange(name))

        async with asyncio.timeout(LIMIT_S):
            async with memory.open_session("s"):
                waiting = [asyncio.create_task(hold(name)) for name in "abcde"]
                await asyncio.sleep(0)
                waiting[1].cancel()
            await asyncio.wait(waiting)
        assert order == ["a", "c", "d", "e"]
        assert await said(memory, "s") == order

    async def test_a_session_that_is_held_refuses_who_does_not_wait(self, memory: Memory) -> None:
        async with asyncio.timeout(LIMIT_S), memory.open_session("s"):
            for options in ({"on_busy": "reject"}, {"wait_s": 0.01}, {"wait_s": 0}):
                with pytest.raises(SessionBusyError) as caught:
                    async with memory.open_session("s", **options):  # pyright: ignore[reportArgumentType]
                        pass
                assert caught.value.session_id == "s"
            async with memory.open_session("t", on_busy="reject"):
                pass
        async with memory.open_session("s", on_busy="reject"):
            pass

    async def test_who_gave_up_waiting_leaves_no_trace(self, memory: Memory) -> None:
        async with asyncio.timeout(LIMIT_S):
            async with memory.open_session("s"):
                with pytest.raises(SessionBusyError):
                    await append_after(memory, 0.01)
                waiting = asyncio.create_task(append_after(memory, 30))
                await asyncio.sleep(0)
                waiting.cancel()
                await asyncio.wait([waiting])
            async with memory.open_session("s", on_busy="reject") as session:
                assert session.history == []

    async def test_a_session_is_free_when_a_run_is_stored(self, memory: Memory) -> None:
        async with asyncio.timeout(LIMIT_S), memory.open_session("s") as session:
            await session.append(exchange("one"))
            async with memory.open_session("s", on_busy="reject") as next_session:
                assert len(next_session.history) == 2
                await next_session.append(exchange("two"))
        assert await said(memory, "s") == ["one", "two"]

    async def test_a_run_that_fails_gives_its_session_free(self, memory: Memory) -> None:
        with pytest.raises(ZeroDivisionError):
            async with memory.open_session("s"):
                raise ZeroDivisionError
        async with memory.open_session("s", on_busy="reject") as session:
            assert not session.exists

    async def test_who_interrupts_takes_the_place_of_the_holder(self, memory: Memory) -> None:
        asked = asyncio.Event()
        order: list[str] = []

        async def interrupt() -> None:
            async with memory.open_session("s", on_busy="interrupt") as session:
                order.append("second")
                await session.append(exchange("second"))

        async with asyncio.timeout(LIMIT_S):
            async with memory.open_session("s") as session:
                session.on_interrupt = asked.set
                interrupting = asyncio.create_task(interrupt())
                await asked.wait()
                order.append("first")
                await session.append(exchange("first"))
            await interrupting
        assert order == ["first", "second"]
        assert await said(memory, "s") == order

    async def test_who_listens_late_is_told_that_the_session_is_wanted(self, memory: Memory) -> None:
        asked = asyncio.Event()

        async def interrupt() -> None:
            async with memory.open_session("s", on_busy="interrupt"):
                pass

        async with asyncio.timeout(LIMIT_S):
            async with memory.open_session("s") as session:
                interrupting = asyncio.create_task(interrupt())
                await asyncio.sleep(0)
                session.on_interrupt = asked.set
                await asked.wait()
            await interrupting

    async def test_deleting_asks_the_holder_to_stop(self, memory: Memory) -> None:
        asked = asyncio.Event()
        await memory.create_session("s")
        async with asyncio.timeout(LIMIT_S):
            async with memory.open_session("s") as session:
                session.on_interrupt = asked.set
                deleting = asyncio.create_task(memory.delete_session("s"))
                await asked.wait()
                await session.append(exchange("last words"))
            assert await deleting
            assert await memory.get_events("s") == []
            async with memory.open_session("s") as session:
                with pytest.raises(SessionBusyError):
                    await memory.delete_session("s", wait_s=0.01)

    async def test_what_is_no_run_goes_on_while_a_session_is_held(self, memory: Memory) -> None:
        await save(memory, "s", "one")
        async with asyncio.timeout(LIMIT_S), memory.open_session("s") as session:
            await memory.save(await echo_agent().run("two", conversation=await loaded(memory, "s")))
            fork = await memory.fork("s", new_conversation_id="f")
            await memory.add_event("s", "note", "x")
            assert len(await memory.get_events("s")) == 5
            await memory.branch("s", at=2, expected_revision=(await loaded(memory, "s")).revision)
            await session.append(exchange("three"))
        assert await said(memory, "s") == ["one", "three"]
        await append(memory, fork.conversation_id, exchange("forked"))
        assert await said(memory, "f") == ["one", "two", "forked"]

    async def test_runs_in_one_session_at_once_are_all_stored_whole(self, memory: Memory) -> None:
        async def run(number: int) -> None:
            async with memory.open_session("s", limit=4) as session:
                await session.append(exchange(f"m{number}", tools=1))

        async with asyncio.timeout(LIMIT_S):
            await asyncio.gather(*(run(number) for number in range(20)))
        events = await memory.get_events("s")
        assert [event.event_type for event in events] == [
            *("user_message", "tool_call", "tool_result", "agent_response")
        ] * 20
        assert sorted(await said(memory, "s")) == sorted(f"m{number}" for number in range(20))

    async def test_runs_in_fifty_sessions_at_once_do_not_meet(self, memory: Memory) -> None:
        async def run(session_id: str) -> None:
            for number in range(2):
                async with memory.open_session(session_id, limit=10) as session:
                    assert len(session.history) == 2 * number
                    await session.append(exchange(f"{session_id} {number}"))

        async with asyncio.timeout(LIMIT_S):
            await asyncio.gather(*(run(f"s{number}") for number in range(50)))
        assert len(await memory.list_sessions()) == 50
        for number in range(50):
            conversation = await loaded(memory, f"s{number}")
            assert len(conversation.messages) == 4

    async def test_many_sessions_can_be_held_at_once(self, memory: Memory) -> None:
        async with asyncio.timeout(LIMIT_S), contextlib.AsyncExitStack() as stack:
            sessions = [await stack.enter_async_context(memory.open_session(f"s{number}")) for number in range(60)]
            await asyncio.gather(*(session.append(exchange("x")) for session in sessions))
        assert len(await memory.list_sessions()) == 60


async def append_after(memory: Memory, wait_s: float) -> None:
    async with memory.open_session("s", wait_s=wait_s) as session:
        await session.append(exchange("too late"))
