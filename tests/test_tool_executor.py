"""ToolExecutor: tools and MCP servers without a model."""

from __future__ import annotations

import asyncio
import math
import threading
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import anyio
import pytest
from pydantic import BaseModel
from pydantic_ai import Agent
from pydantic_ai.exceptions import ApprovalRequired, CallDeferred, ModelRetry, ToolFailed
from pydantic_ai.messages import BinaryContent, CustomEvent, ToolReturn
from pydantic_ai.models.test import TestModel
from pydantic_ai.tools import RunContext, Tool, ToolDefinition
from pydantic_ai.toolsets import ExternalToolset, FunctionToolset, ToolsetTool

from pais_sdk import ConfigurationError, InvalidRequestError
from pais_sdk.tools import ToolExecutor, ToolResult

from .agents import calls_then

pytestmark = pytest.mark.anyio


def add(first: int, second: int = 1) -> int:
    """Add two numbers.

    Args:
        first: One number.
        second: The other.
    """
    return first + second


async def error_of(tools: ToolExecutor, name: Any, args: Any = None, **options: Any) -> str:
    """Return what a call that fails says."""
    result = await tools.execute(name, args, **options)
    assert not result.success
    assert result.result is None
    assert result.error is not None
    return result.error


def executor_of(*functions: Any, **options: Any) -> ToolExecutor:
    tools = ToolExecutor(**options)
    for function in functions:
        tools.register_tool(function)
    return tools


# Functions


async def test_a_function_is_called_with_its_arguments() -> None:
    tools = executor_of(add)
    result = await tools.execute("add", {"first": "2", "second": 3})
    assert result == ToolResult(True, 5)
    assert (await tools.execute("add", {"first": 2})).result == 3


async def test_functions_of_every_kind_are_tools() -> None:
    tools = ToolExecutor(deps="deps")

    @tools.register_tool
    async def wait_for(ctx: RunContext[str]) -> str:
        await asyncio.sleep(0)
        return f"waited with {ctx.deps}"

    @tools.register_tool
    def look_at(ctx: RunContext[str], what: str) -> str:
        return f"{what} with {ctx.deps} as {ctx.tool_name}"

    made = Tool(add, name="plus")
    assert tools.register_tool(made) is made
    assert look_at.__name__ == "look_at"
    assert (await tools.execute("wait_for")).result == "waited with deps"
    assert (await tools.execute("look_at", {"what": "it"})).result == "it with deps as look_at"
    assert (await tools.execute("plus", {"first": 1})).result == 2


async def test_tools_are_listed_as_a_model_sees_them() -> None:
    tools = executor_of(add)
    (definition,) = await tools.list_tools()
    assert isinstance(definition, ToolDefinition)
    assert (definition.name, definition.description) == ("add", "Add two numbers.")
    assert definition.parameters_json_schema["required"] == ["first"]


async def test_a_tool_that_is_renamed_as_it_is_listed_has_its_new_name() -> None:
    async def rename(ctx: RunContext[Any], tool: ToolDefinition) -> ToolDefinition:
        return replace(tool, name="plus")

    tools = executor_of(Tool(add, prepare=rename))
    assert [tool.name for tool in await tools.list_tools()] == ["plus"]
    assert (await tools.execute("plus", {"first": 1})).result == 2
    assert await error_of(tools, "add") == "there is no tool 'add'; known tools: plus"


async def test_a_name_is_registered_once() -> None:
    tools = executor_of(add)
    with pytest.raises(ConfigurationError, match="'add' already"):
        tools.register_tool(add)
    assert len(await tools.list_tools()) == 1


@pytest.mark.parametrize("thing", [partial(add, second=2), FunctionToolset(), "add", None])
async def test_what_is_no_function_is_refused(thing: Any) -> None:
    tools = ToolExecutor()
    with pytest.raises(ConfigurationError, match="is no tool; use a function"):
        tools.register_tool(thing)
    assert await tools.list_tools() == []


class Point(BaseModel):
    x: int


