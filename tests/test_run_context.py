"""What a runtime says of a run to the tools in it, and what it takes from whoever delegated the run."""

from __future__ import annotations

import time

import pytest
from anyio import fail_after
from pydantic_ai import Agent

from pais_sdk import AgentRuntime, ConfigurationError, InvalidRequestError, Settings
from pais_sdk._current_run import CurrentRun, current_run

from .agents import calls_then, echo_agent

pytestmark = pytest.mark.anyio


async def seen_by_a_tool(runtime_id: str | None, **options: object) -> CurrentRun | None:
    seen: list[CurrentRun | None] = []
    agent = Agent(calls_then("done", ("look", "{}")))

    @agent.tool_plain
    async def look() -> str:
        seen.append(current_run())
        return "seen"

    async with AgentRuntime(agent, id=runtime_id, tool_timeout_s=7) as runtime:
        with fail_after(5):
            await runtime.run("hi", **options)  # pyright: ignore[reportArgumentType]
    return seen[0]


async def test_a_tool_knows_the_scope_the_chain_and_the_time_of_its_run() -> None:
    before = time.monotonic()
    run = await seen_by_a_tool("b", scope="anna", chain=["a"], timeout_s=60)
    assert run is not None
    assert (run.scope, run.chain, run.tool_timeout_s) == ("anna", ("a", "b"), 7)
    assert run.deadline is not None
    assert before + 60 <= run.deadline <= time.monotonic() + 60


async def test_a_run_that_nobody_delegated_has_a_chain_of_its_own_agent_only() -> None:
    run = await seen_by_a_tool("b")
    assert run is not None
    assert (run.scope, run.chain, run.deadline) == (None, ("b",), None)


async def test_outside_a_run_there_is_none() -> None:
    async with AgentRuntime(echo_agent()) as runtime:
        await runtime.run("hi")
    assert current_run() is None


async def test_an_agent_refuses_a_task_that_comes_from_itself() -> None:
    async with AgentRuntime(echo_agent(), name="planner", id="b") as runtime:
        with pytest.raises(InvalidRequestError, match="'planner' is one of the agents that this task comes from"):
            await runtime.run("hi", chain=["a", "b", "c"])
        assert await runtime.memory.list_sessions() == []


async def test_runtimes_without_an_id_are_told_apart() -> None:
    assert AgentRuntime(echo_agent()).id != AgentRuntime(echo_agent()).id


@pytest.mark.parametrize("id", ["", "a\nb", "x" * 257])
async def test_an_id_that_cannot_go_along_with_a_task_is_refused(id: str) -> None:
    with pytest.raises(ConfigurationError, match="printable characters"):
        AgentRuntime(echo_agent(), id=id)


def test_an_autonomous_goal_stops_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUTONOMOUS_GOAL", "Grow")
    with pytest.raises(ConfigurationError, match=r"^AUTONOMOUS_GOAL cannot be used: an autonomous mode is not in this"):
        Settings()
