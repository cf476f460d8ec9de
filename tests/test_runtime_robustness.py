"""The runtime when things around it go wrong: slow deps, trimmed histories, dying loops, tools that reach for it."""

from __future__ import annotations

import asyncio
import sys
import threading
from dataclasses import dataclass
from typing import Any

import pytest
from anyio import fail_after
from pydantic_ai import Agent, DeferredToolRequests
from pydantic_ai.capabilities import ProcessHistory
from pydantic_ai.messages import ModelMessage, ModelRequest, ModelResponse, TextPart, UserPromptPart
from pydantic_ai.models.function import AgentInfo, FunctionModel

from pais_sdk import (
    AgentDeps,
    AgentRuntime,
    InvalidRequestError,
    InvalidSessionIdError,
    LocalMemory,
    MemoryUnavailableError,
    RunCancelledError,
    RunFailedError,
    RunTimeoutError,
    TextDelta,
    mock_model,
)
from pais_sdk._loop import loop_thread

from .agents import GatedModel, Pieces, calls_then, echo_agent, model_of, user_texts

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("how", ["timeout", "cancel", "close"])
async def test_deps_that_never_come_do_not_outlast_the_run(how: str) -> None:
    asked = asyncio.Event()

    async def never(deps: AgentDeps) -> str:
        asked.set()
        await asyncio.Event().wait()
        return ""

    runtime = AgentRuntime(Agent(mock_model(["x"]), deps_type=str), deps=never)
    with fail_after(5):
        task = asyncio.create_task(runtime.run("hi", session_id="s", timeout_s=0.05 if how == "timeout" else None))
        await asked.wait()
        if how == "cancel":
            await runtime.cancel("s")
        elif how == "close":
            await runtime.close()
        with pytest.raises(RunTimeoutError if how == "timeout" else RunCancelledError):
            await task
        assert [event.content for event in await runtime.memory.get_events("s")] == ["hi"]
        assert runtime.admission.active == 0
        await runtime.close()


async def test_what_the_user_said_is_kept_where_the_agent_trims_its_history() -> None:
    def newest(messages: list[ModelMessage]) -> list[ModelMessage]:
        return messages[-2:]

    agent = Agent(calls_then("done", ("ping", "{}")), capabilities=[ProcessHistory(newest)])

    @agent.tool_plain
    def ping() -> str:
        return "pong"

    async with AgentRuntime(agent) as runtime:
        outcome = await runtime.run("remember me", session_id="s")
        events = await runtime.memory.get_events("s")
    assert isinstance(outcome.messages[0], ModelRequest)
    assert [event.event_type for event in events] == ["user_message", "tool_call", "tool_result", "agent_response"]


async def test_a_session_goes_on_after_output_that_asks_for_an_approval() -> None:
    agent = Agent(calls_then("done", ("delete", "{}")), output_type=[str, DeferredToolRequests])

    @agent.tool_plain(requires_approval=True)
    def delete() -> str:
        raise AssertionError("it ran")

    async with AgentRuntime(agent) as runtime:
        first = await runtime.run("delete", session_id="s")
        assert isinstance(first.output, DeferredToolRequests)
        assert (await runtime.run("and now?", session_id="s")).stop_reason == "end_turn"


async def test_a_tool_may_cancel_everything_its_own_run_too() -> None:
    agent = Agent(calls_then("done", ("stop", "{}")))
    runtime = AgentRuntime(agent)

    @agent.tool_plain
    async def stop() -> str:
        await runtime.cancel_all()
        await asyncio.Event().wait()
        return "never"

    with fail_after(5):
        with pytest.raises(RunCancelledError):
            await runtime.run("go")
        await runtime.close()


async def test_a_tool_that_ends_the_process_only_fails() -> None:
    agent = Agent(calls_then("still here", ("leave", "{}")))

    @agent.tool_plain
    def leave() -> str:
        sys.exit(3)

    async with AgentRuntime(agent) as runtime:
        with fail_after(5):
            assert (await runtime.run("go")).text == "still here"


async def test_a_run_that_comes_while_the_runtime_closes_has_an_open_one() -> None:
    states: list[str] = []

    class Seen(LocalMemory):
        async def open(self) -> None:
            states.append("open")

        async def close(self) -> None:
            states.append("close")

    gated = GatedModel()
    runtime = AgentRuntime(Agent(gated.model), memory=Seen())
    with fail_after(5):
        first = asyncio.create_task(runtime.run("first", session_id="a"))
        await gated.said_first.wait()
        closing = asyncio.create_task(runtime.close())
        await asyncio.sleep(0)
        gated.gate.set()
        second = asyncio.create_task(runtime.run("second", session_id="b"))
        await closing
        assert (await second).text == "one two"
        await asyncio.gather(first, return_exceptions=True)
        await runtime.close()
    assert states == ["open", "close", "open", "close"]


async def test_deleting_a_session_cancels_its_first_run() -> None:
    gated = GatedModel()
    async with AgentRuntime(Agent(gated.model)) as runtime:
        with fail_after(5):
            first = asyncio.create_task(runtime.run("first", session_id="s"))
            await gated.said_first.wait()
            assert await runtime.delete_session("s")
            with pytest.raises(RunCancelledError):
                await first
        assert await runtime.memory.get_events("s") == []
        assert list(await runtime.memory.list_sessions()) == []


