"""docs/telemetry.md: its tables of spans and metrics are what is recorded, and all of it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import anyio
import pytest
from opentelemetry.sdk.metrics.export import Histogram, Sum
from opentelemetry.sdk.trace import ReadableSpan
from pydantic_ai import Agent

from pais_sdk import AgentRuntime, DelegationToolset, RemoteAgent, Settings, mock_model, serve

from .http_agents import served
from .telemetry import Recorded, recorded

pytestmark = pytest.mark.anyio
PAGE = (Path(__file__).resolve().parent.parent / "docs/telemetry.md").read_text()
OWN = "pais_sdk."
# Where it failed, and where the request was odd: the page tells of them below the tables, or not at all.
SELDOM = {"error.type", "http.request.method_original"}


def rows(section: str) -> list[list[str]]:
    """Return the cells of the table in a section of the page."""
    text = PAGE.partition(f"\n## {section}\n")[2].partition("\n## ")[0]
    table = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table[2:]]


def words(cell: str) -> set[str]:
    """Return the names in a cell; one that begins with a dot has the beginning of the one before it."""
    names: list[str] = []
    for name in re.findall(r"`([^`]+)`", cell):
        names.append(f"{names[-1].rpartition('.')[0]}{name}" if name.startswith(".") else name)
    return set(names)


async def everything(seen: Recorded) -> list[ReadableSpan]:
    """Let a run, a delegation, a task of A2A and requests be recorded; return the spans of this package."""
    settings = Settings(otel_include_http_server=True)
    worker = Agent(mock_model(["It is 3."] * 2), name="worker")
    tasks = [{"name": f"delegate_to_{name}", "arguments": {"task": "1 + 2"}} for name in ("chat", "task", "gone")]
    boss = Agent(mock_model([{"tool_calls": tasks}, "3"] * 2), name="boss")
    with anyio.fail_after(10):
        async with serve(worker).running(port=0) as url:
            agents = {
                "chat": RemoteAgent(url, protocol="chat"),
                "task": RemoteAgent(url, protocol="a2a"),
                "gone": RemoteAgent("http://127.0.0.1:9", protocol="chat"),
            }
            runtime = AgentRuntime(boss, toolsets=[DelegationToolset(agents)])
            async with served(runtime, settings=settings) as here:
                answer = await here.ask("1 + 2?", session_id="s1", stream=True)
                assert "[DONE]" in answer.text
                await here.http.get("/memory/events")
                await here.http.request("BREW", "/")
    return [span for span in seen.spans if span.instrumentation_scope and span.instrumentation_scope.name[:9] == OWN]


async def test_the_tables_are_what_is_recorded() -> None:
    with recorded(agents=True) as seen:
        spans = await everything(seen)
        data: Any = seen._reader.get_metrics_data()
    check_metrics([metric for of in data.resource_metrics for scope in of.scope_metrics for metric in scope.metrics])
    check_spans(spans)


def check_metrics(metrics: list[Any]) -> None:
    documented = {name: row for row in rows("Metrics") for name in words(row[0])}
    found = {metric.name: metric for metric in metrics}
    assert {name for name in documented if name.startswith((OWN, "kaos.", "http."))} <= set(found)
    for name, metric in found.items():
        _, unit, kind, labels = documented[name]
        if "Pydantic AI" in labels:
            continue
        assert metric.unit == unit
        if isinstance(metric.data, Histogram):
            assert kind == "histogram"
        else:
            assert isinstance(metric.data, Sum)
            assert kind == ("counter" if metric.data.is_monotonic else "up-down counter")
        used = {label for point in metric.data.data_points for label in point.attributes or ()}
        assert used - SELDOM == words(labels) - SELDOM, name


def check_spans(spans: list[ReadableSpan]) -> None:
    kinds: dict[str, set[str]] = {}
    for span in spans:
        row = next(row for row in rows("Spans") if any(re.fullmatch(form(name), span.name) for name in words(row[0])))
        assert set(span.attributes or ()) - SELDOM <= words(row[2]), span.name
        kinds.setdefault(row[0], set()).add(span.kind.name.lower())
        assert span.kind.name.lower() in row[1], span.name
    theirs = ("Pydantic AI's own", "of the library")
    assert set(kinds) == {row[0] for row in rows("Spans") if not row[3].startswith(theirs)}


def form(name: str) -> str:
    """Return an expression for the names of spans that a name in the table stands for."""
    if name.startswith("POST "):
        return r"(GET|POST|HTTP) /.*"
    return re.sub(r"<\w+>", ".+", name.replace(".", r"\."))
