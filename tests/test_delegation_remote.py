"""Delegation to agents behind sockets: what reaches them, what they tell meanwhile, and what happens without them."""

from __future__ import annotations

import asyncio
import importlib
import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, Literal

import pytest
from anyio import fail_after
from opentelemetry import context, trace
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags
from pydantic_ai import Agent, RunContext
from pydantic_ai.messages import ModelMessage
from pydantic_ai.models.function import AgentInfo

from pais_sdk import AgentRuntime
from pais_sdk.client import RemoteAgent
from pais_sdk.delegation import DelegationToolset
from pais_sdk.delegation.sessions import delegated_session_id
from pais_sdk.errors import ConfigurationError, RunCancelledError
from pais_sdk.events import Progress

from .agents import GatedModel, Pieces, last_user_text, model_of
from .delegation import asking, results_of, told, worker
from .http_agents import FailingModel, RecordingModel, adding_agent, served, until
from .peers import at, peer, sse

pytestmark = pytest.mark.anyio
importlib.import_module("pais_sdk.server.a2a.service")  # it takes its time, which no limit below counts on

Protocol = Literal["a2a", "chat"]
PROTOCOLS = pytest.mark.parametrize("protocol", ["a2a", "chat"])


def boss(agents: dict[str, Any], *calls: tuple[str, str], timeout_s: float = 30, **options: Any) -> AgentRuntime[Any]:
    toolset = DelegationToolset(agents, timeout_s=timeout_s)
    return AgentRuntime(Agent(asking(*calls), name="boss"), toolsets=[toolset], **options)


@PROTOCOLS
async def test_a_task_is_done_elsewhere_in_a_session_that_goes_on(protocol: Protocol) -> None:
    seen = RecordingModel()
    async with served(Agent(seen.model, instructions="Help.")) as here:
        remote = RemoteAgent(here.url, protocol=protocol)
        with fail_after(5):
            for number in (1, 2):
                async with boss({"worker-a": remote}, ("worker_a", f"task {number}")) as runtime:
                    outcome = await runtime.run(f"prompt {number}", session_id="s")
                    [result] = results_of(outcome)
                    assert (result.outcome, result.content) == ("success", "ok")
        session_id = delegated_session_id(None, "s", by="boss", to="worker-a")
        delegation = result.metadata["delegation"]
        assert (delegation["agent"], delegation["session_id"]) == ("worker-a", session_id)
        assert delegation["protocol"] == ("chat" if protocol == "chat" else "a2a-1.0")
        assert ("task_id" in delegation) is (protocol == "a2a")
        assert await here.events(session_id) == [
            *(("user_message", "task 1"), ("agent_response", "ok")),
            *(("user_message", "task 2"), ("agent_response", "ok")),
        ]
        instructions = [info.instructions or "" for _, info in seen.requests]
        assert all("Help." in text for text in instructions)
        assert "User: prompt 1" in instructions[0]
        assert "User: prompt 2" in instructions[1]


@PROTOCOLS
async def test_what_the_remote_took_and_delegated_is_in_the_details(protocol: Protocol) -> None:
    middle = boss({"inner": worker("inner")}, ("inner", "x"))
    async with (
        served(middle) as here,
        boss({"middle": RemoteAgent(here.url, protocol=protocol)}, ("middle", "y")) as runtime,
    ):
        with fail_after(5):
            outcome = await runtime.run("go")
    assert outcome.text == "inner: x"
    assert (outcome.usage.requests, outcome.usage.details["delegated_requests"]) == (2, 3)
    assert outcome.usage.details["delegated_output_tokens"] > 0


@PROTOCOLS
async def test_what_the_remote_does_is_told_as_progress_of_the_run(protocol: Protocol) -> None:
    async with (
        served(adding_agent()) as here,
        boss({"adder": RemoteAgent(here.url, protocol=protocol)}, ("adder", "1 and 2")) as runtime,
    ):
        with fail_after(5):
            events, outcome = await told(runtime, "go")
    assert outcome.text == "Let me add.\n\nThe sum is 3."
    found = [event.event for event in events if isinstance(event, Progress)]
    texts = "".join(event.text for event in found if event.action == "text")
    assert texts == "Let me add.\n\nThe sum is 3."
    [called] = [event for event in found if event.action == "tool_call"]
    assert (called.agent, called.target) == ("adder", "add")
    assert called.detail["step"] == 1


