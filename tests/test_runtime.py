"""AgentRuntime: one run of one session."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

import pytest
from anyio import fail_after
from pydantic import BaseModel
from pydantic_ai import Agent, ModelRetry, RunContext
from pydantic_ai.messages import (
    ModelMessage,
    ModelRequest,
    ModelResponse,
    TextPart,
    ToolCallPart,
    ToolReturnPart,
    UserPromptPart,
)
from pydantic_ai.models.function import AgentInfo, DeltaToolCall
from pydantic_ai.toolsets import FunctionToolset

from pais_sdk import (
    AgentDeps,
    AgentRuntime,
    ConfigurationError,
    InvalidRequestError,
    InvalidSessionIdError,
    LocalMemory,
    MaxStepsError,
    MemoryUnavailableError,
    NullMemory,
    RunCancelledError,
    RunEnded,
    RunEvent,
    RunFailedError,
    RunStarted,
    RunTimeoutError,
    TextDelta,
    ToolCalled,
    ToolReturned,
    mock_model,
)

from .agents import GatedModel, Pieces, calls_then, echo_agent, model_of, user_texts

pytestmark = pytest.mark.anyio


async def events_of(runtime: AgentRuntime[Any], prompt: str, **options: Any) -> list[RunEvent]:
    with fail_after(5):
        async with runtime.stream(prompt, **options) as run:
            return [event async for event in run]


async def test_a_run_continues_its_session_and_no_other() -> None:
    async with AgentRuntime(echo_agent()) as runtime:
        first = await runtime.run("hello", session_id="a")
        second = await runtime.run("again", session_id="a")
        other = await runtime.run("hello", session_id="b")
    assert (first.text, second.text, other.text) == ("hello (1)", "again (3)", "hello (1)")
    assert second.output == second.text
    assert second.stop_reason == "end_turn"
    assert second.usage.requests == 1
    assert [type(message) for message in second.messages] == [ModelRequest, ModelResponse]
    assert {message.run_id for message in second.messages} == {second.run_id}


async def test_without_a_session_id_every_run_has_a_session_of_its_own() -> None:
    async with AgentRuntime(echo_agent()) as runtime:
        first, second = await runtime.run("hello"), await runtime.run("hello")
        follow_up = await runtime.run("more", session_id=first.session_id)
    assert first.session_id != second.session_id
    assert follow_up.text == "more (3)"


async def test_a_stream_says_everything_in_order_and_ends_with_the_outcome() -> None:
    agent = Agent(calls_then("It is sunny.", ("weather", '{"city": "Oslo"}'), preamble="Let me look."))

    @agent.tool_plain
    def weather(city: str) -> str:
        return f"sun in {city}"

    async with AgentRuntime(agent) as runtime:
        events = await events_of(runtime, "Weather?", session_id="s")
        plain = await runtime.run("Weather?", session_id="t")
    assert [type(event) for event in events] == [
        RunStarted,
        TextDelta,
        ToolCalled,
        ToolReturned,
        TextDelta,
        RunEnded,
    ]
    called, returned = events[2], events[3]
    assert isinstance(called, ToolCalled)
    assert isinstance(returned, ToolReturned)
    assert (called.tool_name, called.arguments, called.step) == ("weather", {"city": "Oslo"}, 1)
    assert (returned.tool_call_id, returned.content, returned.outcome) == (
        called.tool_call_id,
        "sun in Oslo",
        "success",
    )
    streamed = "".join(event.text for event in events if isinstance(event, TextDelta))
    assert streamed == plain.text == "Let me look.\n\nIt is sunny."
    assert isinstance(events[-1], RunEnded)
    assert events[-1].outcome.text == streamed


async def test_the_first_text_is_at_the_consumer_before_the_model_says_the_second() -> None:
    gated = GatedModel()
    async with AgentRuntime(Agent(gated.model)) as runtime:
        with fail_after(5):
            async with runtime.stream("go") as run:
                assert isinstance(await anext(run), RunStarted)
                assert await anext(run) == TextDelta("one ")
                gated.gate.set()
                assert await anext(run) == TextDelta("two")
                last = await anext(run)
                assert isinstance(last, RunEnded)
                assert last.outcome is run.outcome
                with pytest.raises(StopAsyncIteration):
                    await anext(run)


async def test_when_the_last_event_is_there_the_run_is_stored_and_the_session_free() -> None:
    runtime = AgentRuntime(echo_agent(), on_busy="reject")
    async with runtime, runtime.stream("first", session_id="s") as run:
        async for event in run:
            if isinstance(event, RunEnded):
                assert (await runtime.run("second", session_id="s")).text == "second (3)"


async def test_structured_output_goes_out_as_json_at_the_end() -> None:
    class City(BaseModel):
        name: str
        people: int

    agent = Agent(mock_model(['{"name": "Oslo", "people": 700000}']), output_type=City)
    async with AgentRuntime(agent) as runtime:
        outcome = await runtime.run("Which?")
        events = await events_of(runtime, "Which?")
    assert outcome.output == City(name="Oslo", people=700000)
    assert outcome.text == '{"name":"Oslo","people":700000}'
    assert [event.text for event in events if isinstance(event, TextDelta)] == [outcome.text]


async def test_an_output_validator_that_asks_again_is_another_step() -> None:
    agent = Agent(mock_model(["no", "yes"]))

    @agent.output_validator
    def only_yes(output: str) -> str:
        if output != "yes":
            raise ModelRetry("say yes")
        return output

    async with AgentRuntime(agent) as runtime:
        outcome = await runtime.run("Well?")
        events = await events_of(runtime, "Well?")
    assert outcome.output == "yes"
    assert outcome.text == "no\n\nyes"
    assert "".join(event.text for event in events if isinstance(event, TextDelta)) == outcome.text


async def test_the_step_limit_raises_and_keeps_what_was_done() -> None:
    async def forever(messages: list[ModelMessage], info: AgentInfo) -> Pieces:
        yield {0: DeltaToolCall(name="ping", json_args="{}", tool_call_id=f"call_{len(messages)}")}

    agent = Agent(model_of(forever))

    @agent.tool_plain
    def ping() -> str:
        return "pong"

    async with AgentRuntime(agent, max_steps=3) as runtime:
        with pytest.raises(MaxStepsError) as raised:
            await runtime.run("go", session_id="s")
        stored = await runtime.memory.get_events("s", types=["tool_result"])
        assert (await events_of(runtime, "go"))[-1].outcome.stop_reason == "max_steps"  # type: ignore[union-attr]
    assert raised.value.outcome.stop_reason == "max_steps"
    assert raised.value.outcome.usage.requests == 3
    assert len(stored) == 3


async def test_a_run_that_takes_too_long_is_stopped_and_kept() -> None:
    gated = GatedModel()
    async with AgentRuntime(Agent(gated.model), timeout_s=0.05) as runtime:
        with fail_after(5), pytest.raises(RunTimeoutError) as raised:
            await runtime.run("go", session_id="s")
        assert gated.cancelled.is_set()
        events = await runtime.memory.get_events("s")
    assert raised.value.outcome.stop_reason == "timeout"
    assert events[0].content == "go"


async def test_cancel_stops_the_model_and_keeps_the_partial_answer() -> None:
    gated = GatedModel()
    async with AgentRuntime(Agent(gated.model)) as runtime:
        with fail_after(5):
            async with runtime.stream("go", session_id="s") as run:
                async for event in run:
                    if event == TextDelta("one "):
                        assert await runtime.cancel("s")
            assert gated.cancelled.is_set()
        assert run.outcome.stop_reason == "cancelled"
        assert run.outcome.text == "one "
        contents = [event.content for event in await runtime.memory.get_events("s")]
        assert contents == ["go", "one "]
        assert not await runtime.cancel("s")


async def test_a_cancelled_run_keeps_the_user_message() -> None:
    gated = GatedModel()
    async with AgentRuntime(Agent(gated.model)) as runtime:
        with fail_after(5):
            task = asyncio.create_task(runtime.run("remember me", session_id="s"))
            await gated.said_first.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert gated.cancelled.is_set()
        assert (await runtime.memory.get_events("s"))[0].content == "remember me"


async def test_a_failed_run_keeps_the_user_message_and_says_why_in_its_outcome() -> None:
    async def broken(messages: list[ModelMessage], info: AgentInfo) -> Pieces:
        raise OSError("secret")
        yield ""

    async with AgentRuntime(Agent(model_of(broken))) as runtime:
        with pytest.raises(RunFailedError) as raised:
            await runtime.run("hello", session_id="s")
        events = await runtime.memory.get_events("s")
    assert isinstance(raised.value.outcome.error, OSError)
    assert raised.value.__cause__ is raised.value.outcome.error
    assert [event.event_type for event in events] == ["user_message", "error"]
    assert "secret" not in str(events[1].to_dict())


async def test_a_tool_that_raises_does_not_end_the_run(caplog: pytest.LogCaptureFixture) -> None:
    agent = Agent(calls_then("It did not work.", ("broken", "{}")))

    @agent.tool_plain
    def broken() -> str:
        raise ValueError("secret")

    async with AgentRuntime(agent) as runtime:
        events = await events_of(runtime, "go", session_id="s")
    returned = next(event for event in events if isinstance(event, ToolReturned))
    assert returned.outcome == "failed"
    assert "secret" not in str(returned.content)
    assert events[-1].outcome.text == "It did not work."  # type: ignore[union-attr]
    assert "secret" in caplog.text


@pytest.mark.parametrize("kind", ["async", "sync"])
async def test_a_tool_that_takes_too_long_fails_and_the_run_goes_on(kind: str) -> None:
    import threading

    agent, release = Agent(calls_then("Too slow.", ("slow", "{}"))), threading.Event()

    if kind == "async":

        @agent.tool_plain(name="slow")
        async def slow() -> str:
            await asyncio.Event().wait()
            return "never"
    else:

        @agent.tool_plain(name="slow")
        def slow_thread() -> str:
            release.wait(5)
            return "never"

    async with AgentRuntime(agent, tool_timeout_s=0.05) as runtime:
        with fail_after(5):
            outcome = await runtime.run("go")
        release.set()
    assert outcome.text == "Too slow."
    assert "longer than 0.05 s" in str(outcome.messages)


async def test_a_tool_that_needs_an_approval_is_denied_with_a_reason() -> None:
    agent = Agent(calls_then("I may not.", ("delete_all", "{}")))

    @agent.tool_plain(requires_approval=True)
    def delete_all() -> str:
        raise AssertionError("it ran")

    async with AgentRuntime(agent) as runtime:
        outcome = await runtime.run("go")
    assert outcome.text == "I may not."
    assert "needs an approval" in str(outcome.messages)


async def test_tools_get_the_session_and_its_memory_as_deps() -> None:
    agent = Agent(calls_then("done", ("note", "{}")), deps_type=AgentDeps)

    @agent.tool
    async def note(ctx: RunContext[AgentDeps]) -> str:
        await ctx.deps.memory.add_event(ctx.deps.session_id, "note", "seen")
        return ctx.deps.session_id

    async with AgentRuntime(agent) as runtime:
        await runtime.run("go", session_id="mine", scope="alice")
        notes = await runtime.memory.scoped("alice").get_events("mine", types=["note"])
        assert [event.content for event in notes] == ["seen"]
        assert await runtime.memory.get_events("mine") == []


@dataclass
class Deps:
    session_id: str = "none"


async def _async_deps(deps: AgentDeps) -> Deps:
    return Deps(deps.session_id)


@pytest.mark.parametrize(
    ("given", "seen"),
    [(Deps("fixed"), "fixed"), (Deps, "none"), (lambda deps: Deps(deps.session_id), "s"), (_async_deps, "s")],  # pyright: ignore
    ids=["value", "class", "function", "async function"],
)
async def test_an_agent_with_deps_of_its_own_gets_the_callers(given: Any, seen: str) -> None:
    agent = Agent(calls_then("done", ("who", "{}")), deps_type=Deps)

    @agent.tool
    def who(ctx: RunContext[Deps]) -> str:
        return ctx.deps.session_id

    async with AgentRuntime(agent, deps=given) as runtime:
        events = await events_of(runtime, "go", session_id="s")
    assert next(event.content for event in events if isinstance(event, ToolReturned)) == seen


async def test_fifty_runs_at_once_have_their_own_deps() -> None:
    agent = Agent(calls_then("done", ("who", "{}")), deps_type=AgentDeps)

    @agent.tool
    async def who(ctx: RunContext[AgentDeps]) -> str:
        await asyncio.sleep(0)
        return ctx.deps.session_id

    async with AgentRuntime(agent) as runtime:
        with fail_after(5):
            outcomes = await asyncio.gather(*(runtime.run("go", session_id=f"s{n}") for n in range(50)))
    for number, outcome in enumerate(outcomes):
        parts = [part for message in outcome.messages for part in message.parts]
        results = [part.content for part in parts if isinstance(part, ToolReturnPart)]
        assert results == [f"s{number}"]


async def test_run_arguments_reach_the_model_and_the_agent_stays_as_it_is() -> None:
    seen: list[AgentInfo] = []

    async def look(messages: list[ModelMessage], info: AgentInfo) -> Pieces:
        seen.append(info)
        yield "ok"

    agent = Agent(model_of(look), instructions="Own.", name="own")

    @agent.tool_plain
    def first() -> str:
        return ""

    def second() -> str:
        return ""

    before = (agent.model, list(agent.toolsets), agent.name)
    runtime = AgentRuntime(agent, instructions="Runtime.", toolsets=[FunctionToolset([second])], name="other")
    async with runtime:
        await runtime.run("go", instructions="Run.", model_settings={"temperature": 0.1}, metadata={"k": "v"})
        await runtime.run("go", tools=["second"])
    assert seen[0].instructions == "Own.\n\nRuntime.\n\nRun."
    assert seen[0].model_settings == {"temperature": 0.1}
    assert [tool.name for tool in seen[0].function_tools] == ["first", "second"]
    assert [tool.name for tool in seen[1].function_tools] == ["second"]
    assert (agent.model, list(agent.toolsets), agent.name) == before
    assert [tool.name for tool in await runtime.list_tools()] == ["first", "second"]


async def test_efforts_choose_the_model() -> None:
    efforts: Any = {"quick": mock_model(["quick"]), "deep": (mock_model(["deep"]), {"max_tokens": 5})}
    async with AgentRuntime(echo_agent(), efforts=efforts) as runtime:
        assert (await runtime.run("x", effort="quick")).text == "quick"
        assert (await runtime.run("x", effort="deep")).text == "deep"
        with pytest.raises(InvalidRequestError, match="use one of deep, quick"):
            await runtime.run("x", effort="max")


async def test_a_history_of_the_callers_takes_the_memorys_place_and_is_stored_with_a_new_session() -> None:
    history = [ModelRequest([UserPromptPart("before")]), ModelResponse([TextPart("yes")])]
    async with AgentRuntime(echo_agent()) as runtime:
        outcome = await runtime.run("now", history=history)
        assert outcome.text == "now (3)"
        assert (await runtime.run("more", session_id=outcome.session_id)).text == "more (5)"


async def test_the_window_is_the_newest_messages_and_never_cuts_a_run() -> None:
    agent = Agent(calls_then("done", ("ping", "{}")))
    seen: list[list[str]] = []

    @agent.tool_plain
    def ping() -> str:
        return "pong"

    @agent.instructions
    def look(ctx: RunContext[Any]) -> str:
        seen.append(user_texts(ctx.messages))
        return ""

    async with AgentRuntime(agent, history_limit=5) as runtime:  # one run has four messages
        for number in range(4):
            await runtime.run(f"m{number}", session_id="s")
    assert seen[-1] == ["m1", "m2", "m3"]


async def test_a_run_that_is_not_to_be_stored_leaves_nothing() -> None:
    async with AgentRuntime(echo_agent()) as runtime:
        outcome = await runtime.run("secret", store=False)
        assert await runtime.memory.get_events() == []
        assert (await runtime.run("next", session_id=outcome.session_id)).text == "next (1)"


async def test_with_null_memory_every_run_begins_anew() -> None:
    async with AgentRuntime(echo_agent(), memory=NullMemory()) as runtime:
        first, second = await runtime.run("a", session_id="s"), await runtime.run("b", session_id="s")
        anonymous = {(await runtime.run("c")).session_id for _ in range(3)}
    assert (first.text, second.text) == ("a (1)", "b (1)")
    assert len(anonymous) == 3


async def test_a_run_that_cannot_be_stored_ends_with_the_memorys_error() -> None:
    class Forgetful(LocalMemory):
        def _append(self, *args: Any, **kwargs: Any) -> None:
            raise MemoryUnavailableError("gone")

    async with AgentRuntime(echo_agent(), memory=Forgetful()) as runtime:
        with pytest.raises(RunFailedError) as raised:
            await runtime.run("hello", session_id="s")
        outcome = raised.value.outcome
        assert isinstance(outcome.error, MemoryUnavailableError)
        assert outcome.text == "hello (1)"


@pytest.mark.parametrize("session_id", ["", "a b", "../x", "ä", "x" * 129, "a\n"])
async def test_an_invalid_session_id_is_refused(session_id: str) -> None:
    runtime = AgentRuntime(echo_agent())
    with pytest.raises(InvalidSessionIdError, match="1 to 128"):
        await runtime.run("hello", session_id=session_id)
    with pytest.raises(InvalidSessionIdError):
        await runtime.cancel(session_id)


@pytest.mark.parametrize(
    ("prompt", "options", "param"),
    [("", {}, "prompt"), ([], {}, "prompt"), (None, {}, "prompt"), ("x", {"timeout_s": 0}, "timeout_s")],
)
async def test_a_wrong_argument_is_named(prompt: Any, options: Any, param: str) -> None:
    with pytest.raises(InvalidRequestError) as raised:
        await AgentRuntime(echo_agent()).run(prompt, **options)
    assert raised.value.param == param


@pytest.mark.parametrize(
    "options",
    [
        {"max_steps": 0},
        {"history_limit": -1},
        {"timeout_s": 0},
        {"on_busy": "wait"},
        {"on_disconnect": "stay"},
        {"max_active_runs": 0},
        {"max_queued_runs": -1},
    ],
)
async def test_a_runtime_that_cannot_work_is_refused_at_once(options: Any) -> None:
    with pytest.raises(ConfigurationError):
        AgentRuntime(echo_agent(), **options)


async def test_an_agent_that_needs_deps_and_gets_none_is_refused_at_once() -> None:
    with pytest.raises(ConfigurationError, match="deps of type Deps"):
        AgentRuntime(Agent(mock_model(["x"]), deps_type=Deps))


@pytest.mark.parametrize("how", ["cancel", "timeout"])
async def test_a_session_goes_on_after_a_run_that_was_stopped_inside_a_tool(how: str) -> None:
    agent, called = Agent(calls_then("done", ("wait", "{}"), preamble="One moment.")), asyncio.Event()

    @agent.tool_plain
    async def wait() -> str:
        if not called.is_set():
            called.set()
            await asyncio.Event().wait()
        return "now"

    async with AgentRuntime(agent) as runtime:
        with fail_after(5):
            task = asyncio.create_task(
                runtime.run("first", session_id="s", timeout_s=0.05 if how == "timeout" else None)
            )
            await called.wait()
            if how == "cancel":
                await runtime.cancel("s")
            with pytest.raises((RunCancelledError, RunTimeoutError)):
                await task
            last = (await runtime.memory.get_events("s"))[-1]
            assert (last.event_type, last.content["tool"], last.metadata["outcome"]) == (
                ("tool_result", "wait", "interrupted")
            )
            assert (await runtime.run("second", session_id="s")).stop_reason == "end_turn"


async def test_a_quiet_stream_has_one_event_and_the_same_outcome() -> None:
    async with AgentRuntime(echo_agent()) as runtime:
        with fail_after(5):
            async with runtime.stream("hello", quiet=True, session_id="s") as run:
                events = [event async for event in run]
        assert events == [RunEnded(run.outcome)]
        assert run.outcome.text == (await runtime.run("hello", session_id="t")).text


async def test_a_history_that_ends_with_an_open_call_is_closed_before_a_prompt() -> None:
    history = [ModelRequest([UserPromptPart("hi")]), ModelResponse([ToolCallPart("gone", {}, "c")])]
    async with AgentRuntime(echo_agent()) as runtime:
        assert (await runtime.run("now", history=history)).text.startswith("now")
