"""An orchestrator and its worker as processes, and what a collector hears of one streamed request to them."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from anyio import fail_after

from .http_agents import CHAT, body
from .otlp_receiver import PointTaken, Receiver, SpanTaken, receiver
from .processes import Process, process

pytestmark = pytest.mark.anyio

# Calls two tools and the worker, all at once, and then says what came back.
ORCHESTRATOR = """
import logging

from pydantic_ai import Agent
from pydantic_ai.messages import ToolReturnPart
from pydantic_ai.models.function import DeltaToolCall, FunctionModel

CALLS = {"add": '{"a": 1, "b": 2}', "look_up": '{"topic": "tides"}', "delegate_to_worker": '{"task": "Why tides?"}'}

async def stream(messages, info):
    found = [part for part in messages[-1].parts if isinstance(part, ToolReturnPart)]
    if found:
        for part in sorted(found, key=lambda part: part.tool_name):
            yield f"{part.tool_name}: {part.content}. "
        return
    for number, (name, arguments) in enumerate(CALLS.items()):
        yield {number: DeltaToolCall(name=name, json_args=arguments, tool_call_id=f"call_{number}")}

agent = Agent(FunctionModel(stream_function=stream, model_name="scripted"), name="orchestrator")

@agent.tool_plain
def add(a: int, b: int) -> int:
    logging.getLogger("orchestrator.sums").info("adding %d and %d", a, b)
    return a + b

@agent.tool_plain
async def look_up(topic: str) -> str:
    return f"all of {topic}"
"""

# Says who sent it, as the baggage of its trace has it.
WORKER = """
import logging

from opentelemetry import baggage
from pydantic_ai import Agent
from pydantic_ai.messages import ModelResponse, TextPart
from pydantic_ai.models.function import FunctionModel

async def stream(messages, info):
    logging.getLogger("worker.thoughts").warning("thinking")
    yield "for "
    yield baggage.get_baggage("customer")

async def whole(messages, info):
    return ModelResponse([TextPart("".join([word async for word in stream(messages, info)]))])

agent = Agent(FunctionModel(whole, stream_function=stream, model_name="scripted"), name="worker")
"""

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
HEADERS = {
    "traceparent": f"00-{TRACE}-{PARENT}-01",
    "tracestate": "vendor=opaque",
    "baggage": "customer=acme",
    "X-Session-ID": "session-of-the-test",
}
SURFACES = {"false": "chat_completions", "true": "a2a"}

# Spans by name, service and kind, each with those under it; beside each other they are in the order of their names.
Tree = tuple[str, str, str, "tuple[Tree, ...]"]


def node(name: str, service: str, *under: Tree, kind: str = "INTERNAL") -> Tree:
    return (name, service, kind, tuple(sorted(under)))


def run(service: str, *under_agent: Tree) -> Tree:
    memory = (node("memory.open_session", service), node("memory.append", service))
    agent = node(f"invoke_agent {service}", service, *under_agent)
    return node("server-run", service, *memory, agent, kind="SERVER")


def documented(*, a2a: bool) -> Tree:
    chat = node("chat scripted", "orchestrator", kind="CLIENT")
    of_worker = run("worker", node("chat scripted", "worker", kind="CLIENT"))
    if a2a:
        of_worker = node("kaos.task.submit", "worker", node("kaos.task.execute", "worker", of_worker))
    delegation = node(
        "execute_tool delegate_to_worker",
        "orchestrator",
        node("delegate.worker", "orchestrator", of_worker),
    )
    tools = (node("execute_tool add", "orchestrator"), node("execute_tool look_up", "orchestrator"))
    return run("orchestrator", chat, chat, delegation, *tools)


def tree_of(spans: Sequence[SpanTaken], root: SpanTaken) -> Tree:
    under = [tree_of(spans, span) for span in spans if span.parent_id == root.span_id]
    return node(root.name, root.service, *under, kind=root.kind)


def outline(tree: Tree, depth: int = 0) -> str:
    """Return a tree as lines, which are easier to compare by eye."""
    name, service, kind, under = tree
    return "\n".join([f"{'  ' * depth}{name} ({service}, {kind})", *(outline(one, depth + 1) for one in under)])


def operators(name: str, otlp: Receiver, protocol: str) -> dict[str, str]:
    """Return what KAOS's operator sets, and the protocol, which it leaves as it is."""
    return {
        "AGENT_NAME": name,
        "OTEL_SDK_DISABLED": "false",
        "OTEL_SERVICE_NAME": name,
        "OTEL_EXPORTER_OTLP_ENDPOINT": otlp.url(protocol),
        "OTEL_RESOURCE_ATTRIBUTES": f"service.namespace=ns,kaos.resource.name={name}",
        "OTEL_PYTHON_FASTAPI_EXCLUDED_URLS": "^/health$,^/ready$",
        **({} if protocol == "grpc" else {"OTEL_EXPORTER_OTLP_PROTOCOL": protocol}),
    }