@PROTOCOLS
async def test_what_the_delegate_of_a_remote_does_is_told_too(protocol: Protocol) -> None:
    middle = boss({"adder": adding_agent()}, ("adder", "x"))
    async with (
        served(middle) as here,
        boss({"middle": RemoteAgent(here.url, protocol=protocol)}, ("middle", "y")) as runtime,
    ):
        with fail_after(5):
            events, _ = await told(runtime, "go")
    found = [event.event for event in events if isinstance(event, Progress) and event.event.action != "text"]
    assert [(event.agent, event.action, event.target) for event in found] == [("middle", "delegate", "adder")] * 2
    inner = found[1].detail["detail"]
    assert (inner["action"], inner["target"]) == ("tool_call", "add")


@PROTOCOLS
async def test_three_remotes_work_at_the_same_time(protocol: Protocol) -> None:
    models = [GatedModel((f"{name} ", "done")) for name in "abc"]
    async with (
        served(Agent(models[0].model)) as a,
        served(Agent(models[1].model)) as b,
        served(Agent(models[2].model)) as c,
    ):
        agents = {name: RemoteAgent(each.url, protocol=protocol) for name, each in zip("abc", (a, b, c), strict=True)}
        async with boss(agents, *((name, "go") for name in agents)) as runtime:
            with fail_after(10):
                run = asyncio.create_task(runtime.run("all of you"))
                for gated in models:
                    await gated.said_first.wait()
                for gated in models:
                    gated.gate.set()
                assert (await run).text == "a done | b done | c done"


@PROTOCOLS
async def test_one_remote_works_on_two_tasks_at_the_same_time(protocol: Protocol) -> None:
    gate = asyncio.Event()
    tasks: list[str] = []

    async def stream(messages: list[ModelMessage], info: AgentInfo) -> Pieces:
        tasks.append(last_user_text(messages))
        await gate.wait()
        yield f"did {last_user_text(messages)}"

    async with served(Agent(model_of(stream))) as here:
        agents = {"helper": RemoteAgent(here.url, protocol=protocol)}
        async with boss(agents, ("helper", "one"), ("helper", "two")) as runtime:
            with fail_after(5):
                run = asyncio.create_task(runtime.run("go"))
                await until(lambda: len(tasks) == 2)
                gate.set()
                assert (await run).text == "did one | did two"


@PROTOCOLS
async def test_a_cancelled_run_cancels_the_task_of_the_remote(protocol: Protocol) -> None:
    gated = GatedModel()
    async with (
        served(Agent(gated.model)) as here,
        boss({"slow": RemoteAgent(here.url, protocol=protocol)}, ("slow", "x")) as runtime,
    ):
        with fail_after(5):
            run = asyncio.create_task(runtime.run("go", session_id="s"))
            await gated.said_first.wait()
            await runtime.cancel("s")
            with pytest.raises(RunCancelledError):
                await run
            await gated.cancelled.wait()
            await here.runtime.ended()
        session_id = delegated_session_id(None, "s", by="boss", to="slow")
        kinds = [kind for kind, _ in await here.events(session_id)]
        said_half = ["agent_response"] if protocol == "a2a" else []  # a chat is asked for the whole answer at once
        assert kinds == ["user_message", *said_half]


