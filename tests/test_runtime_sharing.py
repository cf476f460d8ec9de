"""Several runs at once: places, busy sessions, loops, threads, opening and closing."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from anyio import fail_after
from pydantic_ai import Agent
from pydantic_ai.messages import ModelMessage
from pydantic_ai.models.function import AgentInfo
from pydantic_ai.toolsets import FunctionToolset, WrapperToolset

from pais_sdk import (
    AgentRuntime,
    OverloadedError,
    RunCancelledError,
    RunEnded,
    SessionBusyError,
    TextDelta,
)
from pais_sdk._loop import loop_thread

from .agents import GatedModel, Pieces, echo_agent, model_of, user_texts

pytestmark = pytest.mark.anyio


async def begun(runtime: AgentRuntime[Any], gated: GatedModel, session_id: str) -> asyncio.Task[Any]:
    """Start a run and return when its model has said a word."""
    task = asyncio.create_task(runtime.run("first", session_id=session_id))
    await gated.said_first.wait()
    return task


async def until(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0)


async def test_a_second_run_in_a_session_waits_for_the_first_and_sees_it() -> None:
    gated, order = GatedModel(), list[str]()

    async def stream(messages: list[ModelMessage], info: AgentInfo) -> Pieces:
        order.extend(user_texts(messages)[-1:])
        if len(order) == 1:
            gated.said_first.set()
            await gated.gate.wait()
        yield " ".join(user_texts(messages))

    async with AgentRuntime(Agent(model_of(stream))) as runtime:
        with fail_after(5):
            first = await begun(runtime, gated, "s")
            later = [asyncio.create_task(runtime.run(f"later{n}", session_id="s")) for n in range(3)]
            await until(lambda: runtime.admission.waiting == 3)
            gated.gate.set()
            texts = [(await task).text for task in (first, *later)]
    assert order == ["first", "later0", "later1", "later2"]
    assert texts[-1] == "first later0 later1 later2"


async def test_with_reject_a_second_run_is_refused_at_once() -> None:
    gated = GatedModel()
    async with AgentRuntime(Agent(gated.model), on_busy="reject") as runtime:
        with fail_after(5):
            first = await begun(runtime, gated, "s")
            with pytest.raises(SessionBusyError) as refused:
                await runtime.run("second", session_id="s")
            with pytest.raises(SessionBusyError):
                async with runtime.stream("second", session_id="s"):
                    pass
            gated.gate.set()
            await first
    assert (refused.value.session_id, refused.value.waited_s) == ("s", 0)
    assert gated.requests == 1


async def test_with_interrupt_a_second_run_takes_the_place_of_the_first() -> None:
    gated = GatedModel()
    async with AgentRuntime(Agent(gated.model), on_busy="interrupt") as runtime:
        with fail_after(5):
            first = await begun(runtime, gated, "s")
            second = asyncio.create_task(runtime.run("second", session_id="s"))
            with pytest.raises(RunCancelledError):
                await first
            gated.gate.set()
            assert (await second).text == "one two"
        contents = [event.content for event in await runtime.memory.get_events("s")]
    assert contents == ["first", "second", "one two"]  # a plain run has no partial answer


async def test_a_wait_for_a_session_ends() -> None:
    gated = GatedModel()
    async with AgentRuntime(Agent(gated.model), busy_wait_s=0.02) as runtime:
        with fail_after(5):
            first = await begun(runtime, gated, "s")
            with pytest.raises(SessionBusyError) as refused:
                await runtime.run("second", session_id="s")
            assert refused.value.waited_s > 0
            gated.gate.set()
            await first
            assert (await runtime.run("third", session_id="s")).stop_reason == "end_turn"


async def test_a_run_that_waits_for_its_session_can_be_cancelled() -> None:
    gated = GatedModel()
    async with AgentRuntime(Agent(gated.model)) as runtime:
        with fail_after(5):
            first = await begun(runtime, gated, "s")
            waiting = asyncio.create_task(runtime.run("second", session_id="s"))
            await until(lambda: runtime.admission.waiting == 1)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            queued = asyncio.create_task(runtime.run("third", session_id="s"))
            await until(lambda: runtime.admission.waiting == 1)
            await runtime.cancel("s")
            for task in (first, queued):
                with pytest.raises(RunCancelledError):
                    await task
            gated.gate.set()
            assert (await runtime.run("fourth", session_id="s")).text == "one two"
        said = [event.content for event in await runtime.memory.get_events("s", types=["user_message"])]
    assert said == ["first", "fourth"]


async def test_the_same_id_in_two_scopes_is_two_sessions() -> None:
    async with AgentRuntime(echo_agent()) as runtime:
        await runtime.run("a", session_id="s", scope="alice")
        assert (await runtime.run("b", session_id="s", scope="bob")).text == "b (1)"
        assert (await runtime.run("c", session_id="s")).text == "c (1)"
        assert (await runtime.run("d", session_id="s", scope="alice")).text == "d (3)"
        assert not await runtime.delete_session("s", scope="carol")
        assert await runtime.delete_session("s", scope="alice")
        assert list(await runtime.memory.list_sessions()) == ["s"]


async def test_beyond_its_places_the_runtime_queues_and_then_refuses() -> None:
    gated = GatedModel()
    runtime = AgentRuntime(Agent(gated.model), max_active_runs=1, max_queued_runs=1)
    async with runtime:
        with fail_after(5):
            first = await begun(runtime, gated, "a")
            queued = asyncio.create_task(runtime.run("queued", session_id="b"))
            await until(lambda: runtime.admission.waiting == 1)
            with pytest.raises(OverloadedError, match="all 1 places"):
                await runtime.run("refused", session_id="c")
            gated.gate.set()
            assert {(await first).text, (await queued).text} == {"one two"}
            assert (await runtime.run("after", session_id="c")).text == "one two"
    assert (runtime.admission.active, runtime.admission.waiting) == (0, 0)


async def test_a_queued_run_that_gives_up_leaves_its_place_to_others() -> None:
    gated = GatedModel()
    runtime = AgentRuntime(Agent(gated.model), max_active_runs=1, busy_wait_s=0.02)
    async with runtime:
        with fail_after(5):
            first = await begun(runtime, gated, "a")
            with pytest.raises(OverloadedError):
                await runtime.run("too late", session_id="b")
            gated.gate.set()
            await first
            assert (await runtime.run("now", session_id="b")).text == "one two"


async def test_leaving_a_stream_early_cancels_the_run_and_stores_it() -> None:
    gated = GatedModel()
    async with AgentRuntime(Agent(gated.model)) as runtime:
        with fail_after(5):
            async with runtime.stream("go", session_id="s") as run:
                async for event in run:
                    if event == TextDelta("one "):
                        break
            assert gated.cancelled.is_set()
            assert run.outcome.stop_reason == "cancelled"
        assert [event.content for event in await runtime.memory.get_events("s")] == ["go", "one "]


async def test_with_finish_a_run_whose_reader_leaves_goes_on_to_its_end() -> None:
    gated = GatedModel(["word "] * 100)  # more than the channel holds
    async with AgentRuntime(Agent(gated.model), on_disconnect="finish") as runtime:
        with fail_after(5):
            async with runtime.stream("go", session_id="s") as run:
                await anext(run)
            gated.gate.set()
            assert (await runtime.run("next", session_id="s")).text == "word " * 100
        answers = await runtime.memory.get_events("s", types=["agent_response"])
    assert [event.content for event in answers] == ["word " * 100] * 2


async def test_a_slow_reader_slows_the_model_and_loses_nothing() -> None:
    said: list[int] = []

    async def many(messages: list[ModelMessage], info: AgentInfo) -> Pieces:
        for number in range(200):
            said.append(number)
            yield f"{number} "

    async with AgentRuntime(Agent(model_of(many))) as runtime:
        with fail_after(5):
            async with runtime.stream("go") as run:
                await anext(run)
                for _ in range(500):
                    await asyncio.sleep(0)
                assert len(said) < 40
                texts = [event.text async for event in run if isinstance(event, TextDelta)]
    assert "".join(texts) == "".join(f"{number} " for number in range(200))


async def test_closing_ends_what_runs_with_a_last_event() -> None:
    gated = GatedModel()
    runtime = AgentRuntime(Agent(gated.model))
    with fail_after(5):
        async with runtime.stream("go", session_id="s") as run:
            await anext(run)
            await anext(run)
            await runtime.close()
            last = [event async for event in run][-1]
    assert isinstance(last, RunEnded)
    assert last.outcome.stop_reason == "cancelled"
    assert runtime.loop is None


async def test_what_was_entered_is_left_by_the_same_task() -> None:
    class Seen(WrapperToolset[Any]):
        tasks: list[Any] = []  # noqa: RUF012

        async def __aenter__(self) -> Any:
            self.tasks.append(asyncio.current_task())
            return self

        async def __aexit__(self, *error: Any) -> None:
            self.tasks.append(asyncio.current_task())

    runtime = AgentRuntime(echo_agent(), toolsets=[Seen(FunctionToolset[Any]())])
    with fail_after(5):
        await asyncio.create_task(runtime.open())
        await asyncio.create_task(runtime.close())
    entered, left = Seen.tasks
    assert entered is left


async def test_a_runtime_that_cannot_open_says_why_each_time() -> None:
    class Unreachable(WrapperToolset[Any]):
        async def __aenter__(self) -> Any:
            raise ConnectionError("no tools today")

    runtime = AgentRuntime(echo_agent(), toolsets=[Unreachable(FunctionToolset[Any]())])
    with fail_after(5):
        for _ in range(2):
            with pytest.raises(ConnectionError, match="no tools today"):
                await runtime.run("hello")


async def _run(runtime: AgentRuntime[Any], session_id: str) -> str:
    return (await runtime.run("hello", session_id=session_id)).text


async def _stream(runtime: AgentRuntime[Any], session_id: str) -> str:
    async with runtime.stream("hello", session_id=session_id) as run:
        return "".join([event.text async for event in run if isinstance(event, TextDelta)])


@pytest.mark.parametrize("call", [_run, _stream], ids=["run", "stream"])
async def test_calls_from_another_loop_are_handed_to_the_loop_that_opened_it(
    call: Callable[[AgentRuntime[Any], str], Awaitable[str]],
) -> None:
    loops: set[Any] = set()

    async def note(messages: list[ModelMessage], info: AgentInfo) -> Pieces:
        loops.add(asyncio.get_running_loop())
        yield str(len(messages))

    runtime = AgentRuntime(Agent(model_of(note)))
    with fail_after(5):
        home = await asyncio.to_thread(loop_thread().run, lambda: _opened(runtime))
        assert await call(runtime, "s") == "1"
        assert await call(runtime, "s") == "3"
        assert loops == {home}
        await runtime.close()
    assert runtime.loop is None


async def _opened(runtime: AgentRuntime[Any]) -> Any:
    await runtime.open()
    return asyncio.get_running_loop()


async def test_a_stream_on_another_loop_can_be_cancelled_and_left() -> None:
    gated = GatedModel()
    runtime = AgentRuntime(Agent(gated.model))
    with fail_after(5):
        await asyncio.to_thread(loop_thread().run, lambda: _opened(runtime))
        async with runtime.stream("go", session_id="s") as run:
            async for event in run:
                if event == TextDelta("one "):
                    run.cancel()
        assert run.outcome.stop_reason == "cancelled"
        async with runtime.stream("go", session_id="s") as left:
            await anext(left)
        assert left.outcome.stop_reason == "cancelled"
        await runtime.close()


async def test_run_sync_in_a_running_loop_names_what_to_call() -> None:
    with pytest.raises(RuntimeError, match=r"await runtime\.run"):
        AgentRuntime(echo_agent()).run_sync("hello")


def test_run_sync_keeps_one_loop_and_one_session() -> None:
    runtime = AgentRuntime(echo_agent())
    assert runtime.run_sync("a", session_id="s").text == "a (1)"
    assert runtime.run_sync("b", session_id="s").text == "b (3)"
    loop_thread().run(runtime.close)


def test_a_runtime_lives_through_several_event_loops() -> None:
    runtime = AgentRuntime(echo_agent())
    assert asyncio.run(runtime.run("a", session_id="s")).text == "a (1)"
    assert asyncio.run(runtime.run("b", session_id="s")).text == "b (3)"
    assert runtime.loop is None


def test_many_threads_may_run_at_once() -> None:
    runtime, texts = AgentRuntime(echo_agent()), list[str]()

    def work(number: int) -> None:
        texts.append(runtime.run_sync("x", session_id=f"s{number}").text)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(5)
    loop_thread().run(runtime.close)
    assert texts == ["x (1)"] * 8


def test_a_script_with_an_open_runtime_ends_by_itself_and_closes_it() -> None:
    script = """
from pydantic_ai import Agent
from pais_sdk import AgentRuntime, LocalMemory, mock_model

class Memory(LocalMemory):
    async def close(self):
        print("closed", flush=True)

print(AgentRuntime(Agent(mock_model(["hello"])), memory=Memory()).run_sync("x").text)
"""
    done = subprocess.run([sys.executable, "-W", "error", "-c", script], capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr, done.returncode) == ("hello\nclosed\n", "", 0)


@pytest.mark.parametrize("elsewhere", [False, True], ids=["same loop", "another loop"])
async def test_a_cancelled_wait_for_an_event_loses_none(elsewhere: bool) -> None:
    gated = GatedModel()
    runtime = AgentRuntime(Agent(gated.model))
    with fail_after(5):
        if elsewhere:
            await asyncio.to_thread(loop_thread().run, lambda: _opened(runtime))
        async with runtime.stream("go") as run:
            while await anext(run) != TextDelta("one "):
                pass
            for _ in range(3):
                waiting = asyncio.ensure_future(anext(run))
                await asyncio.sleep(0)
                waiting.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await waiting
            assert runtime.loop is not None
            runtime.loop.call_soon_threadsafe(gated.gate.set)
            assert await anext(run) == TextDelta("two")
        await runtime.close()