@dataclass
class Team:
    worker: Process
    orchestrator: Process

    async def ask(self) -> str:
        """Send the request and return its answer as it was streamed."""
        request = body("What makes the tides?", stream=True)
        async with self.orchestrator.http.stream("POST", CHAT, json=request, headers=HEADERS) as answer:
            lines = [line async for line in answer.aiter_lines() if line]
        assert answer.status_code == 200, lines
        assert lines[-1] == "data: [DONE]"
        return "".join(lines)

    async def stop(self) -> None:
        """End both at once; what they had not exported before is exported now."""
        for one in (self.orchestrator, self.worker):
            one.stop()
        for one in (self.orchestrator, self.worker):
            code = await one.ended()
            assert code == 0, "".join(one.log)


@asynccontextmanager
async def team(folder: Path, otlp: Receiver, protocol: str, *, a2a: str, **variables: str) -> AsyncGenerator[Team]:
    (folder / "orchestrator.py").write_text(ORCHESTRATOR)
    (folder / "worker.py").write_text(WORKER)
    of_worker = {**operators("worker", otlp, protocol), **variables}
    async with process(folder, "worker.py", AGENT_A2A=a2a, **of_worker) as worker:
        url = str(worker.http.base_url).rstrip("/")
        of_orchestrator = {**operators("orchestrator", otlp, protocol), "AGENT_SUB_AGENTS": f"worker:{url}"}
        async with process(folder, "orchestrator.py", **{**of_orchestrator, **variables}) as orchestrator:
            yield Team(worker, orchestrator)


def in_trace(otlp: Receiver) -> list[SpanTaken]:
    return [span for span in otlp.spans if span.trace_id == TRACE]


def named(spans: Sequence[SpanTaken], name: str, service: str) -> SpanTaken:
    (found,) = [span for span in spans if (span.name, span.service) == (name, service)]
    return found


@pytest.mark.parametrize(
    ("protocol", "a2a"),
    [("grpc", "false"), ("http/protobuf", "false"), ("grpc", "true")],
    ids=["grpc", "http", "grpc, A2A between them"],
)
async def test_a_streamed_run_with_two_tools_and_a_delegation_is_one_documented_trace_with_its_metrics_and_logs(
    tmp_path: Path, protocol: str, a2a: str
) -> None:
    with fail_after(60):
        async with receiver() as otlp, team(tmp_path, otlp, protocol, a2a=a2a) as here:
            answer = await here.ask()
            await here.stop()
            await otlp.settled()
    for words in ("add: 3. ", "look_up: all of tides. ", "delegate_to_worker: for acme. "):  # the baggage came along
        assert words in answer

    spans = in_trace(otlp)
    (root,) = [span for span in spans if span.parent_id == PARENT]
    assert outline(tree_of(spans, root)) == outline(documented(a2a=a2a == "true"))
    assert len(spans) == outline(documented(a2a=a2a == "true")).count("\n") + 1  # no more, and none without a parent
    assert {span.trace_state for span in spans} == {"vendor=opaque"}
    assert {span.status for span in spans} == {"UNSET"}
    assert {taken.over for taken in (*otlp.spans, *otlp.points, *otlp.logs)} == {protocol.partition("/")[0]}
    parents = {span.span_id: span for span in spans}
    for span in spans:
        parent = parents.get(span.parent_id or "")
        assert parent is None or parent.start_ns <= span.start_ns <= span.end_ns
        assert parent is None or span.end_ns <= parent.end_ns or span.name in ("server-run", "kaos.task.execute"), span

    for service, surface, requests, calls in (
        ("orchestrator", "chat_completions", 2, 3),
        ("worker", SURFACES[a2a], 1, 0),
    ):
        span = named(spans, "server-run", service)
        told = dict(span.attributes)
        assert told.pop("pais_sdk.usage.input_tokens") > 0
        assert told.pop("pais_sdk.usage.output_tokens") > 0
        assert re.fullmatch("[0-9a-f-]{36}", told.pop("pais_sdk.run.id"))
        session = told.pop("session.id")
        assert session == "session-of-the-test" if service == "orchestrator" else session
        assert told == {
            "agent.name": service,
            "pais_sdk.surface": surface,
            "pais_sdk.stop_reason": "end_turn",
            "pais_sdk.usage.requests": requests,
            "pais_sdk.usage.tool_calls": calls,
        }
        resource = span.resource
        assert resource["service.namespace"] == "ns"
        assert resource["kaos.resource.name"] == service
        assert resource["telemetry.sdk.language"] == "python"
    delegation = named(spans, "delegate.worker", "orchestrator")
    assert delegation.attributes == {"agent.delegation.target": "worker"}

    _check_metrics(otlp, SURFACES[a2a], ids={TRACE, "session-of-the-test", *(span.span_id for span in spans)})
    _check_logs(otlp, spans)