async def test_results_are_what_the_tool_returned() -> None:
    picture = BinaryContent(b"\x89PNG", media_type="image/png")
    point = Point(x=1)

    def give(what: str) -> Any:
        return {
            "picture": picture,
            "point": point,
            "nothing": None,
            "wrapped": ToolReturn("inner", content="for the model", metadata={"a": 1}),
        }[what]

    tools = executor_of(give)
    assert (await tools.execute("give", {"what": "picture"})).result is picture
    assert (await tools.execute("give", {"what": "point"})).result is point
    assert await tools.execute("give", {"what": "nothing"}) == ToolResult(True, None)
    assert (await tools.execute("give", {"what": "wrapped"})).result == "inner"


async def test_a_result_is_true_when_the_call_succeeded() -> None:
    tools = executor_of(lambda: None)
    assert not await tools.execute("no such tool")
    assert ToolResult(True, 0)
    assert not ToolResult(False, error="no")


@dataclass(kw_only=True)
class Halfway(CustomEvent):
    percent: int


async def test_a_tool_that_tells_its_progress_runs_though_nobody_listens() -> None:
    async def work(ctx: RunContext[Any]) -> str:
        await ctx.emit(Halfway(percent=50))
        return "done"

    assert (await executor_of(work).execute("work")).result == "done"


async def test_a_tool_that_asks_the_model_is_told_that_there_is_none() -> None:
    async def think(ctx: RunContext[Any]) -> str:
        return (await Agent(ctx.model).run("Hello?")).output  # type: ignore[arg-type]

    assert "called without a run, so there is no model" in await error_of(executor_of(think), "think")


# What goes wrong


async def test_an_unknown_name_is_told_with_those_that_are_like_it() -> None:
    tools = executor_of(add, Tool(add, name="read_file"))
    assert await error_of(tools, "read_files") == (
        "there is no tool 'read_files'; did you mean 'read_file'? Known tools: add, read_file"
    )
    assert await error_of(tools, "zzz") == "there is no tool 'zzz'; known tools: add, read_file"
    assert "there is no tool 5" in await error_of(tools, 5)
    assert await error_of(ToolExecutor(), "add") == "there is no tool 'add': none is registered"


async def test_of_many_tools_some_are_named() -> None:
    tools = executor_of(*(Tool(add, name=f"tool_{number:03}") for number in range(50)))
    assert (await error_of(tools, "zzz")).endswith("tool_019 and 30 more")


async def test_arguments_that_do_not_fit_are_named_with_what_is_wrong() -> None:
    tools = executor_of(add)
    assert await error_of(tools, "add", {"second": "many", "third": 3}) == (
        "the arguments of 'add' do not fit: first: Field required; "
        "second: Input should be a valid integer, unable to parse string as an integer (got 'many'); "
        "third: Extra inputs are not permitted (got 3). It takes first, second"
    )
    assert "(got 'xxxx" in await error_of(tools, "add", {"first": "x" * 10_000})
    assert len(await error_of(tools, "add", {"first": "x" * 10_000})) < 400


@pytest.mark.parametrize("args", [["first", 1], "first", 5, {1}], ids=repr)
async def test_arguments_that_are_no_mapping_are_refused(args: Any) -> None:
    assert f"must be a dict of names and values, such as {{'path': '/tmp'}}, not {type(args).__name__}" in (
        await error_of(executor_of(add), "add", args)
    )


async def test_names_of_arguments_that_are_no_text_are_refused() -> None:
    assert "do not fit" in await error_of(executor_of(add), "add", {1: 2})


class Odd(Exception):  # noqa: N818 - somebody else's
    def __str__(self) -> str:
        return ""


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ValueError("no such city"), "'fail' raised ValueError: no such city"),
        (Odd(), "'fail' raised Odd"),
        (TimeoutError("of its own"), "'fail' raised TimeoutError: of its own"),
        (SystemExit(3), "'fail' raised SystemExit: 3"),
        (asyncio.CancelledError("by itself"), "'fail' raised CancelledError: by itself"),
        (ExceptionGroup("several", [ValueError("a")]), "'fail' raised ExceptionGroup: several (1 sub-exception)"),
        (ModelRetry("give a city"), "'fail' wants to be called in another way: give a city"),
        (ToolFailed("it is closed"), "'fail' failed: it is closed"),
        (
            ApprovalRequired(),
            "'fail' needs an approval, and nobody gives one here; run it by an agent that asks for approvals",
        ),
        (
            CallDeferred(),
            "'fail' is executed elsewhere, so there is no result here; run it by an agent that hands such calls on",
        ),
    ],
    ids=lambda value: type(value).__name__,
)
async def test_what_a_tool_raises_is_told_and_not_raised(error: BaseException, text: str) -> None:
    async def fail() -> None:
        raise error

    assert await error_of(executor_of(fail, timeout_s=5), "fail") == text


