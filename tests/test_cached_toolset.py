"""CachedToolset: what is kept, for whom, for how long, and what happens to calls that are made at once."""

from __future__ import annotations

import asyncio
import gc
import logging
import threading
import warnings
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import date
from functools import wraps
from pathlib import Path
from typing import Any

import anyio
import pytest
from pydantic import AnyUrl, BaseModel, Field, SecretStr
from pydantic_ai import Agent
from pydantic_ai.exceptions import ApprovalRequired, ModelRetry, ToolFailed
from pydantic_ai.models.test import TestModel
from pydantic_ai.tools import RunContext, Tool
from pydantic_ai.toolsets import AbstractToolset, FunctionToolset
from pydantic_ai.usage import RunUsage

from pais_sdk import AgentRuntime, ConfigurationError
from pais_sdk._current_run import CurrentRun, set_current_run
from pais_sdk.tools import CachedToolset, ToolExecutor
from pais_sdk.tools.argument_key import argument_key

from .agents import calls_then

pytestmark = pytest.mark.anyio


def context(
    *, run_id: str | None = "run-1", session: str | None = None, deps: Any = None, approved: bool = False
) -> RunContext[Any]:
    return RunContext(
        deps=deps,
        model=TestModel(),
        usage=RunUsage(),
        run_id=run_id,
        conversation_id=session,
        tool_call_approved=approved,
    )