def _check_metrics(otlp: Receiver, surface: str, ids: set[str]) -> None:
    labels = {"target": "worker", "success": "true"}
    (counted,) = otlp.newest("kaos.delegations")
    assert (counted.value, counted.attributes, counted.service) == (1, labels, "orchestrator")
    (took,) = otlp.newest("kaos.delegation.duration")
    assert (took.count, took.attributes, took.unit) == (1, labels, "ms")
    for service, of in (("orchestrator", "chat_completions"), ("worker", surface)):
        by_reason = {"surface": of, "stop_reason": "end_turn"}
        (runs,) = otlp.newest("pais_sdk.runs", service)
        assert (runs.value, runs.attributes) == (1, by_reason)
        (duration,) = otlp.newest("pais_sdk.run.duration", service)
        assert (duration.count, duration.attributes, duration.unit) == (1, by_reason, "s")
        for name in ("pais_sdk.run.time_to_first_token", "pais_sdk.run.queue_wait"):
            (point,) = otlp.newest(name, service)
            assert (point.count, point.attributes, point.unit) == (1, {"surface": of}, "s"), name
        (active,) = otlp.newest("pais_sdk.active_runs", service)
        assert (active.value, active.attributes) == (0, {"surface": of})
        operations = {
            (point.attributes["operation"], point.attributes["backend"], point.attributes["success"]): point.count
            for point in otlp.newest("pais_sdk.memory.operation.duration", service)
        }
        assert operations[("open_session", "local", "true")] == 1
        assert operations[("append", "local", "true")] == 1
        (idle,) = {point.value for point in otlp.newest("http.server.active_requests", service)}
        assert idle == 0
    (asked,) = otlp.newest("http.server.request.duration", "orchestrator")
    assert (asked.count, asked.unit) == (1, "s")
    assert asked.attributes == {
        "http.request.method": "POST",
        "http.route": CHAT,
        "http.response.status_code": 200,
        "url.scheme": "http",
    }
    _check_bounded(otlp.points, ids)


def _check_bounded(points: Sequence[PointTaken], ids: set[str]) -> None:
    for point in points:
        for value in map(str, point.attributes.values()):
            assert value not in ids
            assert not re.search("[0-9a-f]{8}", value), (point.name, point.attributes)  # a part of a UUID, for one


def _check_logs(otlp: Receiver, spans: Sequence[SpanTaken]) -> None:
    (adding,) = [record for record in otlp.logs if record.body == "adding 1 and 2"]
    tool = named(spans, "execute_tool add", "orchestrator")
    assert (adding.trace_id, adding.span_id, adding.severity) == (TRACE, tool.span_id, "INFO")
    assert (adding.attributes["logger_name"], adding.service) == ("orchestrator.sums", "orchestrator")
    (thinking,) = [record for record in otlp.logs if record.body == "thinking"]
    chat = named(spans, "chat scripted", "worker")
    assert (thinking.trace_id, thinking.span_id, thinking.severity) == (TRACE, chat.span_id, "WARN")
    assert (thinking.attributes["logger_name"], thinking.service) == ("worker.thoughts", "worker")
    for service in ("orchestrator", "worker"):  # from the first word to the last
        said = [record.body for record in otlp.logs if record.service == service]
        assert [words for words in said if "listens on" in words]
        assert f"agent '{service}' has stopped" in said


async def test_requests_that_come_and_go_have_spans_of_their_own_where_the_environment_asks_for_them(
    tmp_path: Path,
) -> None:
    both = {"OTEL_INCLUDE_HTTP_SERVER": "true", "OTEL_INCLUDE_HTTP_CLIENT": "true"}
    with fail_after(60):
        async with receiver() as otlp, team(tmp_path, otlp, "http/protobuf", a2a="false", **both) as here:
            assert (await here.orchestrator.http.get("/health", headers=HEADERS)).status_code == 200
            await here.ask()
            await here.stop()
            await otlp.settled()
    spans = in_trace(otlp)
    (root,) = [span for span in spans if span.parent_id == PARENT]  # the probe has none
    assert (root.name, root.kind) == (f"POST {CHAT}", "SERVER")
    delegation = named(spans, "delegate.worker", "orchestrator")
    chain: list[tuple[str, str, str]] = []
    at: SpanTaken = named(spans, "server-run", "worker")
    parents = {span.span_id: span for span in spans}
    while at.span_id != delegation.span_id:
        chain.append((at.name, at.service, at.kind))
        at = parents[at.parent_id or ""]
    assert chain == [
        ("server-run", "worker", "SERVER"),
        (f"POST {CHAT}", "worker", "SERVER"),
        ("POST", "orchestrator", "CLIENT"),
    ]
    mine = named(spans, "server-run", "orchestrator")
    assert parents[mine.parent_id or ""] is root
    assert root.end_ns >= mine.start_ns