async def test_of_many_that_interrupt_the_last_one_runs() -> None:
    gated = GatedModel()
    async with AgentRuntime(Agent(gated.model), on_busy="interrupt") as runtime:
        with fail_after(5):
            tasks: list[asyncio.Task[Any]] = []
            for number in range(5):
                tasks.append(asyncio.create_task(runtime.run(f"{number}", session_id="s")))
                while runtime.admission.waiting + runtime.admission.active < 1:
                    await asyncio.sleep(0)
            await gated.said_first.wait()
            for task in tasks[:-1]:
                with pytest.raises(RunCancelledError):
                    await task
            gated.gate.set()
            assert (await tasks[-1]).text == "one two"


async def test_runs_that_wait_for_a_session_take_no_place_from_others() -> None:
    gated = GatedModel()
    async with AgentRuntime(Agent(gated.model), max_active_runs=2, efforts={"other": mock_model(["x"])}) as runtime:
        with fail_after(5):
            tasks = [asyncio.create_task(runtime.run("hot", session_id="hot")) for _ in range(4)]
            await gated.said_first.wait()
            assert (await runtime.run("cold", session_id="cold", effort="other")).text == "x"
            gated.gate.set()
            await asyncio.gather(*tasks)


async def test_a_memory_of_somebody_elses_that_fails_loses_no_answer() -> None:
    class Broken(LocalMemory):
        def _append(self, *args: Any, **kwargs: Any) -> None:
            raise KeyError("disk")

    async with AgentRuntime(echo_agent(), memory=Broken()) as runtime:
        with pytest.raises(RunFailedError) as raised:
            await runtime.run("hello")
    outcome = raised.value.outcome
    assert isinstance(outcome.error, MemoryUnavailableError)
    assert isinstance(outcome.error.__cause__, KeyError)
    assert (outcome.text, outcome.usage.requests, len(outcome.messages)) == ("hello (1)", 1, 2)


async def test_half_a_character_is_refused_in_a_prompt() -> None:
    with pytest.raises(InvalidRequestError, match="half a character"):
        await AgentRuntime(echo_agent()).run("\ud800")


async def test_ids_with_a_scope_in_them_open_nothing() -> None:
    memory = LocalMemory()
    runtime = AgentRuntime(echo_agent(), memory=memory)
    await runtime.run("secret", session_id="s", scope="alice")
    for view in (memory, memory.scoped("bob")):
        for call in (view.get_events, view.build_conversation_context, view.delete_session):
            with pytest.raises(InvalidSessionIdError):
                await call("alice/s")
    with pytest.raises(InvalidSessionIdError):
        await memory.scoped("bob").load("../alice/s")


async def test_a_caller_on_another_loop_that_gives_up_leaves_nothing_behind() -> None:
    import threading

    gated, blocked = GatedModel(), threading.Event()
    runtime = AgentRuntime(Agent(gated.model))
    with fail_after(5):
        await asyncio.to_thread(loop_thread().run, runtime.open)
        stream = runtime.stream("go", session_id="s")
        entering = asyncio.ensure_future(stream.__aenter__())
        await asyncio.sleep(0)  # handed over
        while runtime.admission.active == 0:  # this loop is blocked, so it does not hear that the run has begun
            blocked.wait(0.001)
        entering.cancel()
        with pytest.raises(asyncio.CancelledError):
            await entering
        while runtime.admission.active:
            await asyncio.sleep(0.001)
        await runtime.close()


def test_calls_to_a_loop_that_has_ended_say_so_or_begin_anew() -> None:
    runtime = AgentRuntime(echo_agent())
    loop = asyncio.new_event_loop()
    assert loop.run_until_complete(runtime.run("a", session_id="s")).text == "a (1)"

    left_open = asyncio.all_tasks(loop)

    async def elsewhere() -> list[str]:
        with fail_after(5):
            async with runtime.stream("b", session_id="s") as run:
                await anext(run)
                for task in left_open:  # what the first loop left is ended while the run goes on
                    task.get_coro().close()
                texts = [event.text async for event in run if isinstance(event, TextDelta)]
            await runtime.close()
            return texts

    assert asyncio.run(elsewhere()) == ["b ", "(3)"]
    for task in left_open:
        task.cancel()
    loop.run_until_complete(asyncio.gather(*left_open, return_exceptions=True))
    loop.close()


async def test_a_stream_cancelled_before_it_begins_ends_at_once() -> None:
    gated = GatedModel()
    async with AgentRuntime(Agent(gated.model)) as runtime:
        with fail_after(5):
            stream = runtime.stream("go", session_id="s")
            stream.cancel()
            async with stream as run:
                events = [event async for event in run]
    assert run.outcome.stop_reason == "cancelled"
    assert not any(isinstance(event, TextDelta) for event in events[2:])


async def test_a_prompt_of_a_wrong_type_is_named() -> None:
    wrong: Any = 5
    with pytest.raises(InvalidRequestError, match="text or a list"):
        await AgentRuntime(echo_agent()).run(wrong)


