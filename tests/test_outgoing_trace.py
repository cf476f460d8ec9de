"""The trace goes on where requests go: to models, MCP servers and other agents."""

from __future__ import annotations

import asyncio
import contextvars
import sys
from collections.abc import AsyncGenerator, Generator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Literal

import pytest
from anyio import fail_after
from mcp.server import MCPServer as McpServer
from mcp.server.mcpserver import Context as McpContext
from opentelemetry import baggage, context, propagate, trace
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from pydantic_ai import Agent
from pydantic_ai.capabilities import Instrumentation
from pydantic_ai.messages import ToolReturnPart
from pydantic_ai.models import Model
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider
from pydantic_ai.settings import ModelSettings

from pais_sdk import AgentRuntime, Settings, setup_telemetry
from pais_sdk._listen import listening
from pais_sdk.client import RemoteAgent
from pais_sdk.delegation import DelegationToolset
from pais_sdk.mcp import MCPServer, MCPServers
from pais_sdk.models import endpoint_model, resolve_model

from .agents import calls_then, echo_agent
from .delegation import asking
from .http_agents import served
from .mcp_process import Gate
from .peers import Seen, at, peer, sse
from .telemetry import Recorded, recorded

pytestmark = pytest.mark.anyio

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
START_S = 20


@pytest.fixture
def seen() -> Generator[Recorded]:
    with recorded() as seen:
        yield seen


@pytest.fixture(autouse=True)
def caller() -> Generator[None]:
    """Be in a trace of somebody else's, with a state and baggage."""
    headers = {"traceparent": f"00-{TRACE}-{PARENT}-01", "tracestate": "vendor=1", "baggage": "team=blue"}
    token = context.attach(propagate.extract(headers))
    try:
        yield
    finally:
        context.detach(token)


def parent_in(headers: Mapping[str, Any]) -> str:
    """Return the span that a carrier names, which must be of our trace and say all else, too."""
    assert headers["tracestate"] == "vendor=1"
    assert "team=blue" in headers["baggage"].split(",")  # Pydantic AI adds the agent and the session
    version, trace_id, span_id, flags = headers["traceparent"].split("-")
    assert (version, trace_id, flags) == ("00", TRACE, "01")
    return span_id


def ids_of(spans: list[ReadableSpan]) -> list[str]:
    return [trace.format_span_id(span.context.span_id) for span in spans if span.context is not None]


COMPLETION = {
    "id": "c",
    "object": "chat.completion",
    "created": 1,
    "model": "m",
    "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "hello"}}],
}
CHUNK = {
    "id": "c",
    "object": "chat.completion.chunk",
    "created": 1,
    "model": "m",
    "choices": [{"index": 0, "finish_reason": "stop", "delta": {"role": "assistant", "content": "hello"}}],
}


def completed(request: Seen) -> Any:
    return sse(CHUNK, "[DONE]") if request.body.get("stream") else COMPLETION


async def run(agent: Agent[Any, Any], *, stream: bool, **options: Any) -> Any:
    runtime = AgentRuntime(agent, capabilities=[Instrumentation()], **options)
    with fail_after(START_S):
        async with runtime:
            if not stream:
                return await runtime.run("hi")
            async with runtime.stream("hi") as running:
                async for _ in running:
                    pass
                return running.outcome


def of_settings(url: str) -> Model:
    model = resolve_model(Settings(model_api_url=url, model_name="m"))  # pyright: ignore
    assert isinstance(model, Model)
    return model


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("made_by", [of_settings, lambda url: endpoint_model(url, "m")])  # pyright: ignore
async def test_a_request_to_a_model_belongs_to_its_span(stream: bool, made_by: Any, seen: Recorded) -> None:
    async with peer(at(chat=completed)) as here:
        await run(Agent(made_by(here.url)), stream=stream)
    (request,) = here.posts
    assert [parent_in(request.headers)] == ids_of(seen.named("chat m"))


async def test_headers_of_the_agent_go_to_its_model_as_well(seen: Recorded) -> None:
    settings = ModelSettings(extra_headers={"x-team": "blue"})
    async with peer(at(chat=completed)) as here:
        await run(Agent(endpoint_model(here.url, "m"), model_settings=settings), stream=False)
    assert here.posts[0].headers["x-team"] == "blue"
    parent_in(here.posts[0].headers)
    assert settings == {"extra_headers": {"x-team": "blue"}}


