"""Requests that come from other agents: their headers, their trace, and the progress of nested work on the wire."""

from __future__ import annotations

import json
import time
from socket import socket
from typing import Any

import pytest
from anyio import fail_after
from opentelemetry import baggage, trace
from pydantic_ai import Agent
from pydantic_ai.messages import ModelMessage, ToolReturnPart
from pydantic_ai.models.function import AgentInfo, DeltaToolCall

from pais_sdk import AgentRuntime, Settings, serve
from pais_sdk._current_run import current_run
from pais_sdk.delegation import DelegationToolset

from .agents import GatedModel, Pieces, calls_then, echo_agent, model_of
from .http_agents import CHAT, body, chunks_of, content_of, error_of, served, text_of

pytestmark = pytest.mark.anyio

plain_and_streamed = pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])


def looking_agent(seen: list[Any]) -> Agent[Any, str]:
    """Return an agent whose tool looks at the run that it is a part of."""
    agent = Agent(calls_then("done", ("look", "{}")), name="looker")

    @agent.tool_plain
    async def look() -> str:  # pyright: ignore[reportUnusedFunction]
        """Look."""
        seen.append((current_run(), trace.get_current_span().get_span_context(), dict(baggage.get_all())))
        return "seen"

    return agent


@plain_and_streamed
async def test_the_chain_and_the_time_of_a_request_are_those_of_its_run(stream: bool) -> None:
    seen: list[Any] = []
    with fail_after(5):
        async with served(AgentRuntime(looking_agent(seen), id="me", timeout_s=600)) as here:
            headers = {"X-Delegation-Chain": "kaos://agent/ns/first, s%C3%A9cond%2C", "X-Run-Timeout": "30.5"}
            before = time.monotonic()
            answer = await here.http.post(CHAT, json=body("look", stream=stream), headers=headers)
            after = time.monotonic()
            assert answer.status_code == 200
            assert (await here.ask("look", stream=stream)).status_code == 200
    (delegated, *_), (plain, *_) = seen
    assert delegated.chain == ("kaos://agent/ns/first", "s\u00e9cond,", "me")
    assert before + 30.5 <= delegated.deadline <= after + 30.5
    assert plain.chain == ("me",)
    assert plain.deadline > after + 500


@plain_and_streamed
async def test_a_header_makes_the_time_of_a_run_shorter_and_never_longer(stream: bool) -> None:
    gated = GatedModel(("", "never"))
    with fail_after(5):
        async with served(Agent(gated.model), settings=Settings(run_timeout_s=0.2)) as here:
            for timeout in ("0.1", "1e9"):
                answer = await here.http.post(CHAT, json=body("go", stream=stream), headers={"X-Run-Timeout": timeout})
                told = answer.json() if answer.status_code != 200 else json.loads(answer.text.split("data: ")[-1])
                assert told["error"]["code"] == "timeout"
    assert gated.requests == 2


LONG = ",".join("x" * 256 for _ in range(64))


@pytest.mark.parametrize(
    ("header", "value"),
    [
        ("X-Run-Timeout", "0"),
        ("X-Run-Timeout", "-1"),
        ("X-Run-Timeout", "nan"),
        ("X-Run-Timeout", "inf"),
        ("X-Run-Timeout", "1e999"),
        ("X-Run-Timeout", "soon"),
        ("X-Run-Timeout", ""),
        ("X-Run-Timeout", "1,2"),
        ("X-Delegation-Chain", ""),
        ("X-Delegation-Chain", "a,,b"),
        ("X-Delegation-Chain", "a\tb"),
        ("X-Delegation-Chain", "a%0Ab"),
        ("X-Delegation-Chain", f"{LONG},x"),
        ("X-Delegation-Chain", "x" * 257),
    ],
)
async def test_a_header_that_makes_no_sense_is_refused_by_its_name(header: str, value: str) -> None:
    with fail_after(5):
        async with served(echo_agent()) as here:
            answer = await here.http.post(CHAT, json=body("hi"), headers={header: value})
            assert (await here.ask("hi")).status_code == 200
            ids = (await here.http.get("/memory/sessions")).json()["sessions"]
    assert answer.status_code == 400
    error = error_of(answer)
    assert (error["type"], error["param"]) == ("invalid_request_error", header)
    assert header in error["message"]
    assert len(ids) == 1  # nothing of the refused one is stored


async def test_the_longest_chain_is_taken() -> None:
    with fail_after(5):
        async with served(echo_agent()) as here:
            answer = await here.http.post(CHAT, json=body("hi"), headers={"X-Delegation-Chain": LONG})
    assert content_of(answer) == "hi (1)"


@plain_and_streamed
async def test_a_task_that_comes_back_to_its_agent_is_refused_in_words_for_a_model(stream: bool) -> None:
    gated = GatedModel()
    with fail_after(5):
        async with served(AgentRuntime(Agent(gated.model), id="me", name="writer")) as here:
            headers = {"X-Delegation-Chain": "me,other"}
            answer = await here.http.post(CHAT, json=body("hi", stream=stream), headers=headers)
    assert answer.status_code == 400
    assert error_of(answer)["message"] == (
        "'writer' is one of the agents that this task comes from: do the work without it, or say what is missing"
    )
    assert gated.requests == 0


