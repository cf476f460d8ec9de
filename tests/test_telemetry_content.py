"""Content switched off: nothing that was said is in any span, metric or event, whatever happens."""

from __future__ import annotations

import anyio
import pytest
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from pydantic_ai import Agent, ModelRetry
from pydantic_ai.exceptions import ModelHTTPError
from pydantic_ai.messages import ModelMessage, ModelResponse
from pydantic_ai.models.function import AgentInfo, FunctionModel

from pais_sdk import AgentRuntime, DelegationToolset, RemoteAgent, mock_model, serve, setup_telemetry
from pais_sdk.errors import RunFailedError

pytestmark = pytest.mark.anyio
SAID = "what-was-said"
CALLS = [
    {"name": "add", "arguments": {"text": SAID}},
    {"name": "add", "arguments": {"text": [SAID]}},
    {"name": "asks_again", "arguments": {}},
    {"name": "fails", "arguments": {}},
    {"name": "unknown", "arguments": {"text": SAID}},
    *({"name": f"delegate_to_{name}", "arguments": {"task": SAID}} for name in ("here", "chat", "task", "gone")),
]


def add(text: str) -> str:
    """Say it twice."""
    return text * 2


def asks_again() -> str:
    """Say that it did not work."""
    raise ModelRetry("-".join(["what", "was", "said"]))  # not one word, for a traceback quotes the program


def fails() -> str:
    """Fail."""
    raise ValueError("-".join(["what", "was", "said"]))


async def refusal(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
    raise ModelHTTPError(500, "model", "-".join(["what", "was", "said"]))


def worker() -> Agent:
    return Agent(mock_model([SAID] * 3), name="worker", instructions=SAID)


async def everything() -> None:
    """Ask an agent that does all there is to do, and one whose model fails."""
    async with serve(worker()).running(port=0) as url:
        agents = {
            "here": AgentRuntime(worker()),
            "chat": RemoteAgent(url, protocol="chat"),
            "task": RemoteAgent(url, protocol="a2a"),
            "gone": RemoteAgent("http://127.0.0.1:9", protocol="chat"),
        }
        model = mock_model([{"tool_calls": CALLS}, SAID])
        boss = Agent(model, name="boss", instructions=SAID, tools=[add, asks_again, fails], retries=2)
        failing = Agent(FunctionModel(refusal), name="failing")
        async with AgentRuntime(boss, toolsets=[DelegationToolset(agents)]) as one, AgentRuntime(failing) as other:
            assert (await one.run(SAID)).text == SAID
            async with one.stream(SAID) as events:
                assert [event async for event in events]
            with pytest.raises(RunFailedError):
                await other.run(SAID)


@pytest.mark.parametrize("content", [True, False])
async def test_what_was_said_is_in_spans_only_where_content_is_wanted(content: bool) -> None:
    exporter, reader = InMemorySpanExporter(), InMemoryMetricReader()
    with (
        anyio.fail_after(30),
        setup_telemetry(exporters=[exporter, reader], content=content, logs=False, keep_traces=0) as telemetry,
    ):
        await everything()
        telemetry.force_flush()
        data = reader.get_metrics_data()
    spans = exporter.get_finished_spans()
    assert {"execute_tool fails", "delegate.gone", "memory.append"} <= {span.name for span in spans}
    telling = {span.name for span in spans if SAID in span.to_json()}
    assert ("execute_tool fails" in telling) is content
    assert {"server-run", "memory.append"}.isdisjoint(telling)
    assert content or not telling
    assert data is not None
    assert SAID not in data.to_json()
    (failed, *_) = [span for span in spans if span.name == "execute_tool fails"]
    assert "ValueError" in [str((event.attributes or {})["exception.type"]) for event in failed.events]
