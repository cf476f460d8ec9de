"""GET /tools and the card's skills: what the model sees, listed once for all who ask, over connections that stay."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import anyio
import pytest
from anyio import fail_after
from opentelemetry import trace
from pydantic_ai import Agent, RunContext
from pydantic_ai.capabilities import AbstractCapability, PrepareTools, Toolset
from pydantic_ai.messages import ModelMessage
from pydantic_ai.models import Model
from pydantic_ai.models.function import AgentInfo
from pydantic_ai.models.test import TestModel
from pydantic_ai.profiles import ModelProfile
from pydantic_ai.tools import ToolDefinition
from pydantic_ai.toolsets import AbstractToolset, FunctionToolset, WrapperToolset

from pais_sdk import AgentRuntime
from pais_sdk.models import AutoModeModel
from pais_sdk.models.string_mode import StringMode, StringModeModel
from pais_sdk.runtime.tool_list import ToolList

from .agents import Pieces, echo_agent, model_of
from .http_agents import SECRET, FailingModel, RecordingModel, Served, error_of, served, until

pytestmark = pytest.mark.anyio

CARD = "/.well-known/agent.json"


def one() -> str:
    """Be the first."""
    return "1"


@dataclass
class Counted(WrapperToolset[Any]):
    """Counts its connections, as a toolset that counts who holds it would make them, and its listings."""

    connections: int = 0
    holders: int = 0
    listings: int = 0
    fails: bool = False
    gate: asyncio.Event = field(default_factory=asyncio.Event)

    async def for_run(self, ctx: RunContext[Any]) -> AbstractToolset[Any]:
        return self

    async def for_run_step(self, ctx: RunContext[Any]) -> AbstractToolset[Any]:
        return self

    async def __aenter__(self) -> Counted:
        self.connections += not self.holders
        self.holders += 1
        return self

    async def __aexit__(self, *args: Any) -> None:
        self.holders -= 1

    async def get_tools(self, ctx: RunContext[Any]) -> Any:
        self.listings += 1
        await self.gate.wait()
        if self.fails:
            raise RuntimeError(SECRET)
        return await super().get_tools(ctx)


def counted(*functions: Callable[..., Any], is_open: bool = True) -> Counted:
    toolset = Counted(FunctionToolset[Any](list(functions or (one,))))
    if is_open:
        toolset.gate.set()
    return toolset


def tool(name: str) -> ToolDefinition:
    return ToolDefinition(name=name)


async def names(here: Served) -> list[str]:
    answer = await here.http.get("/tools")
    assert answer.status_code == 200, answer.text
    assert answer.json()["total"] == len(answer.json()["tools"])
    return [tool["name"] for tool in answer.json()["tools"]]


async def skills(here: Served) -> list[str]:
    return [skill["name"] for skill in (await here.http.get(CARD)).json()["skills"]]


async def test_many_requests_at_once_make_one_listing(monkeypatch: pytest.MonkeyPatch) -> None:
    toolset = counted(is_open=False)
    answers: list[list[str]] = []
    asked = 0
    with fail_after(5):
        async with served(echo_agent(), toolsets=[toolset]) as here, anyio.create_task_group() as tasks:
            list_tools = here.runtime.list_tools

            async def counted_list_tools() -> list[ToolDefinition]:
                nonlocal asked
                asked += 1
                return await list_tools()

            async def ask(listed: Callable[[Served], Any]) -> None:
                answers.append(await listed(here))

            monkeypatch.setattr(here.runtime, "list_tools", counted_list_tools)
            for listed in [names, skills] * 10:
                tasks.start_soon(ask, listed)
            await until(lambda: toolset.listings == 1 and asked == 20)
            toolset.gate.set()
    assert answers == [["one"]] * 20
    assert (toolset.listings, toolset.connections) == (1, 1)


async def test_a_list_is_kept_and_nothing_connects_again() -> None:
    toolset = counted()
    with fail_after(5):
        async with served(echo_agent(), toolsets=[toolset]) as here:
            for _ in range(5):
                assert await names(here) == await skills(here) == ["one"]
            assert (toolset.listings, toolset.connections) == (1, 1)
            await here.ask("hi")
            assert await names(here) == ["one"]
    assert (toolset.listings, toolset.connections, toolset.holders) == (2, 1, 0)  # the second was the run's own


@pytest.mark.parametrize("place", ["agent", "agent's capability", "runtime", "runtime's capability"])
async def test_toolsets_are_held_open_wherever_they_come_from(place: str) -> None:
    toolset = counted()
    capabilities = [Toolset[Any](toolset)]
    agent = echo_agent(
        toolsets=[toolset] if place == "agent" else [],
        capabilities=capabilities if place == "agent's capability" else [],
    )
    runtime = AgentRuntime(
        agent,
        toolsets=[toolset] if place == "runtime" else [],
        capabilities=capabilities if place == "runtime's capability" else [],
    )
    with fail_after(5):
        async with served(runtime) as here:
            assert await names(here) == ["one"]
            for _ in range(3):
                await here.ask("hi")
    assert (toolset.connections, toolset.holders) == (1, 0)


async def test_what_is_listed_is_what_the_model_is_sent() -> None:
    model = RecordingModel()
    agent = Agent[Any, str](model.model, name="seen")

    @agent.tool_plain(requires_approval=True)
    def own(city: str) -> str:  # pyright: ignore[reportUnusedFunction]
        """Needs an approval.

        Args:
            city: Where.
        """
        return city

    @agent.tool_plain
    def hidden() -> str:  # pyright: ignore[reportUnusedFunction]
        return ""

    @agent.tool_plain(defer_loading=True)
    def searched_for() -> str:  # pyright: ignore[reportUnusedFunction]
        """Is found by a search."""
        return ""

    async def of_this_model(ctx: RunContext[Any], tool: ToolDefinition) -> ToolDefinition | None:
        return tool if ctx.model.model_name == model.model.model_name else None

    runtimes = FunctionToolset[Any]()
    runtimes.add_function(one, prepare=of_this_model)

    async def without_hidden(ctx: RunContext[Any], tools: list[ToolDefinition]) -> list[ToolDefinition]:
        return [tool for tool in tools if tool.name != "hidden"]

    runtime = AgentRuntime(
        agent,
        toolsets=[runtimes.prefixed("rt")],
        capabilities=[PrepareTools(without_hidden), Toolset(FunctionToolset[Any]([one]))],
    )
    with fail_after(5):
        async with served(runtime) as here:
            told = (await here.http.get("/tools")).json()["tools"]
            assert not model.requests
            await here.ask("hi")
    sent = [
        {
            "name": tool.name,
            "description": tool.description or "",
            "parameters_json_schema": tool.parameters_json_schema,
        }
        for tool in model.info.function_tools
    ]
    assert told == sent
    assert sorted(tool["name"] for tool in told) == ["one", "own", "rt_one"]


async def test_the_default_effort_decides_what_is_seen() -> None:
    async def stream(messages: list[ModelMessage], info: AgentInfo) -> Pieces:
        yield "ok"

    async def of_the_deep(ctx: RunContext[Any], tool: ToolDefinition) -> ToolDefinition | None:
        return tool if ctx.model.model_name == "deep" else None

    toolset = FunctionToolset[Any]()
    toolset.add_function(one, prepare=of_the_deep)
    efforts = {"deep": model_of(stream, "deep")}
    with fail_after(5):
        for default, seen in ((None, []), ("deep", ["one"])):
            async with AgentRuntime(
                echo_agent(), toolsets=[toolset], efforts=efforts, default_effort=default
            ) as runtime:
                assert [tool.name for tool in await runtime.list_tools()] == seen


def without_tools() -> TestModel:
    return TestModel(profile=ModelProfile(supports_tools=False))


@pytest.mark.parametrize(
    ("model", "capabilities"),
    [
        (StringModeModel(without_tools()), []),
        (without_tools(), [StringMode()]),
        (AutoModeModel(TestModel()), []),
    ],
    ids=["model", "capability", "auto"],
)
async def test_string_mode_has_the_tools_of_native_mode(model: Model, capabilities: list[StringMode]) -> None:
    agent = Agent(output_type=int, name="strings")

    @agent.tool_plain
    def add(a: int, b: int) -> int:  # pyright: ignore[reportUnusedFunction]
        """Add two numbers."""
        return a + b

    @agent.tool_plain(defer_loading=True)
    def searched_for() -> str:  # pyright: ignore[reportUnusedFunction]
        return ""

    with fail_after(5):
        async with (
            AgentRuntime(agent, model=TestModel()) as native,
            AgentRuntime(agent, model=model, capabilities=capabilities) as string,
        ):
            tools = await string.list_tools()
            assert tools == await native.list_tools()
    assert [tool.name for tool in tools] == ["add", "search_tools"]


async def test_an_agent_without_a_model_has_tools() -> None:
    async with AgentRuntime(Agent(name="bare"), toolsets=[counted()]) as runtime:
        assert [tool.name for tool in await runtime.list_tools()] == ["one"]


async def test_a_look_at_the_tools_is_no_run_that_fails_and_leaves_no_trace() -> None:
    heard: list[Any] = []

    class Listening(AbstractCapability[Any]):
        async def on_run_error(self, ctx: RunContext[Any], *, error: BaseException) -> Any:
            heard.append(error)
            raise error

        async def prepare_tools(self, ctx: RunContext[Any], tool_defs: list[ToolDefinition]) -> list[ToolDefinition]:
            heard.append(trace.get_current_span().get_span_context().trace_flags.sampled)
            return tool_defs

    model = FailingModel(RuntimeError)
    runtime = AgentRuntime(Agent(model.model, output_type=int), toolsets=[counted()], capabilities=[Listening()])
    sampled = trace.SpanContext(7, 7, is_remote=False, trace_flags=trace.TraceFlags(trace.TraceFlags.SAMPLED))
    with fail_after(5), trace.use_span(trace.NonRecordingSpan(sampled)):
        async with runtime:
            assert [tool.name for tool in await runtime.list_tools()] == ["one"]
            assert await runtime.memory.get_events("tools") == []
    assert (model.requests, heard) == (0, [False])


async def test_a_listing_that_fails_is_tried_again_and_leaves_the_card_its_skills() -> None:
    toolset = counted()
    toolset.fails = True
    with fail_after(5):
        async with served(echo_agent(), toolsets=[toolset]) as here:
            assert await skills(here) == []
            toolset.fails = False
            assert await skills(here) == ["one"]
        async with served(AgentRuntime(echo_agent(), toolsets=[toolset])) as here:
            assert await names(here) == ["one"]
            await here.runtime.close()  # what is listed goes with what was open
            toolset.fails = True
            for _ in range(2):
                listings = toolset.listings
                tools, card = await here.http.get("/tools"), await here.http.get(CARD)
                assert (tools.status_code, error_of(tools)["code"]) == (500, "server_error")
                assert [skill["name"] for skill in card.json()["skills"]] == ["one"]
                assert SECRET not in tools.text + card.text
                assert toolset.listings == listings + 2
            toolset.fails = False
            assert await names(here) == ["one"]


async def test_a_toolset_that_does_not_answer_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pais_sdk.server.agent_card._TOOLS_WAIT_S", 0.05)
    toolset = counted(is_open=False)
    with fail_after(5):
        async with served(echo_agent(), toolsets=[toolset]) as here:
            tools, card = await here.http.get("/tools"), await here.http.get(CARD)
            assert (tools.status_code, error_of(tools)["code"]) == (503, "server_error")
            assert "in time" in error_of(tools)["message"]
            assert (card.status_code, card.json()["skills"]) == (200, [])
            assert (await here.http.get("/health")).status_code == 200
            toolset.gate.set()
            await until(lambda: toolset.holders == 1)  # the listing went on, and is over
            assert await names(here) == ["one"]
    assert (toolset.listings, toolset.connections) == (1, 1)


async def test_a_server_stops_while_its_tools_are_listed() -> None:
    toolset = counted(is_open=False)
    with fail_after(5):
        async with AgentRuntime(echo_agent(), toolsets=[toolset]) as runtime:
            asking = [asyncio.create_task(runtime.list_tools()) for _ in range(2)]
            await until(lambda: toolset.listings == 1)
        for task in asking:
            with pytest.raises(RuntimeError, match="closed before its tools were listed"):
                await task
        assert toolset.holders == 0
        toolset.gate.set()
        assert [tool.name for tool in await runtime.list_tools()] == ["one"]
        await runtime.close()
    assert (toolset.holders, toolset.connections) == (0, 2)


class Look:
    """Lists a tool that is named after the number of the look, when the test lets it."""

    def __init__(self) -> None:
        self.version = self.looks = 0
        self.now = 100.0
        self.gate = asyncio.Event()
        self.gate.set()

    async def __call__(self) -> list[ToolDefinition]:
        self.looks += 1
        number = self.looks
        await self.gate.wait()
        return [tool(f"look{number}")]

    def listed(self, **options: Any) -> ToolList:
        return ToolList(self, lambda: self.version, clock=lambda: self.now, **options)


async def seen(tools: ToolList) -> str:
    (found,) = await tools.get()
    return found.name


async def test_a_list_is_made_anew_when_it_is_too_old() -> None:
    look = Look()
    with fail_after(5):
        async with look.listed(max_age_s=30) as tools:
            found: list[str] = []
            for later in (0, 30, 0.5, 29):
                look.now += later
                found.append(await seen(tools))
    assert found == ["look1", "look1", "look2", "look2"]


async def test_a_list_is_made_anew_when_its_version_changed() -> None:
    look = Look()
    with fail_after(5):
        async with look.listed() as tools:
            found = [await seen(tools), await seen(tools)]
            look.version += 1
            found += [await seen(tools), await seen(tools)]
    assert found == ["look1", "look1", "look2", "look2"]


async def test_who_asks_after_a_change_is_not_given_the_listing_that_began_before_it() -> None:
    look = Look()
    look.gate.clear()
    with fail_after(5):
        async with look.listed() as tools:
            before = asyncio.create_task(seen(tools))
            await until(lambda: look.looks == 1)
            look.version += 1
            after = [asyncio.create_task(seen(tools)) for _ in range(3)]
            for _ in range(5):
                await asyncio.sleep(0)
            assert look.looks == 1  # one at a time
            look.gate.set()
            assert [await before, *[await task for task in after]] == ["look1", "look2", "look2", "look2"]
    assert look.looks == 2


async def test_a_listing_that_hangs_is_ended_and_the_next_one_begins_anew() -> None:
    look = Look()
    look.gate.clear()
    with fail_after(5):
        async with look.listed(limit_s=0.02) as tools:
            together = await asyncio.gather(tools.get(), tools.get(), return_exceptions=True)
            assert [type(error) for error in together] == [TimeoutError, TimeoutError]
            look.gate.set()
            assert await seen(tools) == "look2"


async def test_whoever_gives_up_does_not_end_the_listing_for_others() -> None:
    look = Look()
    look.gate.clear()
    with fail_after(5):
        async with look.listed() as tools:
            impatient, patient = [asyncio.create_task(seen(tools)) for _ in range(2)]
            await until(lambda: look.looks == 1)
            impatient.cancel()
            with pytest.raises(asyncio.CancelledError):
                await impatient
            look.gate.set()
            assert await patient == await seen(tools) == "look1"


async def test_a_list_that_was_given_is_the_callers() -> None:
    look = Look()
    with fail_after(5):
        async with look.listed() as tools:
            (await tools.get()).clear()
            assert await seen(tools) == "look1"


async def test_a_listing_that_cancels_itself_is_an_error_and_not_the_end() -> None:
    async def look() -> list[ToolDefinition]:
        raise asyncio.CancelledError

    with fail_after(5):
        async with ToolList(look, lambda: 0) as tools:
            with pytest.raises(RuntimeError):
                await tools.get()
