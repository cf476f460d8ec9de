"""Delegations as spans and metrics."""

from __future__ import annotations

from collections.abc import Generator

import pytest
from opentelemetry import trace
from opentelemetry.trace import StatusCode
from pydantic_ai import Agent
from pydantic_ai.messages import ModelMessage
from pydantic_ai.models.function import AgentInfo

from pais_sdk import AgentRuntime
from pais_sdk.delegation import DelegationToolset

from .agents import Pieces, model_of
from .delegation import asking, worker
from .http_agents import FailingModel
from .telemetry import Recorded, recorded

pytestmark = pytest.mark.anyio


@pytest.fixture
def seen() -> Generator[Recorded]:
    with recorded() as seen:
        yield seen


async def test_each_delegation_is_a_span_that_its_agent_works_in_and_two_metrics(seen: Recorded) -> None:
    traces: list[int] = []

    async def stream(messages: list[ModelMessage], info: AgentInfo) -> Pieces:
        traces.append(trace.get_current_span().get_span_context().trace_id)
        yield "ok"

    broken = Agent(FailingModel(lambda: OSError("what Alice said")).model)
    toolset = DelegationToolset({"worker-a": Agent(model_of(stream)), "broken": broken})
    async with AgentRuntime(Agent(asking(("worker_a", "x"), ("broken", "y"))), toolsets=[toolset]) as runtime:
        await runtime.run("go")
    [good], [bad] = seen.named("delegate.worker-a"), seen.named("delegate.broken")
    assert good.attributes == {"agent.delegation.target": "worker-a"}
    assert good.status.status_code == StatusCode.UNSET
    assert good.context is not None
    assert traces == [good.context.trace_id]
    assert bad.attributes == {"agent.delegation.target": "broken", "error.type": "failed"}
    assert (bad.status.status_code, bad.status.description) == (StatusCode.ERROR, "failed")
    assert "Alice" not in "".join(span.to_json() for span in seen.spans)
    metrics = seen.metrics()
    for name in ("kaos.delegations", "kaos.delegation.duration"):
        labels = [labels for labels, _ in metrics[name]]
        assert sorted(labels, key=str) == [
            {"target": "broken", "success": "false"},
            {"target": "worker-a", "success": "true"},
        ]
    assert all(point.value == 1 for _, point in metrics["kaos.delegations"])
    assert all(point.count == 1 and point.sum > 0 for _, point in metrics["kaos.delegation.duration"])


async def test_a_delegation_that_is_refused_is_an_error_span_too(seen: Recorded) -> None:
    inner = DelegationToolset({"inner": worker("inner")}, max_depth=1)
    runtime = AgentRuntime(Agent(asking(("inner", "x"))), toolsets=[inner])
    async with runtime:
        outcome = await runtime.run("go")
    assert "was not asked" in outcome.text
    [span] = seen.named("delegate.inner")
    assert (span.status.status_code, span.status.description) == (StatusCode.ERROR, "depth")
    assert [labels for labels, _ in seen.metrics()["kaos.delegations"]] == [{"target": "inner", "success": "false"}]
