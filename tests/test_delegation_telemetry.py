"""Delegations as spans and metrics."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.trace import NonRecordingSpan, Span, SpanContext, StatusCode, TraceFlags
from pydantic_ai import Agent
from pydantic_ai.messages import ModelMessage
from pydantic_ai.models.function import AgentInfo

from pais_sdk import AgentRuntime
from pais_sdk.delegation import DelegationToolset, telemetry

from .agents import Pieces, model_of
from .delegation import asking, worker
from .http_agents import FailingModel

pytestmark = pytest.mark.anyio


class RecordedSpan(NonRecordingSpan):
    """A span that keeps what it is told."""

    def __init__(self, number: int) -> None:
        super().__init__(SpanContext(7, number, is_remote=False, trace_flags=TraceFlags(1)))
        self.status: tuple[Any, Any] | None = None
        self.exceptions: list[str] = []

    def set_status(self, status: Any, description: str | None = None) -> None:
        self.status = (status, description)

    def record_exception(self, exception: BaseException, *args: Any, **kwargs: Any) -> None:
        self.exceptions.append(type(exception).__name__)


class Recorded:
    """Stands for the tracer and both instruments."""

    def __init__(self) -> None:
        self.spans: list[tuple[str, Mapping[str, Any], RecordedSpan]] = []
        self.counted: list[Mapping[str, str]] = []
        self.times: list[tuple[float, Mapping[str, str]]] = []

    @contextmanager
    def start_as_current_span(self, name: str, attributes: Mapping[str, Any], **_: Any) -> Generator[Span]:
        span = RecordedSpan(len(self.spans) + 1)
        self.spans.append((name, attributes, span))
        with trace.use_span(span, record_exception=False, set_status_on_exception=False):
            yield span

    def add(self, amount: int, labels: Mapping[str, str]) -> None:
        assert amount == 1
        self.counted.append(labels)

    def record(self, value: float, labels: Mapping[str, str]) -> None:
        self.times.append((value, labels))


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> Recorded:
    recorded = Recorded()
    for name in ("_tracer", "_delegations", "_durations"):
        monkeypatch.setattr(telemetry, name, recorded)
    return recorded


async def test_each_delegation_is_a_span_that_its_agent_works_in_and_two_metrics(recorded: Recorded) -> None:
    current: list[int] = []

    async def stream(messages: list[ModelMessage], info: AgentInfo) -> Pieces:
        current.append(trace.get_current_span().get_span_context().span_id)
        yield "ok"

    toolset = DelegationToolset({"worker-a": Agent(model_of(stream)), "broken": Agent(FailingModel(OSError).model)})
    async with AgentRuntime(Agent(asking(("worker_a", "x"), ("broken", "y"))), toolsets=[toolset]) as runtime:
        await runtime.run("go")
    [(name, attributes, good), (other_name, _, bad)] = recorded.spans
    assert (name, other_name) == ("delegate.worker-a", "delegate.broken")
    assert attributes == {"agent.delegation.target": "worker-a"}
    assert current == [good.get_span_context().span_id]
    assert (good.status, good.exceptions) == (None, [])
    assert (bad.status, bad.exceptions) == ((StatusCode.ERROR, "failed"), ["OSError"])
    labels = [{"target": "worker-a", "success": "true"}, {"target": "broken", "success": "false"}]
    assert sorted(map(str, recorded.counted)) == sorted(map(str, labels))
    assert sorted(str(label) for _, label in recorded.times) == sorted(map(str, labels))
    assert all(milliseconds > 0 for milliseconds, _ in recorded.times)


async def test_a_delegation_that_is_refused_is_an_error_span_too(recorded: Recorded) -> None:
    inner = DelegationToolset({"inner": worker("inner")}, max_depth=1)
    runtime = AgentRuntime(Agent(asking(("inner", "x"))), toolsets=[inner])
    async with runtime:
        outcome = await runtime.run("go")
    assert "was not asked" in outcome.text
    [(_, _, span)] = recorded.spans
    assert span.status == (StatusCode.ERROR, "depth")
    assert recorded.counted == [{"target": "inner", "success": "false"}]
