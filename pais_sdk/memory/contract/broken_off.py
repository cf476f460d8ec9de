"""What a memory promises when what it does is cancelled at any moment."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Generator
from typing import Any

import pytest
from pydantic_ai.conversation import Conversation

from ..base import Memory
from .conversations import loaded
from .exchanges import append, exchange, save, user_texts


class CancelledAt(Awaitable[None]):
    """Awaits something and cancels its own task when it waits for the `moment`-th time.

    `is_over` says that it was over before that.

    Args:
        work: What is awaited.
        moment: Which wait, from 1.
        answered: Whether the cancellation comes just when what it waits for is there, or as soon as it waits.
    """

    def __init__(self, work: Coroutine[Any, Any, Any], moment: int, *, answered: bool) -> None:
        self._work = work
        self._left = moment
        self._answered = answered
        self.is_over = False

    def __await__(self) -> Generator[Any, Any, None]:
        waits = self._work.__await__()
        resume: Callable[[], Any] = lambda: waits.send(None)  # noqa: E731
        while True:
            try:
                future = resume()
            except StopIteration:
                self.is_over = self._left > 0
                return
            self._left -= 1
            if self._left == 0:
                self._cancel(future)
            try:
                yield future
            except BaseException as error:  # noqa: BLE001 - it goes to the one who waits
                resume = _throwing(waits, error)
            else:
                resume = lambda: waits.send(None)  # noqa: E731

    def _cancel(self, future: Any) -> None:
        task = asyncio.current_task()
        assert task is not None
        if self._answered and asyncio.isfuture(future):
            answer: asyncio.Future[Any] = future
            answer.add_done_callback(lambda _: task.cancel())
        else:
            task.cancel()


def _throwing(waits: Generator[Any, Any, Any], error: BaseException) -> Callable[[], Any]:
    return lambda: waits.throw(error)


async def broken_off(work: Coroutine[Any, Any, Any], moment: int, *, answered: bool) -> bool:
    """Do something in a task of its own and cancel it at a moment; return whether it was over before that."""
    stepped = CancelledAt(work, moment, answered=answered)

    async def run() -> None:
        await stepped

    task = asyncio.create_task(run())
    await asyncio.wait([task])
    if not task.cancelled():
        task.result()
    return stepped.is_over


class BrokenOff:
    """A cancellation leaves a session whole or absent, free, and of use."""

    @pytest.mark.parametrize("answered", [False, True])
    @pytest.mark.parametrize("work", ["append", "annotate", "save", "delete", "read", "fork"])
    async def test_a_cancellation_at_any_moment_breaks_nothing(self, memory: Memory, work: str, answered: bool) -> None:
        async with asyncio.timeout(60):
            for moment in range(1, 200):
                session_id = f"s{moment}"
                await save(memory, session_id, "one")
                over = await broken_off(_work(work, memory, session_id), moment, answered=answered)
                await _check_whole(memory, work, session_id, over)
                if over:
                    break
            else:
                pytest.fail("it waits without end")

    @pytest.mark.parametrize("answered", [False, True])
    async def test_a_cancellation_of_its_first_use_leaves_a_memory_that_works(
        self, create_memory: Callable[..., Memory], answered: bool
    ) -> None:
        async with asyncio.timeout(60):
            for moment in range(1, 200):
                memory = create_memory()
                session_id = f"s{moment}"
                over = await broken_off(memory.create_session(session_id), moment, answered=answered)
                await append(memory, session_id, exchange("one"))
                assert user_texts((await loaded(memory, session_id)).messages) == ["one"]
                await memory.close()
                if over:
                    break
            else:
                pytest.fail("it waits without end")


async def _work(work: str, memory: Memory, session_id: str) -> None:
    match work:
        case "append":
            await append(memory, session_id, exchange("two", tools=1), annotations=[memory.create_event("note", "two")])
        case "annotate":
            await memory.annotate(session_id, [memory.create_event("note", text) for text in ("two", "three")])
        case "save":
            await save(memory, session_id, "two")
        case "delete":
            await memory.delete_session(session_id)
        case "fork":
            await memory.fork(session_id, new_conversation_id=f"{session_id}-fork")
        case _:
            await memory.get_events(session_id)
            await memory.list_sessions()
            async with memory.open_session(session_id, limit=1):
                pass


async def _check_whole(memory: Memory, work: str, session_id: str, over: bool) -> None:
    async with memory.open_session(session_id, on_busy="reject") as session:
        done = {
            "append": ["one", "two"],
            "save": ["one", "two"],
            "delete": [],
        }.get(work, ["one"])
        texts = user_texts(session.history)
        assert texts == done if over else texts in (["one"], done)
        assert len(session.history) == {0: 0, 1: 2, 2: 6 if work == "append" else 4}[len(texts)]
        notes = [event.content for event in await memory.get_events(session_id, types=["note"])]
        if work == "append":
            assert notes == (["two"] if "two" in texts else [])
        elif work == "annotate":
            assert notes in ([], ["two", "three"])
            assert notes or not over
        fork = await memory.load(f"{session_id}-fork")
        assert fork is None or user_texts(fork.messages) == ["one"]
        await session.append(exchange("last"))
    assert user_texts((await loaded(memory, session_id)).messages) == [*texts, "last"]
    if fork is not None:
        fork.messages.extend(exchange("forked"))
        await memory.save(fork)
        again: Conversation | None = await memory.load(fork.conversation_id)
        assert again is not None
        assert user_texts(again.messages) == ["one", "forked"]