async def test_what_fails_in_a_thread_is_told_too() -> None:
    def fail() -> None:
        raise KeyError("name")

    assert await error_of(executor_of(fail), "fail") == "'fail' raised KeyError: 'name'"


async def test_a_validation_error_of_the_tool_itself_is_not_the_callers() -> None:
    def fail() -> Point:
        return Point(x="no")  # type: ignore[arg-type]

    assert (await error_of(executor_of(fail), "fail")).startswith("'fail' raised ValidationError: 1 validation error")


async def test_a_tool_that_needs_an_approval_does_not_run() -> None:
    ran: list[str] = []

    def delete() -> None:
        ran.append("deleted")

    assert "needs an approval" in await error_of(executor_of(Tool(delete, requires_approval=True)), "delete")
    assert not ran


async def test_a_tools_own_check_of_its_arguments_is_asked() -> None:
    async def check(ctx: RunContext[Any], first: int, second: int = 1) -> None:
        if first < 0:
            raise ModelRetry("first must not be negative")

    tools = executor_of(Tool(add, args_validator=check))
    assert (await tools.execute("add", {"first": 1})).result == 2
    assert "first must not be negative" in await error_of(tools, "add", {"first": -1})


# Time


async def test_a_call_that_takes_too_long_is_given_up() -> None:
    ended = asyncio.Event()

    async def hang() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    text = "'hang' took longer than 0.01 s; allow it more with timeout_s"
    with anyio.fail_after(5):
        assert await error_of(executor_of(hang, timeout_s=0.01), "hang") == text
        assert ended.is_set()
        assert await error_of(executor_of(hang, timeout_s=60), "hang", timeout_s=0.01) == text


async def test_nobody_waits_for_a_sync_tool_that_takes_too_long() -> None:
    began, go_on, went_on = threading.Event(), threading.Event(), threading.Event()

    def hang() -> None:
        began.set()
        assert go_on.wait(5)
        went_on.set()

    with anyio.fail_after(5):
        while not began.is_set():  # the time may be over before its thread is there
            assert "took longer" in await error_of(executor_of(hang), "hang", timeout_s=0.01)
        go_on.set()
        assert await asyncio.to_thread(went_on.wait, 5)


async def test_one_call_may_take_any_time() -> None:
    tools = executor_of(add, timeout_s=0.000_001)
    assert (await tools.execute("add", {"first": 1}, timeout_s=math.inf)).result == 2


@pytest.mark.parametrize("timeout_s", [0, -1, math.nan])
async def test_a_timeout_that_allows_nothing_is_refused(timeout_s: float) -> None:
    with pytest.raises(ConfigurationError):
        ToolExecutor(timeout_s=timeout_s)
    with pytest.raises(InvalidRequestError):
        await executor_of(add).execute("add", {"first": 1}, timeout_s=timeout_s)


async def test_a_sync_tool_does_not_stop_the_loop() -> None:
    go_on = threading.Event()

    def hang() -> bool:
        return go_on.wait(5)

    tools = executor_of(hang)
    with anyio.fail_after(5):
        task = asyncio.create_task(tools.execute("hang"))
        await asyncio.sleep(0)
        go_on.set()
        assert (await task).result is True


async def test_a_cancelled_call_cancels_the_tool() -> None:
    began, cancelled = asyncio.Event(), asyncio.Event()

    async def hang() -> None:
        began.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise

    with anyio.fail_after(5):
        task = asyncio.create_task(executor_of(hang, timeout_s=60).execute("hang"))
        await began.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert cancelled.is_set()


async def test_calls_run_at_once() -> None:
    meeting = asyncio.Barrier(5)

    async def meet() -> int:
        return await meeting.wait()

    tools = executor_of(meet)
    with anyio.fail_after(5):
        results = await asyncio.gather(*(tools.execute("meet") for _ in range(5)))
    assert sorted(result.result for result in results) == [0, 1, 2, 3, 4]


# Toolsets