@PROTOCOLS
async def test_a_remote_that_is_too_slow_is_told_to_stop_and_the_run_uses_what_came_back(protocol: Protocol) -> None:
    gated = GatedModel()
    async with served(Agent(gated.model)) as slow, served(worker("quick")) as quick:
        impatient = DelegationToolset({"slow": RemoteAgent(slow.url, protocol=protocol)}, timeout_s=0.5, id="impatient")
        patient = DelegationToolset({"quick": RemoteAgent(quick.url, protocol=protocol)})
        agent = Agent(asking(("slow", "x"), ("quick", "y")), toolsets=[impatient, patient])
        async with AgentRuntime(agent) as runtime:
            with fail_after(10):
                outcome = await runtime.run("go")
                await slow.runtime.ended()
    late, done = results_of(outcome)
    assert (late.outcome, late.metadata["delegation"]["reason"]) == ("failed", "timeout")
    assert "'slow'" in str(late.content)
    assert done.content == "quick: y"
    assert gated.cancelled.is_set() == (gated.requests > 0)


@PROTOCOLS
async def test_a_remote_that_fails_is_a_failed_result_that_tells_nothing_inner(protocol: Protocol) -> None:
    model = FailingModel(lambda: RuntimeError("the secret"))
    async with (
        served(Agent(model.model)) as here,
        boss({"broken": RemoteAgent(here.url, protocol=protocol)}, ("broken", "x")) as runtime,
    ):
        with fail_after(5):
            outcome = await runtime.run("go", session_id="s")
        [result] = results_of(outcome)
        assert result.outcome == "failed"
        assert result.metadata["delegation"]["reason"] == "failed"
        assert "'broken'" in outcome.text
        assert "secret" not in outcome.text
        assert model.requests == 1
        events = await runtime.memory.get_events("s", types=["delegation_response"])
        assert [(event.metadata["agent"], event.metadata["outcome"]) for event in events] == [("broken", "failed")]


@PROTOCOLS
async def test_a_run_that_is_not_stored_has_its_tasks_not_stored_elsewhere(protocol: Protocol) -> None:
    async with (
        served(worker("helper")) as here,
        boss({"helper": RemoteAgent(here.url, protocol=protocol)}, ("helper", "x")) as runtime,
    ):
        with fail_after(5):
            assert (await runtime.run("go", session_id="s", store=False)).text == "helper: x"
        assert await here.runtime.memory.list_sessions() == []


@pytest.mark.parametrize("listening", [False, True])
async def test_a_chat_is_streamed_where_somebody_may_listen(listening: bool) -> None:
    answer = {"choices": [{"message": {"content": "ok"}, "delta": {"content": "ok"}, "finish_reason": "stop"}]}
    async with (
        peer(at(chat=lambda seen: sse(answer, "[DONE]") if seen.body.get("stream") else answer)) as here,
        boss({"helper": here.url}, ("helper", "x")) as runtime,
    ):
        with fail_after(5):
            outcome = (await told(runtime, "go"))[1] if listening else await runtime.run("go")
    assert outcome.text == "ok"
    assert [bool(seen.body.get("stream")) for seen in here.posts] == [listening]


async def test_what_a_remote_says_that_it_does_is_passed_on_in_a_size_that_can_be_written() -> None:
    progress: dict[str, Any] = {}
    for _ in range(100):
        progress = {"action": "dig", "target": "hole", "odd": ["x"], "words": "y" * 5000, "detail": progress}
    last = {"choices": [{"delta": {"content": "ok"}, "finish_reason": "stop"}]}
    async with (
        peer(at(chat=sse({"choices": [], "progress": progress}, last, "[DONE]"))) as here,
        served(boss({"digger": here.url}, ("digger", "x"))) as middle,
        boss({"middle": RemoteAgent(middle.url, protocol="a2a")}, ("middle", "y")) as runtime,
    ):
        with fail_after(5):
            events, outcome = await told(runtime, "go")
    assert outcome.text == "ok"
    found = [event.event.detail for event in events if isinstance(event, Progress)]
    dug = [str(detail) for detail in found if "hole" in str(detail)]
    assert len(dug) == 1
    assert "odd" not in dug[0]
    assert len(dug[0]) < 20_000


async def test_a_remote_that_nobody_serves_is_a_failed_result() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}"
        async with boss({"gone": url}, ("gone", "x")) as runtime:
            with fail_after(5):
                outcome = await runtime.run("go")
    [result] = results_of(outcome)
    assert (result.outcome, result.metadata["delegation"]["reason"]) == ("failed", "unreachable")
    assert outcome.text.startswith("'gone' did not do the task.")