async def test_without_a_trace_a_model_hears_of_none() -> None:
    async def alone() -> None:
        async with peer(at(chat=completed)) as here, Agent(endpoint_model(here.url, "m")) as agent:
            await agent.run("hi")
        assert not {"traceparent", "tracestate", "baggage"} & here.posts[0].headers.keys()

    with fail_after(START_S):
        await asyncio.get_running_loop().create_task(alone(), context=contextvars.Context())


def of_their_own(url: str) -> Model:
    return OpenAIChatModel("m", provider=OpenAIProvider(base_url=f"{url}/v1", api_key="x"))


@pytest.mark.parametrize("made_by", [of_settings, of_their_own])
async def test_a_request_of_any_httpx_client_belongs_to_its_own_span_where_clients_have_some(made_by: Any) -> None:
    exporter = InMemorySpanExporter()
    settings = Settings(otel_include_http_client=True)
    with setup_telemetry(exporters=[exporter], logs=False, keep_traces=0, settings=settings):
        async with peer(at(chat=completed)) as here:
            await run(Agent(made_by(here.url)), stream=True)
    (request,) = here.posts
    (chat,) = [span for span in exporter.get_finished_spans() if span.name == "chat m"]
    (sent,) = [span for span in exporter.get_finished_spans() if span.name == "POST"]
    assert sent.parent == chat.context
    assert [parent_in(request.headers)] == ids_of([sent])


async def test_a_model_of_somebody_elses_client_hears_of_nothing_where_clients_have_no_spans(seen: Recorded) -> None:
    async with peer(at(chat=completed)) as here:
        await run(Agent(of_their_own(here.url)), stream=True)
    assert "traceparent" not in here.posts[0].headers


CARRIED = """
from mcp.server import MCPServer
from mcp.server.mcpserver import Context

server = MCPServer("test", log_level="CRITICAL")


@server.tool()
async def carried(context: Context) -> dict[str, str]:
    return {key: value for key, value in (context.request_context.meta or {}).items() if isinstance(value, str)}


server.run("stdio")
"""


def http_app(*, old: bool, headers: list[Mapping[str, str]]) -> Any:
    server = McpServer("test", log_level="CRITICAL")

    @server.tool()
    async def carried(context: McpContext[Any, Any]) -> dict[str, str]:  # pyright: ignore[reportUnusedFunction]
        headers.append(context.headers or {})
        meta: Mapping[str, Any] = context.request_context.meta or {}
        return {key: value for key, value in meta.items() if isinstance(value, str)}

    return Gate(server.streamable_http_app(), old=old)


Wire = Literal["stdio", "http", "old http"]


@asynccontextmanager
async def mcp_server(wire: Wire, headers: list[Mapping[str, str]]) -> AsyncGenerator[MCPServer]:
    async with AsyncExitStack() as stack:
        if wire == "stdio":
            yield MCPServer("test", {"command": sys.executable, "args": ["-W", "error", "-c", CARRIED]})
        else:
            app = http_app(old=wire == "old http", headers=headers)
            url = await stack.enter_async_context(listening(app, grace_s=0.1))
            yield MCPServer("test", {"url": f"{url}/mcp"})


@pytest.mark.parametrize(
    ("wire", "stream"),
    [("stdio", True), ("http", False), ("http", True), ("old http", False), ("old http", True)],
)
async def test_a_call_of_an_mcp_server_belongs_to_its_tool(wire: Wire, stream: bool, seen: Recorded) -> None:
    headers: list[Mapping[str, str]] = []
    async with mcp_server(wire, headers) as server:
        agent = Agent(calls_then("done", ("carried", "{}")), toolsets=[MCPServers([server])])
        outcome = await run(agent, stream=stream)
    parts = [part for message in outcome.messages for part in message.parts]
    (meta,) = [part.model_response_object() for part in parts if isinstance(part, ToolReturnPart)]
    (tool,) = seen.named("execute_tool carried")
    (sent,) = seen.named("MCP send tools/call carried")
    assert sent.parent == tool.context
    assert [parent_in(meta)] == ids_of([sent])
    assert [parent_in(one) for one in headers] == ([] if wire == "stdio" else ids_of([sent]))