class Entered(FunctionToolset[Any]):
    """A toolset that must be left by the task that entered it."""

    def __init__(self, *tools: Any) -> None:
        super().__init__([*tools])
        self.task: asyncio.Task[Any] | None = None
        self.left = False

    async def __aenter__(self) -> Any:
        self.task = asyncio.current_task()
        return self

    async def __aexit__(self, *_: object) -> None:
        assert asyncio.current_task() is self.task
        self.left = True


async def test_a_toolset_stays_entered_until_the_end() -> None:
    toolset = Entered(add)
    async with ToolExecutor() as tools:
        await asyncio.create_task(tools.register_toolset(toolset))
        assert (await tools.execute("add", {"first": 1})).result == 2
        assert not toolset.left
        with pytest.raises(ConfigurationError, match="registered already"):
            await tools.register_toolset(toolset)
    assert toolset.left
    assert "none is registered" in await error_of(tools, "add")


async def test_a_toolset_whose_names_are_taken_is_refused_and_left() -> None:
    tools, toolset = executor_of(add), Entered(add)
    with pytest.raises(ConfigurationError, match=r"'add' already; use toolset\.prefixed"):
        await tools.register_toolset(toolset)
    assert toolset.left
    await tools.register_toolset(toolset.prefixed("more"))
    assert (await tools.execute("more_add", {"first": 1})).result == 2
    await tools.aclose()


async def test_a_name_that_came_up_twice_is_told() -> None:
    async with ToolExecutor() as tools:
        await tools.register_toolset(FunctionToolset([add]))
        tools.register_tool(add)
        assert await error_of(tools, "add") == "several tools are named 'add'; rename all but one"


class Slow(Entered):
    """A toolset that is never ready."""

    def __init__(self) -> None:
        super().__init__()
        self.began = asyncio.Event()

    async def __aenter__(self) -> Any:
        try:
            self.began.set()
            await asyncio.Event().wait()
        finally:
            self.left = True


async def test_a_cancelled_registration_ends_what_it_began() -> None:
    tools, slow = ToolExecutor(), Slow()
    with anyio.fail_after(5):
        task = asyncio.create_task(tools.register_toolset(slow))
        await slow.began.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert slow.left
        assert len(tools.toolsets) == 2


class Broken(FunctionToolset[Any]):
    async def __aenter__(self) -> Any:
        raise OSError("cannot be reached")


async def test_a_toolset_that_cannot_be_entered_is_not_registered() -> None:
    tools = executor_of(add)
    with pytest.raises(OSError, match="cannot be reached"):
        await tools.register_toolset(Broken())
    assert len(tools.toolsets) == 2
    assert (await tools.execute("add", {"first": 1})).result == 2


class Moody(FunctionToolset[Any]):
    """A toolset that cannot list its tools any more."""

    ill = False

    async def get_tools(self, ctx: RunContext[Any]) -> dict[str, ToolsetTool[Any]]:
        if self.ill:
            raise OSError("gone")
        return await super().get_tools(ctx)


async def test_a_toolset_that_cannot_be_listed_takes_no_other_with_it(caplog: pytest.LogCaptureFixture) -> None:
    moody = Moody([Tool(add, name="sum")])
    async with executor_of(add) as tools:
        await tools.register_toolset(moody)
        moody.ill = True
        assert (await tools.execute("add", {"first": 1})).result == 2
        assert "there is no tool 'sum'" in await error_of(tools, "sum")
        assert [tool.name for tool in await tools.list_tools()] == ["add"]
    assert "cannot be listed" in caplog.text


async def test_what_is_executed_elsewhere_is_told() -> None:
    async with ToolExecutor() as tools:
        await tools.register_toolset(ExternalToolset([ToolDefinition(name="browser")]))
        assert "executed elsewhere" in await error_of(tools, "browser")


async def test_an_agent_uses_the_same_tools() -> None:
    tools = executor_of(add)
    async with tools:
        await tools.register_toolset(FunctionToolset([Tool(lambda: "more", name="more")]))
        agent = Agent(calls_then("done", ("add", '{"first": 1}'), ("more", "{}")), toolsets=tools.toolsets)
        tools.register_tool(Tool(add, name="later"))
        model = TestModel(call_tools=[])
        await agent.run("go", model=model)
        assert model.last_model_request_parameters is not None
        seen = [tool.name for tool in model.last_model_request_parameters.function_tools]
        assert sorted(seen) == ["add", "later", "more"] == sorted(tool.name for tool in await tools.list_tools())
