"""Tasks that are given up: the remote agent hears of it, whoever gives up and however."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import anyio
import pytest
from pydantic_ai import Agent

from pais_sdk import Settings
from pais_sdk.client import RemoteAgent, RemoteText
from pais_sdk.client.remote_agent import _Until
from pais_sdk.errors import RemoteAgentError

from .agents import GatedModel
from .http_agents import served
from .peers import Listener, Peer, Seen, a2a_1_0, official, peer, piece_1_0, rpc, rpc_error, sse, task_1_0

pytestmark = pytest.mark.anyio


class Waiting:
    """A remote agent that has said its first words and waits; `cancelled` is set when it hears that it is over."""

    def __init__(self, url: str, said_first: asyncio.Event, cancelled: asyncio.Event) -> None:
        self.url = url
        self.said_first = said_first
        self.cancelled = cancelled


@asynccontextmanager
async def ours(*, a2a: bool) -> AsyncGenerator[Waiting]:
    model = GatedModel()
    settings = Settings(agent_a2a=a2a)  # pyright: ignore[reportCallIssue]
    async with served(Agent(model.model, name="waiting"), settings=settings) as here:
        yield Waiting(here.url, model.said_first, model.cancelled)


@asynccontextmanager
async def theirs(version: str) -> AsyncGenerator[Waiting]:
    listener = Listener()
    listener.gate.clear()
    async with official(listener, version=version, streaming=True) as here:
        yield Waiting(here.url, listener.said_first, listener.cancelled)


MAKES: dict[str, Callable[[], AbstractAsyncContextManager[Waiting]]] = {
    "ours over A2A": lambda: ours(a2a=True),
    "ours over chat": lambda: ours(a2a=False),
    "1.0": lambda: theirs("1.0"),
    "0.3": lambda: theirs("0.3"),
}


async def leaving(agent: RemoteAgent, said_first: asyncio.Event) -> None:
    async with agent.stream("hello") as events:
        assert isinstance(await anext(events), RemoteText)


async def raising(agent: RemoteAgent, said_first: asyncio.Event) -> None:
    with pytest.raises(ZeroDivisionError):
        async with agent.stream("hello") as events:
            await anext(events)
            raise ZeroDivisionError


async def cancelling(agent: RemoteAgent, said_first: asyncio.Event) -> None:
    task = asyncio.create_task(agent.run("hello"))
    await said_first.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def cancelling_twice(agent: RemoteAgent, said_first: asyncio.Event) -> None:
    heard = asyncio.Event()

    async def run() -> None:
        async with agent.stream("hello") as events:
            async for _ in events:
                heard.set()

    task = asyncio.create_task(run())
    await heard.wait()
    task.cancel()
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def leaving_a_scope(agent: RemoteAgent, said_first: asyncio.Event) -> None:
    heard = asyncio.Event()

    async def run() -> None:
        async with agent.stream("hello") as events:
            async for _ in events:
                heard.set()

    async with anyio.create_task_group() as group:
        group.start_soon(run)
        await heard.wait()
        group.cancel_scope.cancel()


async def out_of_time(agent: RemoteAgent, said_first: asyncio.Event) -> None:
    async with agent.stream("hello", timeout_s=60) as events:
        await anext(events)
        assert isinstance(events, _Until)
        events._deadline._at = anyio.current_time()  # so that its time is over when it has begun, and not before
        with pytest.raises(RemoteAgentError) as late:
            async for _ in events:
                pass
    assert late.value.reason == "timeout"


WAYS = [leaving, raising, cancelling_twice, leaving_a_scope, out_of_time]


@pytest.mark.parametrize("give_up", WAYS, ids=lambda way: way.__name__)
@pytest.mark.parametrize("make", MAKES)
async def test_a_task_that_is_given_up_ends_there(make: str, give_up: Callable[..., Any]) -> None:
    with anyio.fail_after(10):
        async with MAKES[make]() as there, RemoteAgent(there.url) as agent:
            await give_up(agent, there.said_first)
            await there.cancelled.wait()
            assert (await agent.card()).name  # the connections still work


async def test_a_run_that_is_cancelled_ends_the_task_there() -> None:
    with anyio.fail_after(10):
        async with ours(a2a=True) as there:
            await cancelling(RemoteAgent(there.url), there.said_first)
            await there.cancelled.wait()


@pytest.mark.parametrize("a2a", [True, False])
async def test_a_plain_run_with_a_time_that_is_cancelled_ends_the_task_there(a2a: bool) -> None:
    with anyio.fail_after(10):
        async with ours(a2a=a2a) as there:
            task = asyncio.create_task(RemoteAgent(there.url).run("hello", timeout_s=60))
            await there.said_first.wait()
            task.cancel()
            await there.cancelled.wait()
            with pytest.raises(asyncio.CancelledError):
                await task


async def test_a_loop_that_ends_cancels_the_task_there() -> None:
    """`asyncio.run` cancels what is left: the agent hears of that, too."""

    async def leave_it(url: str) -> None:
        agent = RemoteAgent(url)
        heard = asyncio.Event()

        async def run() -> None:
            async with agent.stream("hello") as events:
                async for _ in events:
                    heard.set()

        left = asyncio.create_task(run())
        await heard.wait()
        assert not left.done()

    with anyio.fail_after(10):
        async with theirs("1.0") as there:
            await asyncio.to_thread(lambda: asyncio.run(leave_it(there.url)))
            await there.cancelled.wait()


def _working(seen: Seen, cancel: Callable[[Seen], Any]) -> Any:
    if seen.body["method"] == "CancelTask":
        return cancel(seen)
    return sse(rpc(seen, {"task": task_1_0("WORKING")}), rpc(seen, piece_1_0("so far")), ends=asyncio.Event().wait)


@asynccontextmanager
async def deaf(cancel: Callable[[Seen], Any]) -> AsyncGenerator[Peer]:
    """Serve an agent that works for ever and answers CancelTask like this."""
    async with peer(a2a_1_0(lambda seen: _working(seen, cancel))) as here:
        yield here


async def _for_ever(seen: Seen) -> Any:
    await asyncio.Event().wait()


@pytest.mark.parametrize(
    "cancel",
    [
        lambda seen: rpc_error(seen, -32002, "Task cannot be canceled"),
        lambda seen: rpc(seen, task_1_0("COMPLETED")),
        lambda seen: rpc(seen, {"odd": 1}),
        lambda seen: "text",
    ],
    ids=["refused", "over", "odd", "text"],
)
async def test_an_agent_that_does_not_cancel_stops_nobody(cancel: Callable[[Seen], Any]) -> None:
    with anyio.fail_after(5):
        async with deaf(cancel) as here:
            await leaving(RemoteAgent(here.url), asyncio.Event())
    assert here.methods == ["SendStreamingMessage", "CancelTask"]
    assert here.posts[1].body["params"]["id"] == "task-1"


async def test_an_agent_that_is_silent_about_a_cancellation_is_left_after_a_while(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("pais_sdk.client.remote_agent._CANCEL_S", 0.5)
    with anyio.fail_after(5):
        async with deaf(_for_ever) as here:
            await leaving(RemoteAgent(here.url), asyncio.Event())
    assert here.methods == ["SendStreamingMessage", "CancelTask"]


async def test_a_task_that_is_over_is_not_cancelled() -> None:
    with anyio.fail_after(5):
        async with official(Listener(), version="1.0", streaming=True) as there, RemoteAgent(there.url) as agent:
            async with agent.stream("hello") as events:
                last = [event async for event in events][-1]
            assert last.text == "official heard hello"  # pyright: ignore[reportAttributeAccessIssue]

        def answer(seen: Seen) -> Any:
            return sse(rpc(seen, {"task": task_1_0("COMPLETED", "all")}))

        async with peer(a2a_1_0(answer)) as here:
            await RemoteAgent(here.url).run("hello")
    assert here.methods == ["SendStreamingMessage"]


async def test_giving_up_leaves_no_task_behind() -> None:
    async def give_up(url: str) -> set[asyncio.Task[Any]]:
        await leaving(RemoteAgent(url), asyncio.Event())
        return asyncio.all_tasks() - {asyncio.current_task()}  # pyright: ignore[reportReturnType]

    with anyio.fail_after(10):
        async with theirs("1.0") as there:
            assert await asyncio.to_thread(lambda: asyncio.run(give_up(there.url))) == set()
            await there.cancelled.wait()