@PROTOCOLS
async def test_a_circle_of_servers_is_found(protocol: Protocol) -> None:
    first_agent = Agent(asking(("second", "you")), name="first")
    async with served(AgentRuntime(first_agent, id="first", name="first")) as first:
        second_boss = boss({"first": RemoteAgent(first.url, protocol=protocol)}, ("first", "no, you"))
        async with served(second_boss) as second:
            to_second = DelegationToolset({"second": RemoteAgent(second.url, protocol=protocol)})

            @first_agent.toolset
            def delegates(ctx: RunContext[Any]) -> DelegationToolset:  # pyright: ignore[reportUnusedFunction]
                return to_second

            with fail_after(5):
                outcome = await first.runtime.run("who?")
    assert outcome.stop_reason == "end_turn"
    assert "'first' is one of the agents that this task comes from" in outcome.text


@PROTOCOLS
async def test_the_remote_works_in_the_trace_of_the_delegation(protocol: Protocol) -> None:
    traces: list[int] = []

    async def stream(messages: list[ModelMessage], info: AgentInfo) -> Pieces:
        traces.append(trace.get_current_span().get_span_context().trace_id)
        yield "ok"

    span = NonRecordingSpan(SpanContext(trace_id=7, span_id=8, is_remote=False, trace_flags=TraceFlags(1)))
    async with (
        served(Agent(model_of(stream))) as here,
        boss({"helper": RemoteAgent(here.url, protocol=protocol)}, ("helper", "x")) as runtime,
    ):
        token = context.attach(trace.set_span_in_context(span))
        try:
            with fail_after(5):
                await runtime.run("go")
        finally:
            context.detach(token)
    assert traces == [7]


# What is known of a remote


@asynccontextmanager
async def silent_server() -> AsyncGenerator[str]:
    """Take connections, read what comes, and never answer."""

    async def never(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await reader.read(1000):
                pass
        finally:
            writer.close()

    server = await asyncio.start_server(never, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def test_the_tool_says_what_the_remote_does_as_soon_as_its_card_is_known() -> None:
    async with served(worker("adder", description="Adds numbers.")) as here:
        remote = RemoteAgent(here.url)
        async with boss({"adder": remote}) as runtime:
            with fail_after(5):
                await until(lambda: remote.known_card is not None)
            [tool] = await runtime.list_tools()
            assert tool.description is not None
            assert tool.description.endswith("What it does: Adds numbers.")


async def test_nothing_waits_for_a_remote_that_never_gives_its_card() -> None:
    before = asyncio.all_tasks()
    async with silent_server() as url:
        with fail_after(5):
            async with boss({"silent": url}) as runtime:
                [tool] = await runtime.list_tools()
                assert tool.description == "Give a task to the agent 'silent'; returns its answer."
            agent = Agent(model_of(_ok), toolsets=[DelegationToolset({"silent": url})])
            assert (await agent.run("hi")).output == "ok"
        left = asyncio.all_tasks() - before
    assert not [task for task in left if "start_server" not in repr(task) and "never" not in repr(task)]


async def _ok(messages: list[ModelMessage], info: AgentInfo) -> Pieces:
    yield "ok"


@pytest.mark.parametrize("url", ["worker-a:8000", "ftp://worker", "", "http://"])
def test_a_url_that_cannot_be_asked_is_refused_with_the_name_of_the_agent(url: str) -> None:
    with pytest.raises(ConfigurationError, match="the agent 'helper' cannot be used"):
        DelegationToolset({"helper": url})


async def test_a_bare_agent_asks_a_remote_and_leaves_nothing_open() -> None:
    before = asyncio.all_tasks()
    async with served(worker("helper")) as here:
        with fail_after(5):
            agent = Agent(asking(("helper", "x")), toolsets=[DelegationToolset({"helper": here.url})])
            for _ in range(2):
                assert (await agent.run("go")).output == "helper: x"
    with fail_after(5):
        await until(lambda: not asyncio.all_tasks() - before)
