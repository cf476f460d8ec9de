"""The same agent calls the same tools, whether its endpoint has tools or they are described in the prompt."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest
from anyio import fail_after
from pydantic import BaseModel
from pydantic_ai import Agent, ModelRetry, NativeOutput, PromptedOutput, RunContext, ToolFailed
from pydantic_ai.messages import (
    FunctionToolCallEvent,
    FunctionToolResultEvent,
    PartDeltaEvent,
    PartStartEvent,
    TextPart,
    TextPartDelta,
)
from pydantic_ai.models import Model
from pydantic_ai.usage import RunUsage

from pais_sdk import AgentRuntime
from pais_sdk.events import RunEnded, TextDelta, ToolCalled, ToolReturned
from pais_sdk.testing.mock_llm import MockLLM
from pais_sdk.testing.mock_llm.request import ChatRequest
from pais_sdk.testing.mock_llm.script import Script

from .http_agents import body, chunks_of, content_of, served, text_of
from .tool_call_modes import MODES, Mode, answered, calls, scripted, trajectory

pytestmark = pytest.mark.anyio

STREAMING = pytest.mark.parametrize("streaming", [False, True], ids=["plain", "stream"])
OTHERS = pytest.mark.parametrize("mode", ["string", "auto"])

FOUR_CALLS = calls(
    ("add", {"a": 1, "b": 2}),
    ("look_up", {"name": 'the "red" {door}'}),
    ("break_down", {}),
    ("guess", {"number": 3}),
    content="Let me see.",
)
STORY: list[Any] = [FOUR_CALLS, calls(("guess", {"number": 7})), 'It is 3 {and} "red".']


class Report(BaseModel):
    """What came out."""

    total: int
    notes: list[str]


def helper(model: Model | None = None, **options: Any) -> Agent[None, Any]:
    """Return an agent with a sync and an async tool, one that fails, and one that asks again."""
    agent: Agent[None, Any] = Agent(model, name="helper", instructions="Be of help.", **options)

    @agent.tool_plain
    def add(a: int, b: int) -> int:  # pyright: ignore[reportUnusedFunction]
        """Add two numbers."""
        return a + b

    @agent.tool
    async def look_up(ctx: RunContext[None], name: str) -> dict[str, Any]:  # pyright: ignore[reportUnusedFunction]
        """Look a thing up."""
        return {"name": name, "colours": ["red", "grün"]}

    @agent.tool_plain
    def break_down() -> str:  # pyright: ignore[reportUnusedFunction]
        """Do nothing well."""
        raise ToolFailed("The machine is out of order.")

    @agent.tool_plain
    async def guess(number: int) -> str:  # pyright: ignore[reportUnusedFunction]
        """Guess a number."""
        if number < 5:
            raise ModelRetry("Too low.")
        return "right"

    return agent


async def run(agent: Agent[None, Any], model: Model, *, streaming: bool, **options: Any) -> Any:
    """Run an agent and return the result; streaming, each request to the model is streamed."""
    if not streaming:
        return await agent.run("Go.", model=model, **options)

    async def drop(ctx: RunContext[None], events: Any) -> None:
        async for _ in events:
            pass

    return await agent.run("Go.", model=model, event_stream_handler=drop, **options)


def usage_of(mock: MockLLM, responses: Sequence[Any]) -> tuple[int, int, int]:
    """Return how many requests the endpoint answered, and the tokens that it counted."""
    script = Script(responses)
    requests = [ChatRequest.model_validate(body) for body in answered(mock)]
    usages = [script.answer(request).usage(request) for request in requests]
    return (
        len(usages),
        sum(usage["prompt_tokens"] for usage in usages),
        sum(usage["completion_tokens"] for usage in usages),
    )


def counted(usage: RunUsage) -> tuple[int, int, int]:
    return usage.requests, usage.input_tokens, usage.output_tokens


STORY_TOLD = [
    ("said", "Let me see."),
    ("called", 0, "add", {"a": 1, "b": 2}),
    ("called", 1, "look_up", {"name": 'the "red" {door}'}),
    ("called", 2, "break_down", {}),
    ("called", 3, "guess", {"number": 3}),
    ("returned", 0, "add", "success", 3),
    ("returned", 1, "look_up", "success", {"name": 'the "red" {door}', "colours": ["red", "grün"]}),
    ("returned", 2, "break_down", "failed", "The machine is out of order."),
    ("returned", 3, "guess", "retried", "Too low."),
    ("called", 4, "guess", {"number": 7}),
    ("returned", 4, "guess", "success", "right"),
    ("said", 'It is 3 {and} "red".'),
]


@pytest.mark.parametrize(
    ("streaming", "options"), [(False, ""), (True, ""), (True, "+chars")], ids=["plain", "words", "characters"]
)
@pytest.mark.parametrize("mode", MODES)
async def test_the_trajectory_is_the_same_in_each_mode(mode: Mode, streaming: bool, options: str) -> None:
    with fail_after(10):
        async with scripted(mode, STORY, options=options) as (mock, model):
            result = await run(helper(), model, streaming=streaming)
    assert trajectory(result.all_messages()) == STORY_TOLD
    assert result.output == 'It is 3 {and} "red".'
    assert counted(result.usage) == usage_of(mock, STORY)
    assert counted(result.usage)[0] == 3


@OTHERS
async def test_what_the_tools_said_reaches_a_model_without_tools(mode: Mode) -> None:
    with fail_after(10):
        async with scripted(mode, STORY) as (mock, model):
            await run(helper(), model, streaming=False)
    first, second, third = answered(mock)
    for request in (first, second, third):
        assert not {"tools", "tool_choice", "parallel_tool_calls"} & request.keys()
        assert {message["role"] for message in request["messages"]} <= {"system", "user", "assistant"}
        assert not any("tool_calls" in message for message in request["messages"])
        assert [message["role"] for message in request["messages"]].count("system") == 1
    prompt = first["messages"][0]["content"]
    assert all(name in prompt for name in ("Be of help.", "add", "look_up", "break_down", "guess", "Add two numbers."))
    results = second["messages"][-1]["content"]
    assert all(told in results for told in ("3", "grün", "The machine is out of order.", "Too low."))
    assert "right" in third["messages"][-1]["content"]
    assert "Too low." not in third["messages"][-1]["content"]


@STREAMING
async def test_auto_mode_asks_for_tools_once_and_never_again(streaming: bool) -> None:
    with fail_after(10):
        async with scripted("auto", STORY) as (mock, model):
            for _ in range(2):
                await run(helper(), model, streaming=streaming)
    with_tools = [bool(request["body"].get("tools")) for request in mock.record.requests]
    assert with_tools == [True] + [False] * 6


async def test_auto_mode_is_native_where_the_endpoint_has_tools() -> None:
    with fail_after(10):
        async with scripted("native", STORY) as (mock, native):
            from pais_sdk.models import AutoModeModel

            result = await run(helper(), AutoModeModel(native), streaming=False)
    assert trajectory(result.all_messages()) == STORY_TOLD
    assert all(len(request["body"]["tools"]) == 4 for request in mock.record.requests)


SLIPS: list[Any] = [
    calls(("final_result", {"total": "many", "notes": []})),
    calls(("add", {"a": 1, "b": 2})),
    calls(("final_result", {"total": 3, "notes": ["one", "{two}"]})),
]


@pytest.mark.parametrize("mode", MODES)
async def test_structured_output_is_the_same_in_each_mode(mode: Mode) -> None:
    with fail_after(10):
        async with scripted(mode, SLIPS) as (mock, model):
            for streaming in (False, True):
                mock.reset()
                result = await run(helper(output_type=Report), model, streaming=streaming)
                assert result.output == Report(total=3, notes=["one", "{two}"])
                told = trajectory(result.all_messages())
                assert [(step[0], *step[2:4]) for step in told] == [
                    ("called", "final_result", {"total": "many", "notes": []}),
                    ("returned", "final_result", "retried"),
                    ("called", "add", {"a": 1, "b": 2}),
                    ("returned", "add", "success"),
                    ("called", "final_result", {"total": 3, "notes": ["one", "{two}"]}),
                    ("returned", "final_result", "success"),
                ], f"streaming={streaming}"
                assert "valid integer" in json.dumps(answered(mock)[1]["messages"][-1]), f"streaming={streaming}"
                assert counted(result.usage) == usage_of(mock, SLIPS), f"streaming={streaming}"


@pytest.mark.parametrize("mode", MODES)
async def test_text_in_place_of_structured_output_is_asked_for_again(mode: Mode) -> None:
    responses = ["The total is 3.", calls(("final_result", {"total": 3, "notes": []}))]
    with fail_after(10):
        async with scripted(mode, responses) as (mock, model):
            for streaming in (False, True):
                mock.reset()
                result = await run(helper(output_type=Report), model, streaming=streaming)
                assert result.output == Report(total=3, notes=[]), f"streaming={streaming}"
                said, asked, called, returned = trajectory(result.all_messages())
                assert said == ("said", "The total is 3.")
                assert asked[0] == "retry-feedback"
                assert (called[2], returned[3]) == ("final_result", "success")
                assert "<pyai:" in answered(mock)[1]["messages"][-1]["content"], f"streaming={streaming}"


class Refusal(BaseModel):
    """Why nothing came out."""

    reason: str


OUTPUTS: dict[str, tuple[Any, Any]] = {
    "native": (NativeOutput(Report), '{"total": 3, "notes": ["{"]}'),
    "prompted": (PromptedOutput(Report), '{"total": 3, "notes": ["{"]}'),
    "one of two": ([Report, Refusal], calls(("final_result_Report", {"total": 3, "notes": ["{"]}))),
    "a tool or text": ([Report, str], calls(("final_result", {"total": 3, "notes": ["{"]}))),
}


@STREAMING
@pytest.mark.parametrize("mode", MODES)
async def test_every_kind_of_output_is_the_same_in_each_mode(mode: Mode, streaming: bool) -> None:
    with fail_after(10):
        async with scripted(mode, []) as (mock, model):
            for kind, (output_type, answer) in OUTPUTS.items():
                mock.reset()
                mock.set_responses([calls(("add", {"a": 1, "b": 2})), answer])
                result = await run(helper(output_type=output_type), model, streaming=streaming)
                assert result.output == Report(total=3, notes=["{"]), kind
                told = trajectory(result.all_messages())
                assert told[:2] == [("called", 0, "add", {"a": 1, "b": 2}), ("returned", 0, "add", "success", 3)], kind
                assert len(answered(mock)) == 2, kind


async def events_of(agent: Agent[None, Any], model: Model) -> list[Any]:
    """Return the events of a run, without ids; texts are joined, and results of one step sorted, as tools finish."""
    told: list[Any] = []
    pending: set[Any] = set()
    async with agent.run_stream_events("Go.", model=model) as events:
        async for event in events:
            match event:
                case PartStartEvent(part=TextPart(content=text)):
                    told.append(text)
                case PartDeltaEvent(delta=TextPartDelta(content_delta=text)):
                    told[-1] = f"{told[-1]}{text}"
                case FunctionToolCallEvent(part=call):
                    told.append(("called", call.tool_name, call.args_as_dict()))
                case FunctionToolResultEvent(part=part):
                    if not (told and told[-1] is pending):
                        pending = set()
                        told.append(pending)
                    pending.add((part.tool_name, getattr(part, "outcome", None), str(part.content)))
                case _:
                    pass
    return told


@pytest.mark.parametrize("options", ["", "+chars"])
async def test_the_events_of_a_run_are_the_same(options: str) -> None:
    told: dict[Mode, list[Any]] = {}
    with fail_after(10):
        for mode in MODES:
            async with scripted(mode, STORY, options=options) as (_, model):
                told[mode] = await events_of(helper(), model)
    native = told["native"]
    assert told["string"] == native
    assert told["auto"] == native
    assert [step if isinstance(step, str) else type(step).__name__ for step in native] == [
        "Let me see.",
        *["tuple"] * 4,
        "set",
        "tuple",
        "set",
        'It is 3 {and} "red".',
    ]


@pytest.mark.parametrize("mode", MODES)
async def test_a_runtime_tells_the_same_in_each_mode(mode: Mode) -> None:
    with fail_after(10):
        async with scripted(mode, STORY) as (mock, model):
            runtime = AgentRuntime(helper(model))
            async with runtime:
                plain = await runtime.run("Go.")
                plain_usage = usage_of(mock, STORY)
                async with runtime.stream("Go.") as stream:
                    events = [event async for event in stream]
    assert isinstance(events[-1], RunEnded)
    streamed = events[-1].outcome
    for outcome in (plain, streamed):
        assert trajectory(outcome.messages) == STORY_TOLD
        assert outcome.text == 'Let me see.\n\nIt is 3 {and} "red".'
        assert counted(outcome.usage) == plain_usage
        assert outcome.stop_reason == "end_turn"
        assert outcome.finish_reason == "stop"
    assert "".join(event.text for event in events if isinstance(event, TextDelta)) == plain.text
    called = [(event.tool_name, event.step) for event in events if isinstance(event, ToolCalled)]
    assert called == [("add", 1), ("look_up", 1), ("break_down", 1), ("guess", 1), ("guess", 2)]
    returned = sorted((event.tool_name, event.outcome) for event in events if isinstance(event, ToolReturned))
    assert returned == [
        ("add", "success"),
        ("break_down", "failed"),
        ("guess", "retried"),
        ("guess", "success"),
        ("look_up", "success"),
    ]


async def test_the_chat_route_answers_the_same_in_each_mode() -> None:
    told: list[Any] = []
    with fail_after(20):
        for mode in MODES:
            async with scripted(mode, STORY) as (_, model), served(helper(model)) as here:
                plain = await here.ask("Go.", session_id="plain")
                chunks = await chunks_of(here, body("Go.", session_id="stream"))
                events = await here.events("plain")
                assert text_of(chunks) == content_of(plain)
                contents = sorted(json.dumps(content) for _, content in events)  # parallel tools finish in any order
                told.append((content_of(plain), [kind for kind, _ in events], contents))
    native, string, auto = told
    assert native[0] == 'Let me see.\n\nIt is 3 {and} "red".'
    assert native[1].count("tool_call") == native[1].count("tool_result") == 5
    assert native == string == auto


@pytest.mark.parametrize(("first", "then"), [("native", "string"), ("string", "native"), ("auto", "native")])
async def test_a_session_goes_on_in_another_mode(first: Mode, then: Mode) -> None:
    with fail_after(10):
        async with scripted(first, STORY) as (_, model), scripted(then, STORY) as (mock, other):
            for streaming in (False, True):
                mock.reset()
                begun = await run(helper(), model, streaming=streaming)
                result = await run(helper(), other, streaming=streaming, message_history=begun.all_messages())
                assert trajectory(result.new_messages()) == STORY_TOLD, f"streaming={streaming}"
                assert len(mock.record.requests) == 3, f"streaming={streaming}"
                check_history(then, mock.record.requests[0]["body"]["messages"])


def check_history(mode: Mode, history: list[dict[str, Any]]) -> None:
    """Look at the messages of a request that goes on with the session of the story."""
    assert all(text in json.dumps(history, ensure_ascii=False) for text in ("Let me see.", "grün", "Too low."))
    if mode == "native":
        ids = [call["id"] for message in history for call in message.get("tool_calls") or []]
        assert ids == [message["tool_call_id"] for message in history if message["role"] == "tool"]
        assert len(set(ids)) == 5
    else:
        assert {message["role"] for message in history} == {"system", "user", "assistant"}
        assert not any("tool_calls" in message for message in history)