async def test_the_trace_of_the_caller_goes_on_in_the_tools_of_the_run() -> None:
    seen: list[Any] = []
    headers = {"traceparent": f"00-{'ab' * 16}-{'cd' * 8}-01", "baggage": "team=blue"}
    with fail_after(5):
        async with served(looking_agent(seen)) as here:
            answer = await here.http.post(CHAT, json=body("look"), headers=headers)
            events = (await here.http.get("/memory/events")).json()["events"]
    assert answer.status_code == 200
    ((_, span, carried),) = seen
    assert (f"{span.trace_id:032x}", f"{span.span_id:016x}", span.is_remote) == ("ab" * 16, "cd" * 8, True)
    assert carried == {"team": "blue"}
    assert events


async def test_a_trace_that_is_told_in_several_lines_is_one() -> None:
    seen: list[Any] = []
    headers = [
        ("traceparent", f"00-{'ab' * 16}-{'cd' * 8}-01"),
        *[("tracestate", "one=1"), ("tracestate", "two=2")],
        *[("baggage", "team=blue"), ("baggage", "tier=gold")],
    ]
    with fail_after(5):
        async with served(looking_agent(seen)) as here:
            answer = await here.http.post(CHAT, json=body("look"), headers=headers)
    assert answer.status_code == 200
    ((_, span, carried),) = seen
    assert dict(span.trace_state) == {"one": "1", "two": "2"}
    assert carried == {"team": "blue", "tier": "gold"}


# What the orchestrator's own clients see


def team(**options: Any) -> AgentRuntime[Any]:
    """Return an agent that delegates to one that uses a tool."""
    worker = AgentRuntime(looking_agent([]), description="Looks")
    agent = Agent(calls_then("The worker is done.", ("delegate_to_worker_a", '{"task": "look"}')), name="orchestrator")
    return AgentRuntime(agent, toolsets=[DelegationToolset({"worker-a": worker})], **options)


GIVEN = {"type": "progress", "step": 1, "max_steps": 7, "action": "delegate", "target": "worker-a"}
NESTED = {**GIVEN, "detail": {"action": "tool_call", "target": "look"}}


@pytest.mark.parametrize(
    ("mode", "in_chunks", "in_lines", "text"),
    [
        ("chunk", [GIVEN, NESTED], [], "The worker is done."),
        ("kaos-ui", [GIVEN, NESTED], [GIVEN, NESTED], "The worker is done."),
        ("kaos-cli", [], [], f"{json.dumps(GIVEN)}{json.dumps(NESTED)}The worker is done."),
        ("off", [], [], "The worker is done."),
    ],
)
async def test_delegated_work_shows_as_progress_and_its_text_does_not(
    mode: Any, in_chunks: list[Any], in_lines: list[Any], text: str
) -> None:
    with fail_after(5):
        async with served(team(max_steps=7), settings=Settings(agent_progress=mode)) as here:
            lines = (await here.ask("look", stream=True)).text.splitlines()
    chunks = [json.loads(line[6:]) for line in lines if line.startswith("data: {")]
    assert [chunk["progress"] for chunk in chunks if "progress" in chunk] == in_chunks
    assert text_of(chunks) == text
    for_kaos = [json.loads(line[7:]) for line in lines if line.startswith(" data: ")]
    assert [json.loads(data["choices"][0]["delta"]["content"]) for data in for_kaos] == in_lines


async def test_what_others_used_is_beside_the_usage_of_the_run() -> None:
    with fail_after(5):
        async with served(team()) as here:
            plain = (await here.ask("look")).json()["usage"]
            streamed = await chunks_of(here, body("look", stream_options={"include_usage": True}))
            async with served(echo_agent()) as other:
                alone = (await other.ask("hi")).json()["usage"]
    assert plain["requests"] == streamed[-1]["usage"]["requests"] == 2
    for usage in (plain, streamed[-1]["usage"]):
        assert usage["details"]["delegated_requests"] == 2
        assert usage["details"]["delegated_input_tokens"] > 0
        assert usage["details"]["delegated_output_tokens"] > 0
    assert alone["requests"] == 1
    assert "details" not in alone


async def test_agents_that_delegate_to_each_other_over_the_wire_come_to_an_end() -> None:
    """Each has the other as its worker; the second is told that the task comes from the first, and says so."""

    async def ask_the_other(messages: list[ModelMessage], info: AgentInfo) -> Pieces:
        last = messages[-1].parts[-1]
        if isinstance(last, ToolReturnPart):
            yield f"[{last.outcome}: {last.content}]"
        else:
            yield {0: DeltaToolCall("delegate_to_other", '{"task": "Do it"}', tool_call_id=f"call_{len(messages)}")}

    with socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    agents = [Agent(model_of(ask_the_other), name=name) for name in ("first", "second")]
    first = AgentRuntime(agents[0], toolsets=[DelegationToolset({"other": f"http://127.0.0.1:{port}"})])
    with fail_after(10):
        async with served(first) as here:
            second = AgentRuntime(agents[1], toolsets=[DelegationToolset({"other": here.url})])
            async with serve(second).running(port=port):
                answer = content_of(await here.ask("go"))
                events = await second.memory.get_events()
    assert answer.startswith("[success: [failed: ")
    assert "'first' is one of the agents that this task comes from" in answer
    assert [event.event_type for event in events] == [
        "user_message",
        "delegation_request",
        "delegation_response",
        "agent_response",
    ]