async def test_a_history_alone_can_be_answered() -> None:
    history: list[ModelMessage] = [ModelRequest([UserPromptPart("only this")])]
    async with AgentRuntime(echo_agent()) as runtime:
        assert (await runtime.run(None, history=history)).text == "only this (1)"


async def test_two_tools_may_cancel_everything_at_once() -> None:
    agent, both = Agent(calls_then("done", ("stop", "{}"))), asyncio.Barrier(2)
    runtime = AgentRuntime(agent)

    @agent.tool_plain
    async def stop() -> str:
        await both.wait()
        await runtime.cancel_all()
        await asyncio.Event().wait()
        return "never"

    with fail_after(5):
        ended = await asyncio.gather(runtime.run("a"), runtime.run("b"), return_exceptions=True)
        await runtime.close()
    assert [type(error) for error in ended] == [RunCancelledError, RunCancelledError]


async def test_a_timeout_of_the_callers_own_deps_is_an_error_of_theirs() -> None:
    def late(deps: AgentDeps) -> str:
        raise TimeoutError("the database")

    async with AgentRuntime(Agent(mock_model(["x"]), deps_type=str), deps=late) as runtime:
        with pytest.raises(RunFailedError) as raised:
            await runtime.run("hi")
    assert isinstance(raised.value.outcome.error, TimeoutError)


def test_deps_that_want_to_end_the_process_leave_the_loop_thread_alive() -> None:
    def leave(deps: AgentDeps) -> str:
        sys.exit(3)

    runtime = AgentRuntime(Agent(mock_model(["x"]), deps_type=str), deps=leave)
    with pytest.raises(RunFailedError):
        runtime.run_sync("hi")
    other = AgentRuntime(echo_agent())
    assert other.run_sync("hi").text == "hi (1)"
    loop_thread().run(runtime.close)
    loop_thread().run(other.close)


async def test_what_was_read_on_another_loop_is_not_kept() -> None:
    runtime = AgentRuntime(echo_agent())
    with fail_after(5):
        await asyncio.to_thread(loop_thread().run, runtime.open)
        for _ in range(3):
            async with runtime.stream("hi") as run:
                _ = [event async for event in run]
        home = runtime._lifetime.home
        assert home is not None
        while home._calls:  # the last one tells that it is done from the other thread
            await asyncio.sleep(0)
        await runtime.close()


async def test_the_last_holder_closes_also_what_was_opened_again_meanwhile() -> None:
    runtime = AgentRuntime(echo_agent())
    with fail_after(5):
        async with runtime.held():
            await runtime.close()
            await runtime.run("hi")
            assert runtime.loop is not None
        assert runtime.loop is None


async def test_a_message_of_a_class_of_the_models_own_is_stored() -> None:
    @dataclass
    class Own(ModelResponse):
        raw: object = None

    async def answer(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
        return Own([TextPart("hello")], raw=threading.Lock())

    with fail_after(5):
        async with AgentRuntime(Agent(FunctionModel(answer))) as runtime:
            await runtime.run("hi", session_id="s")
            events = await runtime.memory.get_events("s")
    assert [event.content for event in events] == ["hi", "hello"]


async def test_a_run_that_is_given_up_while_the_other_loop_is_busy_does_not_happen() -> None:
    asked: list[str] = []

    async def answer(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
        asked.append(user_texts(messages)[-1])
        return ModelResponse([TextPart("hello")])

    runtime, busy, go_on = AgentRuntime(Agent(FunctionModel(answer))), threading.Event(), threading.Event()

    def block() -> None:
        busy.set()
        go_on.wait()

    with fail_after(5):
        await asyncio.to_thread(loop_thread().run, runtime.open)
        loop_thread().loop.call_soon_threadsafe(block)
        await asyncio.to_thread(busy.wait)
        given_up = asyncio.create_task(runtime.run("given up"))
        await asyncio.sleep(0)  # it is on its way to the other loop
        given_up.cancel()
        asyncio.get_running_loop().call_soon(go_on.set)
        await asyncio.wait([given_up])
        assert given_up.cancelled()
        await runtime.run("afterwards")
        await asyncio.to_thread(loop_thread().run, runtime.close)
    assert asked == ["afterwards"]


@pytest.mark.parametrize("streaming", [False, True], ids=["plain", "streamed"])
async def test_what_is_no_exception_ends_only_the_run(streaming: bool) -> None:
    class Odd(BaseException):
        pass

    async def odd(messages: list[ModelMessage], info: AgentInfo) -> Pieces:
        raise Odd("inner")
        yield ""

    async with AgentRuntime(Agent(model_of(odd))) as runtime:
        with fail_after(5):
            if streaming:
                async with runtime.stream("hi", session_id="s") as run:
                    assert [type(event).__name__ async for event in run] == ["RunStarted", "RunEnded"]
                assert run.outcome.stop_reason == "error"
            else:
                with pytest.raises(RunFailedError, match="something in the agent raised Odd"):
                    await runtime.run("hi", session_id="s")
            assert (await runtime.memory.get_events("s"))[-1].event_type == "error"