async def call(
    toolset: AbstractToolset[Any],
    name: str,
    arguments: dict[str, Any] | None = None,
    *,
    ctx: RunContext[Any] | None = None,
) -> Any:
    """Call a tool as an agent does: by its own list, with validated arguments."""
    ctx = ctx or context()
    tool = (await toolset.get_tools(ctx))[name]
    return await toolset.call_tool(name, tool.args_validator.validate_python(arguments or {}), ctx, tool)


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Gate:
    """A tool that runs until it is let go, and says what it went through."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.error = error
        self.runs = 0
        self.cancelled = 0
        self.began = asyncio.Event()
        self.open = asyncio.Event()
        self.cleaned_up = asyncio.Event()
        self.cleaned_up.set()

    async def look_up(self, word: str = "a") -> list[str]:
        self.runs += 1
        self.began.set()
        try:
            await self.open.wait()
        except asyncio.CancelledError:
            with anyio.move_on_after(5):
                await self.cleaned_up.wait()
            self.cancelled += 1
            raise
        if self.error is not None:
            raise self.error
        return [word]


def counted(function: Callable[..., Any]) -> tuple[Callable[..., Any], list[dict[str, Any]]]:
    """Return a tool named `look_up` that notes each of its runs."""
    runs: list[dict[str, Any]] = []

    @wraps(function)
    def look_up(**arguments: Any) -> Any:
        runs.append(arguments)
        return function(**arguments)

    return look_up, runs


def caching(function: Callable[..., Any], **options: Any) -> CachedToolset[Any]:
    return CachedToolset(FunctionToolset([Tool(function, name="look_up")]), tools=["look_up"], **options)


async def started(*awaitables: Awaitable[Any]) -> list[asyncio.Task[Any]]:
    """Return tasks that have all run until they wait for something."""
    tasks = [asyncio.ensure_future(each) for each in awaitables]
    for _ in range(10):
        await asyncio.sleep(0)
    return tasks


# What is kept


async def test_an_equal_call_runs_the_tool_once() -> None:
    function, runs = counted(lambda city, days=1: f"{city} {days}")
    cached = caching(function)

    first = await call(cached, "look_up", {"city": "Oslo", "days": 2})
    again = await call(cached, "look_up", {"days": 2, "city": "Oslo"})
    other = await call(cached, "look_up", {"city": "Oslo", "days": 3})

    assert (first, again, other) == ("Oslo 2", "Oslo 2", "Oslo 3")
    assert len(runs) == 2
    assert (cached.hits, cached.misses) == (1, 2)


async def test_only_the_tools_that_are_named_are_kept() -> None:
    calls: list[str] = []

    def kept() -> str:
        calls.append("kept")
        return "kept"

    def never_kept() -> str:
        calls.append("never_kept")
        return "never kept"

    cached = CachedToolset(FunctionToolset([kept, never_kept]), tools=["kept"])
    for _ in range(2):
        await call(cached, "kept")
        await call(cached, "never_kept")

    assert calls == ["kept", "never_kept", "never_kept"]
    assert (cached.hits, cached.misses) == (1, 1)


async def test_a_result_is_kept_for_its_time() -> None:
    function, runs = counted(lambda: "now")
    clock = Clock()
    cached = caching(function, ttl_s=10, clock=clock)

    await call(cached, "look_up")
    clock.now += 9.9
    await call(cached, "look_up")
    assert len(runs) == 1
    clock.now += 0.1
    await call(cached, "look_up")
    assert len(runs) == 2


async def test_the_result_that_was_not_asked_for_the_longest_goes_first() -> None:
    function, runs = counted(lambda n: n)
    cached = caching(function, max_entries=2)

    for n in (1, 2, 1, 3):  # 3 takes the place of 2
        await call(cached, "look_up", {"n": n})
    assert len(runs) == 3
    await call(cached, "look_up", {"n": 1})
    assert len(runs) == 3
    await call(cached, "look_up", {"n": 2})
    assert len(runs) == 4


async def test_what_a_caller_changes_is_not_changed_for_others() -> None:
    cached = caching(lambda: {"items": [1]})

    first = await call(cached, "look_up")
    first["items"].append(2)
    second = await call(cached, "look_up")
    second["items"].append(3)

    assert await call(cached, "look_up") == {"items": [1]}


async def test_cleared_results_are_fetched_again() -> None:
    function, runs = counted(lambda: 1)
    cached = caching(function)
    await call(cached, "look_up")
    cached.clear()
    await call(cached, "look_up")
    assert len(runs) == 2
    assert (cached.hits, cached.misses) == (0, 2)


async def test_a_call_that_began_before_a_clear_is_not_joined_and_leaves_nothing_behind() -> None:
    gate = Gate()
    cached = caching(gate.look_up)
    with anyio.fail_after(5):
        (before,) = await started(call(cached, "look_up"))
        cached.clear()
        (after,) = await started(call(cached, "look_up"))
        assert gate.runs == 2
        cached.clear()
        gate.open.set()
        assert await before == await after == ["a"]
        await call(cached, "look_up")
    assert gate.runs == 3


@pytest.mark.parametrize("error", [ValueError("no"), ModelRetry("other words"), ToolFailed("gone"), ApprovalRequired()])
async def test_an_error_is_not_kept(error: Exception) -> None:
    errors = [error]

    def fail_once() -> str:
        if errors:
            raise errors.pop()
        return "fine"

    cached = caching(fail_once)
    with pytest.raises(type(error)):
        await call(cached, "look_up")
    assert await call(cached, "look_up") == "fine"


async def test_a_result_that_cannot_be_copied_is_fetched_every_time() -> None:
    cached = caching(lambda: threading.Lock())
    first, second = await call(cached, "look_up"), await call(cached, "look_up")
    assert first is not second
    assert (cached.hits, cached.misses) == (0, 2)


async def test_an_approval_is_for_one_call() -> None:
    approved_runs: list[str] = []

    def look_up(ctx: RunContext[Any]) -> str:
        if not ctx.tool_call_approved:
            raise ApprovalRequired
        approved_runs.append("ran")
        return "secret"

    cached = caching(look_up)
    assert await call(cached, "look_up", ctx=context(approved=True)) == "secret"
    with pytest.raises(ApprovalRequired):
        await call(cached, "look_up")
    assert approved_runs == ["ran"]


# Arguments


class Place(BaseModel):
    name: str
    note: str = Field(default="", exclude=True)


@dataclass
class Area:
    name: str
    tags: set[str] = field(default_factory=set[str])


async def test_arguments_of_many_types_tell_calls_apart() -> None:
    keys = [
        argument_key({"value": value})
        for value in (
            1, 1.0, True, "1", None, b"1", [1], {"a": 1}, date(2026, 1, 1), "2026-01-01", Path("1"), AnyUrl("http://a/1"),
            Place(name="x"), Place(name="x", note="y"), Area("x"), Area("x", {"a", "b"}), {"a", "b"}, float("nan"),
        )
    ]  # fmt: skip
    assert None not in keys
    assert len(set(keys)) == len(keys)
    assert argument_key({"value": {"b", "a"}}) == argument_key({"value": {"a", "b"}})


async def test_two_secrets_never_share_a_result() -> None:
    cached = caching(lambda key: key.get_secret_value()[:1])
    cached_typed = CachedToolset(FunctionToolset([with_secret]), tools=["with_secret"])
    assert await call(cached_typed, "with_secret", {"key": "anna"}) == "a"
    assert await call(cached_typed, "with_secret", {"key": "ben"}) == "b"
    assert (cached_typed.hits, cached_typed.misses) == (0, 2)
    assert cached.hits == 0


def with_secret(key: SecretStr) -> str:
    return key.get_secret_value()[:1]


@pytest.mark.parametrize("value", [object(), {("a", "b"): 1}, SecretStr("x"), {"a": {1: 2, "b": 3}}], ids=repr)
async def test_arguments_without_a_canonical_form_are_no_key(value: object) -> None:
    assert argument_key({"value": value}) is None


async def test_arguments_that_contain_themselves_are_no_key() -> None:
    endless: list[Any] = []
    endless.append(endless)
    assert argument_key({"value": endless}) is None


# For whom


async def test_runs_of_a_bare_agent_share_where_there_are_no_deps() -> None:
    function, runs = counted(lambda: "for all")
    cached = caching(function)
    agent = Agent(calls_then("done", ("look_up", "{}")), toolsets=[cached])
    await agent.run("go")
    await agent.run("again")
    assert len(runs) == 1


async def test_runs_of_a_bare_agent_share_nothing_where_there_are_deps() -> None:
    function, runs = counted(lambda: "private")
    cached = caching(function)
    await call(cached, "look_up", ctx=context(run_id="one", deps="anna"))
    await call(cached, "look_up", ctx=context(run_id="one", deps="anna"))
    await call(cached, "look_up", ctx=context(run_id="two", deps="ben"))
    assert len(runs) == 2


async def test_without_a_run_nothing_is_kept_for_deps() -> None:
    function, runs = counted(lambda: "private")
    cached = caching(function)
    for _ in range(2):
        await call(cached, "look_up", ctx=context(run_id=None, deps="anna"))
    assert len(runs) == 2
    assert (cached.hits, cached.misses) == (0, 2)


async def in_scope(scope: str | None, *calls: tuple[CachedToolset[Any], RunContext[Any]]) -> None:
    """Make calls in the task of a run of this scope."""

    async def run() -> None:
        set_current_run(CurrentRun(scope=scope))
        for cached, ctx in calls:
            await call(cached, "look_up", ctx=ctx)

    await asyncio.create_task(run())


async def test_runs_of_one_scope_share_and_those_of_others_do_not() -> None:
    function, runs = counted(lambda: "of the scope")
    cached = caching(function)
    for number, scope in enumerate(["anna", "ben", "anna", "ben"]):
        await in_scope(scope, (cached, context(run_id=f"run-{number}")))
    assert len(runs) == 2


async def test_runs_without_a_scope_share_within_their_session() -> None:
    function, runs = counted(lambda: "of the session")
    cached = caching(function)
    for number, session in enumerate(["one", "two", "one", "two"]):
        await in_scope(None, (cached, context(run_id=f"run-{number}", session=session)))
    assert len(runs) == 2
    await in_scope(None, (cached, context()), (cached, context()))
    await in_scope("one", (cached, context(session="two")))
    assert len(runs) == 5


async def test_what_is_shared_is_for_everyone() -> None:
    function, runs = counted(lambda: "for all")
    cached = caching(function, shared=True)
    for run_id in ("one", "two", None):
        await call(cached, "look_up", ctx=context(run_id=run_id))
    assert len(runs) == 1


async def test_a_function_may_say_whom_a_result_is_for() -> None:
    function, runs = counted(lambda: "for one user")
    cached = caching(function, scope=lambda ctx: ctx.deps)
    for run_id, user in (("one", "anna"), ("two", "anna"), ("three", "ben")):
        await call(cached, "look_up", ctx=context(run_id=run_id, deps=user))
    assert len(runs) == 2


async def test_runs_of_one_scope_of_a_runtime_share_what_is_kept() -> None:
    function, runs = counted(lambda: "private")
    cached = caching(function)
    agent = Agent(calls_then("done", ("look_up", "{}")), toolsets=[cached])
    async with AgentRuntime(agent) as runtime:
        for session in ("one", "two"):
            for scope in ("anna", "ben", None):
                await runtime.run("go", session_id=session, scope=scope)
    assert len(runs) == 4  # anna's, ben's, and one of each session without a scope


async def test_two_scopes_of_a_runtime_never_share_a_session_of_one_name() -> None:
    function, runs = counted(lambda: "private")
    cached = caching(function)
    agent = Agent(calls_then("done", ("look_up", "{}")), toolsets=[cached])
    async with AgentRuntime(agent) as runtime:
        for scope in ("anna", "ben"):
            await runtime.run("go", session_id="one", scope=scope)
    assert len(runs) == 2


# At once


async def test_equal_calls_at_once_run_the_tool_once() -> None:
    gate = Gate()
    cached = caching(gate.look_up)
    with anyio.fail_after(5):
        tasks = await started(*(call(cached, "look_up") for _ in range(5)))
        gate.open.set()
        results = await asyncio.gather(*tasks)
    assert results == [["a"]] * 5
    assert len({id(result) for result in results}) == 5
    assert gate.runs == 1
    assert (cached.hits, cached.misses) == (4, 1)


async def test_other_calls_do_not_wait() -> None:
    gate = Gate()
    cached = caching(gate.look_up)
    with anyio.fail_after(5):
        tasks = await started(*(call(cached, "look_up", {"word": word}) for word in "ab"))
        assert gate.runs == 2
        gate.open.set()
        assert await asyncio.gather(*tasks) == [["a"], ["b"]]


async def test_the_first_that_is_cancelled_takes_the_call_from_nobody() -> None:
    gate = Gate()
    cached = caching(gate.look_up)
    with anyio.fail_after(5):
        first, second = await started(call(cached, "look_up"), call(cached, "look_up"))
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        gate.open.set()
        assert await second == ["a"]
    assert (gate.runs, gate.cancelled) == (1, 0)
    assert await call(cached, "look_up") == ["a"]
    assert gate.runs == 1


async def test_the_last_that_is_cancelled_ends_the_call() -> None:
    gate = Gate()
    cached = caching(gate.look_up)
    with anyio.fail_after(5):
        tasks = await started(call(cached, "look_up"), call(cached, "look_up"))
        gate.cleaned_up.clear()
        for task in tasks:
            task.cancel()
        await started()
        assert [task.done() for task in tasks] == [True, False]  # the last waits until the tool has cleaned up
        (next_one,) = await started(call(cached, "look_up"))
        assert gate.runs == 2  # what is being cancelled cannot be joined
        gate.cleaned_up.set()
        await asyncio.wait(tasks)
        assert all(task.cancelled() for task in tasks)
        assert gate.cancelled == 1
        gate.open.set()
        assert await next_one == ["a"]
    assert gate.runs == 2


async def test_a_cancelled_scope_waits_for_the_tool_to_end() -> None:
    gate = Gate()
    cached = caching(gate.look_up)
    with anyio.fail_after(5):
        async with anyio.create_task_group() as group:
            group.start_soon(call, cached, "look_up")
            await gate.began.wait()
            gate.cleaned_up.clear()
            group.cancel_scope.cancel()
            asyncio.get_running_loop().call_soon(gate.cleaned_up.set)
    assert gate.cancelled == 1


async def test_an_error_reaches_all_who_wait_for_it() -> None:
    gate = Gate(ToolFailed("gone"))
    cached = caching(gate.look_up)
    with anyio.fail_after(5):
        tasks = await started(*(call(cached, "look_up") for _ in range(3)))
        gate.open.set()
        results = await asyncio.gather(*tasks, return_exceptions=True)
    assert results == [ToolFailed("gone")] * 3
    assert gate.runs == 1
    gate.error = None
    assert await call(cached, "look_up") == ["a"]


async def test_a_tool_that_wants_to_end_the_process_does_not_end_the_loop() -> None:
    gate = Gate(SystemExit(3))
    cached = caching(gate.look_up)
    gate.open.set()
    with pytest.raises(SystemExit):
        await call(cached, "look_up")


async def test_a_result_that_cannot_be_copied_is_fetched_by_each_who_waits() -> None:
    gate = Gate()
    locks: list[Any] = []

    async def look_up() -> Any:
        await gate.look_up()
        locks.append(threading.Lock())
        return locks[-1]

    cached = caching(look_up)
    with anyio.fail_after(5):
        tasks = await started(call(cached, "look_up"), call(cached, "look_up"))
        gate.open.set()
        results = await asyncio.gather(*tasks)
    assert len(locks) == 2
    assert {id(result) for result in results} == {id(lock) for lock in locks}


async def test_an_error_that_nobody_waits_for_leaves_no_warning() -> None:
    gate = Gate(ValueError("unseen"))
    cached = caching(gate.look_up)

    async def fails_when_cancelled() -> None:
        try:
            await gate.look_up()
        except asyncio.CancelledError:
            raise ValueError("while it was cancelled") from None

    cached = caching(fails_when_cancelled)
    with anyio.fail_after(5), warnings.catch_warnings():
        warnings.simplefilter("error")
        (task,) = await started(call(cached, "look_up"))
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        gc.collect()


def test_event_loops_do_not_wait_for_each_other() -> None:
    here = asyncio.new_event_loop()
    began: list[asyncio.Event] = []

    async def look_up() -> str:
        if began:
            return "fetched"
        began.append(asyncio.Event())
        began[0].set()
        await asyncio.Event().wait()
        return "never"

    cached = caching(look_up, shared=True)
    task = here.create_task(call(cached, "look_up"))
    while not began:
        here.run_until_complete(asyncio.sleep(0))

    async def elsewhere() -> Any:
        with anyio.fail_after(5):
            return await call(cached, "look_up")

    assert asyncio.run(elsewhere()) == "fetched"
    assert asyncio.run(elsewhere()) == "fetched"
    assert (cached.hits, cached.misses) == (1, 2)
    assert not task.done()
    task.cancel()
    here.run_until_complete(asyncio.wait([task]))
    here.close()


# As a toolset


async def test_an_agent_sees_the_tools_and_gets_what_is_kept() -> None:
    function, runs = counted(lambda: "kept")
    cached = caching(function, shared=True)
    agent = Agent(calls_then("done", ("look_up", "{}"), ("look_up", "{}")), toolsets=[cached])
    assert (await agent.run("go")).output == "done"
    async with agent.run_stream("again") as run:
        assert await run.get_output() is not None
    async with AgentRuntime(agent) as runtime:
        assert (await runtime.run("and again")).text == "done"
        async with runtime.stream("and once more") as stream:
            async for _ in stream:
                pass
        assert stream.outcome is not None
        assert stream.outcome.text == "done"
    assert len(runs) == 1
    assert cached.hits >= 5


class Remembering(FunctionToolset[Any]):
    """A toolset that is made anew for each run, and says when it is entered and left."""

    def __init__(self, seen: list[str]) -> None:
        super().__init__([Tool(lambda: "made", name="look_up")])
        self.seen = seen

    async def for_run(self, ctx: RunContext[Any]) -> AbstractToolset[Any]:
        return Remembering(self.seen)

    async def __aenter__(self) -> Any:
        self.seen.append("entered")
        return self

    async def __aexit__(self, *_: object) -> None:
        self.seen.append("left")


async def test_a_toolset_made_for_each_run_is_entered_and_left_and_shares_what_is_kept() -> None:
    seen: list[str] = []
    cached = CachedToolset(Remembering(seen), tools=["look_up"], shared=True)
    agent = Agent(calls_then("done", ("look_up", "{}")), toolsets=[cached])
    await agent.run("go")
    await agent.run("again")
    assert seen == ["entered", "left"] * 2
    assert (cached.hits, cached.misses) == (1, 1)


async def test_an_executor_counts_as_one_run() -> None:
    function, runs = counted(lambda: "kept")
    async with ToolExecutor() as tools:
        await tools.register_toolset(caching(function))
        assert [(await tools.execute("look_up")).result for _ in range(2)] == ["kept", "kept"]
    assert len(runs) == 1


async def test_visitors_reach_what_is_wrapped() -> None:
    inner = FunctionToolset[Any]([Tool(lambda: 1, name="look_up")])
    cached = CachedToolset(inner, tools=["look_up"])
    found: list[AbstractToolset[Any]] = []
    cached.apply(found.append)
    assert found == [inner]
    replaced = cached.visit_and_replace(lambda _: FunctionToolset([Tool(lambda: 2, name="look_up")]))
    assert isinstance(replaced, CachedToolset)
    assert await call(replaced, "look_up") == 2


async def test_a_name_that_no_tool_has_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    cached = CachedToolset(FunctionToolset([Tool(lambda: 1, name="there")]), tools=["there", "not_there"])
    with caplog.at_level(logging.WARNING, "pais_sdk.tools"):
        for _ in range(2):
            await call(cached, "there")
    assert [
        record.message for record in caplog.records if "not_there" in record.message and "'there'" not in record.message
    ]
    assert len(caplog.records) == 1


@pytest.mark.parametrize(
    "options",
    [
        {"tools": "look_up"},
        {"tools": []},
        {"tools": ["a"], "ttl_s": 0},
        {"tools": ["a"], "ttl_s": float("nan")},
        {"tools": ["a"], "max_entries": 0},
        {"tools": ["a"], "shared": True, "scope": str},
    ],
    ids=str,
)
def test_an_argument_that_cannot_work_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        CachedToolset(FunctionToolset[Any](), **options)