REFUSES = """
from mcp import MCPError
from mcp.server import MCPServer

server = MCPServer("test", log_level="CRITICAL")


@server.tool()
async def pay(card: str) -> str:
    raise MCPError(code=-32000, message=f"the card {card} is refused")


server.run("stdio")
"""


@pytest.mark.parametrize("content", [True, False])
async def test_what_an_mcp_server_says_of_an_error_leaves_only_as_content(content: bool) -> None:
    exporter = InMemorySpanExporter()
    server = MCPServer("test", {"command": sys.executable, "args": ["-W", "error", "-c", REFUSES]})
    agent = Agent(calls_then("done", ("pay", '{"card": "4711"}')), toolsets=[MCPServers([server])])
    with setup_telemetry(exporters=[exporter], logs=False, keep_traces=0, content=content), fail_after(START_S):
        async with AgentRuntime(agent) as runtime:
            await runtime.run("hi")
    spans = exporter.get_finished_spans()
    assert ("MCP send tools/call pay" in [span.name for span in spans]) is content  # it has no switch of its own
    assert ("4711" in "".join(span.to_json() for span in spans)) is content


async def test_a_connection_that_outlives_a_trace_belongs_to_none_of_it(seen: Recorded) -> None:
    """What the runtime opens is not a part of the run that came first."""
    headers: list[Mapping[str, str]] = []
    async with mcp_server("http", headers) as server:
        agent = Agent(calls_then("done", ("carried", "{}")), toolsets=[MCPServers([server])])
        await run(agent, stream=False)
    of_ours = [span for span in seen.spans if span.context and trace.format_trace_id(span.context.trace_id) == TRACE]
    sent = [span.name for span in of_ours if span.name.startswith("MCP send")]
    assert sent == ["MCP send tools/call carried"]
    assert len([span for span in seen.spans if span.name.startswith("MCP send")]) > 1


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("protocol", ["a2a", "chat"])
async def test_a_delegation_goes_on_at_the_other_agent(
    protocol: Literal["a2a", "chat"], stream: bool, seen: Recorded
) -> None:
    async with served(echo_agent()) as there:
        remote = RemoteAgent(there.url, protocol=protocol)
        toolset = DelegationToolset({"worker": remote})
        await run(Agent(asking(("worker", "do it")), name="boss"), stream=stream, toolsets=[toolset])
        (delegation,) = seen.named("delegate.worker")
        (tool,) = seen.named("execute_tool delegate_to_worker")
        runs = {(span.attributes or {})["agent.name"]: span for span in seen.named("server-run")}
    assert delegation.parent == tool.context
    expected = delegation.context
    if protocol == "a2a":
        (submit,), (execute,) = seen.named("kaos.task.submit"), seen.named("kaos.task.execute")
        assert submit.parent is not None
        assert delegation.context is not None
        assert submit.parent.span_id == delegation.context.span_id
        assert execute.parent == submit.context
        expected = execute.context
    worker, boss = runs["echo"], runs["boss"]
    assert worker.parent is not None
    assert expected is not None
    assert worker.parent.span_id == expected.span_id
    assert boss.parent is not None
    assert trace.format_span_id(boss.parent.span_id) == PARENT
    assert worker.context is not None
    assert trace.format_trace_id(worker.context.trace_id) == TRACE
    assert worker.context.trace_state.to_header() == "vendor=1"


async def test_the_baggage_of_a_delegation_is_there_at_the_other_agent(seen: Recorded) -> None:
    carried: list[Any] = []

    async def look() -> str:
        carried.append(baggage.get_baggage("team"))
        return "ok"

    agent = Agent(calls_then("done", ("look", "{}")), name="worker", tools=[look])
    async with served(agent) as there:
        toolset = DelegationToolset({"worker": RemoteAgent(there.url)})
        await run(Agent(asking(("worker", "do it")), name="boss"), stream=True, toolsets=[toolset])
    assert carried == ["blue"]
