"""`outcome.trace` of real runs, and the picture of one in the docs."""

from __future__ import annotations

import os
import re
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest
from pydantic_ai import Agent

from pais_sdk import AgentRuntime, DelegationToolset, RunFailedError, RunTrace, mock_model, serve, setup_telemetry
from pais_sdk.traces import recent

from .agents import GatedModel

pytestmark = pytest.mark.anyio
ROOT = Path(__file__).resolve().parent.parent
SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(autouse=True)
def _telemetry(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(recent, "_kept", None)
    with setup_telemetry():
        yield


def names(tree: RunTrace | str | None) -> list[str]:
    """Return the lines of a tree without times and tokens."""
    return [re.sub(r" {2,}(\d|still).*$", "", line) for line in str(tree).splitlines()]


async def test_a_run_in_a_cell_has_its_trace_without_a_collector() -> None:
    async with AgentRuntime(Agent(name="greeter"), model=mock_model(["Hello!"])) as runtime:
        first, second = await runtime.run("Hi"), await runtime.run("Hi again")
    for outcome in (first, second):
        assert outcome.trace is not None
        assert [span.name for span in outcome.trace.spans] == [
            "server-run",
            "memory.open_session",
            "invoke_agent greeter",
            "chat mock",
            "memory.append",
        ]
        assert outcome.trace.spans[0].span_id == outcome.trace.span_id
        assert "Trace of server-run (greeter): 5 spans" in outcome.trace._repr_html_()
    assert first.trace != second.trace


async def test_the_trace_of_a_delegation_goes_on_in_the_other_agent() -> None:
    worker = Agent(mock_model(["It is 3."]), name="worker")
    model = mock_model([{"tool_calls": [{"name": "delegate_to_worker", "arguments": {"task": "1 + 2"}}]}, "3"])
    boss = Agent(model, name="boss")
    async with serve(worker).running(port=0) as url:
        outcome = await AgentRuntime(boss, toolsets=[DelegationToolset({"worker": url})]).run("1 + 2?")
    assert names(outcome.trace) == [
        "server-run (boss)",
        "├─ memory.open_session",
        "├─ invoke_agent boss",
        "│  ├─ chat mock",
        "│  ├─ execute_tool delegate_to_worker",
        "│  │  └─ delegate.worker",
        "│  │     └─ kaos.task.submit",
        "│  │        └─ kaos.task.execute",
        "│  │           └─ server-run (worker)",
        "│  │              ├─ memory.open_session",
        "│  │              ├─ invoke_agent worker",
        "│  │              │  └─ chat mock",
        "│  │              └─ memory.append",
        "│  └─ chat mock",
        "└─ memory.append",
    ]


async def test_a_stream_that_is_read_has_a_trace_that_still_runs() -> None:
    gated = GatedModel()
    with anyio.fail_after(5):
        async with AgentRuntime(Agent(gated.model, name="slow")) as runtime:
            async with runtime.stream("Go") as run:
                await gated.said_first.wait()
                kept = recent.recent_traces()
                assert kept is not None
                (trace_id,) = kept.trace_ids()
                assert str(RunTrace(trace_id)).count("still runs") == 3  # server-run, invoke_agent, chat
                gated.gate.set()
                async for _ in run:
                    pass
                assert str(run.outcome.trace).count("still runs") == 1  # server-run, until the block is left
            assert "still runs" not in str(run.outcome.trace)


async def test_a_run_that_failed_says_so_in_its_trace() -> None:
    agent = Agent(name="broken")

    @agent.instructions
    def fails() -> str:
        raise LookupError("the secret word")

    async with AgentRuntime(agent, model=mock_model(["never said"])) as runtime:
        with pytest.raises(RunFailedError) as failed:
            await runtime.run("Go")
    trace = failed.value.outcome.trace
    assert trace is not None
    (run,) = [span for span in trace.spans if span.name == "server-run"]
    assert run.failed
    assert "secret" not in f"{run.error}{run.attributes}"
    assert str(trace).splitlines()[0].endswith("failed: LookupError")


async def test_a_trace_can_be_looked_at_when_telemetry_has_been_shut_down() -> None:
    with setup_telemetry("another"):
        outcome = await AgentRuntime(Agent(name="greeter"), model=mock_model(["Hello!"])).run("Hi")
    assert "invoke_agent greeter" in str(outcome.trace)
    assert outcome.trace is not None
    assert "invoke_agent greeter" in outcome.trace._repr_html_()


def labels(svg: Path) -> list[tuple[str, str]]:
    """Return the names of the spans in a picture, and how far they are indented."""
    root = ElementTree.parse(svg).getroot()  # noqa: S314 - our own file
    texts = [(text.get("x") or "", text.text or "") for text in root.iter(f"{SVG}text")]
    return [text for text in texts if not re.search(r"\d (ms|µs|s|in)\b", text[1])]


async def test_the_picture_of_the_docs_is_what_its_script_draws_now(tmp_path: Path) -> None:
    script = [sys.executable, "-W", "error", str(ROOT / "docs/images/trace.py"), str(tmp_path / "trace.svg")]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    with anyio.fail_after(60):
        done = await anyio.run_process(script, cwd=tmp_path, env=environment, check=False)
    assert done.returncode == 0, done.stderr.decode()
    assert labels(tmp_path / "trace.svg") == labels(ROOT / "docs/images/trace.svg")
    page = (ROOT / "docs/telemetry.md").read_text()
    (tree,) = re.findall(r"^```text\n(server-run.*?)^```", page, flags=re.M | re.S)
    assert names(tree) == names(done.stdout.decode())
