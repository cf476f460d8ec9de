"""The metrics of runs."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from anyio import fail_after
from pydantic_ai import Agent
from pydantic_ai.messages import ModelMessage
from pydantic_ai.models.function import AgentInfo, DeltaThinkingCalls, DeltaThinkingPart, FunctionModel

from pais_sdk import AgentRuntime, TextDelta

from .agents import GatedModel, calls_then, echo_agent
from .http_agents import FailingModel, adding_agent, until
from .telemetry import Recorded, recorded

pytestmark = pytest.mark.anyio

Runtime = AgentRuntime[Any]
PYTHON = {"surface": "python"}


def points(metrics: dict[str, list[tuple[dict[str, Any], Any]]], name: str) -> list[Any]:
    """Return the points of runs that were called in Python."""
    return [point for labels, point in metrics.get(name, []) if labels["surface"] == "python"]


def _thinker() -> Agent[Any, str]:
    async def think(messages: list[ModelMessage], info: AgentInfo) -> AsyncIterator[DeltaThinkingCalls | str]:
        yield {0: DeltaThinkingPart(content="let me see")}
        yield "seen"

    return Agent(FunctionModel(stream_function=think))  # pyright: ignore[reportArgumentType]


def _structured() -> Agent[Any, Any]:
    return Agent(calls_then("", ("final_result", '{"response": 3}')), output_type=int)


STREAMED: dict[str, tuple[Callable[[], Agent[Any, Any]], bool, int]] = {
    "text": (echo_agent, False, 1),
    "text around tools": (adding_agent, False, 1),
    "thinking": (_thinker, False, 1),
    "nothing": (lambda: Agent(FailingModel(KeyError).model), False, 0),
    "text before an error": (lambda: Agent(FailingModel(KeyError, "so far").model), False, 1),
    "what is no text": (_structured, False, 0),
    "text that nobody hears": (echo_agent, True, 0),
}


@pytest.mark.parametrize("told", STREAMED)
async def test_the_first_token_of_a_streamed_run_is_timed_once(told: str) -> None:
    make, quiet, times = STREAMED[told]
    with recorded() as seen:
        async with AgentRuntime(make()) as runtime, runtime.stream("hi", quiet=quiet) as run:
            async for _ in run:
                pass
        metrics = seen.metrics()
    assert [point.count for point in points(metrics, "pais_sdk.run.time_to_first_token")] == [1] * times
    if times:
        [first], [whole] = (points(metrics, f"pais_sdk.run.{name}") for name in ("time_to_first_token", "duration"))
        [waited] = points(metrics, "pais_sdk.run.queue_wait")
        assert 0 < waited.sum <= first.sum <= whole.sum


async def test_a_run_that_is_not_streamed_has_no_first_token() -> None:
    with recorded() as seen:
        await AgentRuntime(echo_agent()).run("hi")
        assert not points(seen.metrics(), "pais_sdk.run.time_to_first_token")


def _active(seen: Recorded, surface: str) -> list[Any]:
    return [point.value for labels, point in seen.metrics()["pais_sdk.active_runs"] if labels == {"surface": surface}]


async def test_active_runs_are_those_that_have_a_place() -> None:
    gated = GatedModel()
    with fail_after(5), recorded() as seen:
        async with AgentRuntime(Agent(gated.model), max_active_runs=2) as runtime:
            tasks = [asyncio.create_task(runtime.run("hi", surface="counted")) for _ in range(3)]
            await until(lambda: gated.requests == 2 and runtime.admission.waiting == 1)
            assert _active(seen, "counted") == [2]
            gated.gate.set()
            await asyncio.wait(tasks)
            assert _active(seen, "counted") == [0]


async def test_a_run_that_began_before_telemetry_was_set_up_is_active_too() -> None:
    gated = GatedModel()

    with fail_after(5):
        async with AgentRuntime(Agent(gated.model)) as runtime:
            task = asyncio.create_task(runtime.run("hi", surface="early"))
            await gated.said_first.wait()
            with recorded() as seen:
                assert _active(seen, "early") == [1]
                gated.gate.set()
                await task
                assert _active(seen, "early") == [0]


async def test_the_wait_for_a_session_and_for_a_place_is_counted_and_the_time_of_the_reader_is_not() -> None:
    gated = GatedModel()
    with fail_after(5), recorded() as seen:
        async with AgentRuntime(Agent(gated.model)) as runtime:
            first = asyncio.create_task(runtime.run("hi", session_id="s", surface="first"))
            await gated.said_first.wait()
            began = time.perf_counter()
            second = asyncio.create_task(runtime.run("hi", session_id="s"))
            await until(lambda: runtime.admission.waiting == 1)
            waits = time.perf_counter()
            await asyncio.sleep(0)
            opened = time.perf_counter()
            gated.gate.set()
            await asyncio.wait([first, second])
            [waited] = points(seen.metrics(), "pais_sdk.run.queue_wait")
            assert opened - waits <= waited.sum <= time.perf_counter() - began
            async with runtime.stream("hi") as run:
                async for event in run:
                    if isinstance(event, TextDelta):
                        break
                await runtime.cancel(run.session_id)
                await runtime.ended()
                [in_the_block] = points(seen.metrics(), "pais_sdk.runs")
    assert in_the_block.value == 1


async def test_no_label_is_an_id_and_each_metric_has_its_unit() -> None:
    with recorded() as seen:
        async with AgentRuntime(adding_agent()) as runtime, runtime.stream("hi", session_id="s", scope="u") as run:
            async for _ in run:
                pass
        metrics = seen.metrics()
        units = {name: unit for name, unit in seen.units.items() if name.startswith("pais_sdk.")}
    ours = {name: found for name, found in metrics.items() if name in EXPECTED}
    assert {name: set(found[-1][0]) for name, found in ours.items()} == {
        name: labels for name, (_, labels) in EXPECTED.items()
    }
    values = {str(value) for found in ours.values() for labels, _ in found for value in labels.values()}
    assert not values & {"s", "u", "adder", run.outcome.run_id}
    assert {name: units[name] for name in EXPECTED} == {name: unit for name, (unit, _) in EXPECTED.items()}


EXPECTED = {
    "pais_sdk.runs": ("{run}", {"surface", "stop_reason"}),
    "pais_sdk.run.duration": ("s", {"surface", "stop_reason"}),
    "pais_sdk.run.time_to_first_token": ("s", {"surface"}),
    "pais_sdk.active_runs": ("{run}", {"surface"}),
    "pais_sdk.run.queue_wait": ("s", {"surface"}),
}
