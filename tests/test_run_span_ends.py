"""When `server-run` ends: once, with the later of the run and its reader, however either of them ends."""

from __future__ import annotations

import asyncio
import gc
import json
import threading
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from typing import Any

import httpx
import pytest
from anyio import fail_after
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import StatusCode
from pydantic_ai import Agent
from pydantic_ai.messages import ModelMessage
from pydantic_ai.models.function import AgentInfo

from pais_sdk import (
    AgentRuntime,
    LocalMemory,
    MemoryUnavailableError,
    RunCancelledError,
    RunEnded,
    RunFailedError,
    RunStream,
    serve,
)
from pais_sdk._loop import loop_thread

from .agents import GatedModel, Pieces, echo_agent, model_of
from .http_agents import CHAT, PLAIN_HTTP, FailingModel, body, served, until
from .telemetry import Recorded, recorded

pytestmark = pytest.mark.anyio

Runtime = AgentRuntime[Any]


def runs(seen: Recorded) -> list[ReadableSpan]:
    return seen.named("server-run")


def stop_reasons(seen: Recorded) -> list[Any]:
    return [(span.attributes or {})["pais_sdk.stop_reason"] for span in runs(seen)]


def check_balanced(seen: Recorded, count: int) -> None:
    """Check that the metrics know of so many runs, and of none that goes on."""
    metrics = seen.metrics()
    assert sum(point.value for _, point in metrics["pais_sdk.runs"]) == count
    assert {point.value for _, point in metrics.get("pais_sdk.active_runs", [])} <= {0}


async def _interrupt(runtime: Runtime, gated: GatedModel, run: asyncio.Task[Any]) -> None:
    gated.words = ("two",)
    await runtime.run("second", session_id="s", surface="second")


async def _cancel_the_task(runtime: Runtime, gated: GatedModel, run: asyncio.Task[Any]) -> None:
    run.cancel()


CANCELS: dict[str, Callable[[Runtime, GatedModel, asyncio.Task[Any]], Awaitable[Any]]] = {
    "by its session": lambda runtime, gated, run: runtime.cancel("s"),
    "all": lambda runtime, gated, run: runtime.cancel_all(),
    "by the session's deletion": lambda runtime, gated, run: runtime.delete_session("s"),
    "by another run": _interrupt,
    "with its caller": _cancel_the_task,
    "by the end of the runtime": lambda runtime, gated, run: runtime.close(),
}


async def _plain(runtime: Runtime) -> None:
    with suppress(RunCancelledError):
        await runtime.run("go", session_id="s")


async def _streamed(runtime: Runtime) -> None:
    with suppress(RunCancelledError):
        async with runtime.stream("go", session_id="s") as run:
            async for _ in run:
                pass


@pytest.mark.parametrize("call", [_plain, _streamed], ids=["run", "stream"])
@pytest.mark.parametrize("how", CANCELS)
async def test_a_cancelled_run_ends_its_span_once_and_is_no_error(
    how: str, call: Callable[[Runtime], Coroutine[Any, Any, None]]
) -> None:
    gated = GatedModel()
    with fail_after(5), recorded() as seen:
        async with AgentRuntime(Agent(gated.model), on_busy="interrupt") as runtime:
            run = asyncio.create_task(call(runtime))
            await gated.said_first.wait()
            if how == "by another run":
                gated.gate.set()
            await CANCELS[how](runtime, gated, run)
            await asyncio.wait([run])
        first = [span for span in runs(seen) if (span.attributes or {})["pais_sdk.surface"] == "python"]
        check_balanced(seen, len(runs(seen)))
    [span] = first
    assert (span.attributes or {})["pais_sdk.stop_reason"] == "cancelled"
    assert span.status.status_code is StatusCode.UNSET
    assert not span.events


async def test_a_run_that_is_cancelled_while_it_waits_was_cancelled_and_had_no_place() -> None:
    gated = GatedModel()
    with fail_after(5), recorded() as seen:
        async with AgentRuntime(Agent(gated.model)) as runtime:
            first = asyncio.create_task(_plain(runtime))
            await gated.said_first.wait()
            waiting = [asyncio.create_task(call(runtime)) for call in (_plain, _streamed)]
            await until(lambda: runtime.admission.waiting == 2)
            waiting[0].cancel()
            await asyncio.wait(waiting[:1])
            assert stop_reasons(seen) == ["cancelled"]
            await runtime.cancel("s")
            await asyncio.wait([first, *waiting])
        assert stop_reasons(seen) == ["cancelled"] * 3
        metrics = seen.metrics()
    [(_, waits)] = metrics["pais_sdk.run.queue_wait"]
    active = [point.value for labels, point in metrics["pais_sdk.active_runs"] if labels == {"surface": "python"}]
    assert (waits.count, active) == (1, [0])


async def test_the_span_of_a_stream_lasts_until_its_reader_has_left() -> None:
    with recorded() as seen:
        async with AgentRuntime(echo_agent()) as runtime:
            async with runtime.stream("hi") as run:
                events = [event async for event in run]
                await runtime.ended()
                assert isinstance(events[-1], RunEnded)
                assert not runs(seen)
                check_balanced(seen, 1)  # the metrics are about the run alone
            assert stop_reasons(seen) == ["end_turn"]


async def test_the_span_of_a_run_that_finishes_unread_lasts_until_its_end() -> None:
    gated = GatedModel()
    with fail_after(5), recorded() as seen:
        async with AgentRuntime(Agent(gated.model), on_disconnect="finish") as runtime:
            async with runtime.stream("hi") as run:
                await anext(run)
            assert not runs(seen)
            gated.gate.set()
            await runtime.ended()
            assert stop_reasons(seen) == ["end_turn"]
            check_balanced(seen, 1)


@pytest.mark.parametrize(("on_disconnect", "stop_reason"), [("cancel", "cancelled"), ("finish", "end_turn")])
@pytest.mark.parametrize("elsewhere", [False, True], ids=["here", "on another loop"])
async def test_a_reader_that_forgets_to_leave_ends_its_run_and_the_span_all_the_same(
    elsewhere: bool, on_disconnect: Any, stop_reason: str
) -> None:
    async def many(messages: list[ModelMessage], info: AgentInfo) -> Pieces:
        for number in range(100):  # more than wait for a reader
            yield f"{number} "

    runtime = AgentRuntime(Agent(model_of(many)), on_disconnect=on_disconnect)
    with fail_after(5), recorded() as seen:
        if elsewhere:
            await asyncio.to_thread(loop_thread().run, runtime.open)
        run: RunStream[str] | None = await runtime.stream("hi").__aenter__()
        await anext(run)
        assert not runs(seen)
        run = None
        gc.collect()
        await runtime.ended()
        assert stop_reasons(seen) == [stop_reason]
        check_balanced(seen, 1)
        await runtime.close()


async def test_a_reader_that_forgets_to_leave_when_all_is_read_ends_the_span() -> None:
    with fail_after(5), recorded() as seen:
        async with AgentRuntime(echo_agent()) as runtime:
            run: RunStream[str] | None = await runtime.stream("hi").__aenter__()
            async for _ in run:
                pass
            await runtime.ended()
            assert not runs(seen)
            run = None
            gc.collect()
            await until(lambda: bool(runs(seen)))
        assert stop_reasons(seen) == ["end_turn"]


async def test_a_stream_that_nobody_enters_is_no_run() -> None:
    with recorded() as seen:
        AgentRuntime(echo_agent()).stream("hi")
        gc.collect()
        assert not runs(seen)
        assert "pais_sdk.runs" not in seen.metrics()


async def test_a_caller_that_gives_up_before_the_run_begins_ends_its_span() -> None:
    runtime, busy, go_on = AgentRuntime(echo_agent()), threading.Event(), threading.Event()

    def block() -> None:
        busy.set()
        go_on.wait()

    with fail_after(5), recorded() as seen:
        await asyncio.to_thread(loop_thread().run, runtime.open)
        loop_thread().loop.call_soon_threadsafe(block)
        await asyncio.to_thread(busy.wait)
        given_up = [asyncio.create_task(call(runtime)) for call in (_plain, _streamed)]
        await asyncio.sleep(0)  # they are on their way to the other loop
        for task in given_up:
            task.cancel()
        await asyncio.sleep(0)
        go_on.set()
        await asyncio.wait(given_up)
        await runtime.ended()
        await asyncio.to_thread(loop_thread().run, runtime.close)
        assert stop_reasons(seen) == ["cancelled"] * 2
        check_balanced(seen, 2)


async def test_a_caller_that_gives_up_just_when_the_run_has_begun_ends_its_span() -> None:
    gated, blocked = GatedModel(), threading.Event()
    runtime = AgentRuntime(Agent(gated.model))
    with fail_after(5), recorded() as seen:
        await asyncio.to_thread(loop_thread().run, runtime.open)
        entering = asyncio.ensure_future(runtime.stream("go").__aenter__())
        await asyncio.sleep(0)  # handed over
        while runtime.admission.active == 0:  # this loop is blocked, so it does not hear that the run has begun
            blocked.wait(0.001)
        entering.cancel()
        await asyncio.wait([entering])
        await runtime.ended()
        assert stop_reasons(seen) == ["cancelled"]
        check_balanced(seen, 1)
        await runtime.close()


async def test_a_run_whose_task_is_cancelled_before_its_first_step_ends_as_one() -> None:
    with fail_after(5), recorded() as seen:
        async with AgentRuntime(echo_agent()) as runtime:
            request = runtime._check("hi", {}, streaming=False)  # pyright: ignore[reportPrivateUsage]
            exchange = await runtime.begin(request, until_held=False)
            exchange.task.cancel()
            await asyncio.wait([exchange.ended])
        assert stop_reasons(seen) == ["cancelled"]
        check_balanced(seen, 1)
    assert exchange.outcome is not None


def test_the_end_of_the_loop_ends_the_span() -> None:
    gated: list[GatedModel] = []

    async def begin(call: Callable[[Runtime], Coroutine[Any, Any, None]]) -> asyncio.Task[Any]:
        gated[:] = [GatedModel()]
        task = asyncio.create_task(call(AgentRuntime(Agent(gated[0].model))))  # pyright: ignore[reportArgumentType]
        await gated[0].said_first.wait()
        return task

    with recorded() as seen:
        for call in (_plain, _streamed):
            asyncio.run(begin(call))
        assert stop_reasons(seen) == ["cancelled"] * 2
        check_balanced(seen, 2)


def test_a_loop_that_never_ran_again_ends_the_span_when_the_runtime_opens_elsewhere() -> None:
    runtime, loop = AgentRuntime(Agent((gated := GatedModel()).model)), asyncio.new_event_loop()

    async def begin() -> list[asyncio.Task[Any]]:
        tasks = [asyncio.create_task(call(runtime)) for call in (_plain, _streamed_elsewhere)]
        await until(lambda: gated.requests == 2)
        return tasks

    async def elsewhere() -> None:
        gated.gate = asyncio.Event()
        gated.gate.set()
        await runtime.run("again", session_id="other")
        await runtime.close()

    with recorded() as seen:
        loop.run_until_complete(begin())
        assert not runs(seen)
        asyncio.run(elsewhere())
        assert stop_reasons(seen) == ["cancelled", "end_turn"]  # the reader of the stream has not left
        for task in (left := asyncio.all_tasks(loop)):
            task.cancel()
        loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        loop.close()
        assert sorted(stop_reasons(seen)) == ["cancelled", "cancelled", "end_turn"]
        check_balanced(seen, 3)


async def _streamed_elsewhere(runtime: Runtime) -> None:
    async with runtime.stream("go", session_id="streamed") as run:
        async for _ in run:
            pass


async def test_a_memory_that_does_not_take_the_run_is_its_error() -> None:
    class Forgetful(LocalMemory):
        def scoped(self, scope: str | None) -> Any:
            return self

        def open_session(self, *args: Any, **options: Any) -> Any:
            session = super().open_session(*args, **options)
            return _Unwritable(session)

    class _Unwritable:
        def __init__(self, opened: Any) -> None:
            self._opened = opened

        async def __aenter__(self) -> Any:
            session = await self._opened.__aenter__()

            async def append(*args: Any, **options: Any) -> None:
                raise MemoryUnavailableError

            session.append = append
            return session

        async def __aexit__(self, *error: Any) -> Any:
            return await self._opened.__aexit__(*error)

    with recorded() as seen:
        with pytest.raises(RunFailedError):
            await AgentRuntime(echo_agent(), memory=Forgetful()).run("hi")
        [span] = runs(seen)
        check_balanced(seen, 1)
    assert (span.status.status_code, span.status.description) == (StatusCode.ERROR, "MemoryUnavailableError")


class Wire:
    """A chat request without a socket: keeps what is sent, and looks for the span at each piece."""

    def __init__(self, seen: Recorded, *, gone_after: int | None = None) -> None:
        self.pieces: list[bytes] = []
        self.spans_then: list[int] = []
        self._seen = seen
        self._request: list[Any] = [
            {"type": "http.request", "body": json.dumps(body("hi", stream=True)).encode(), "more_body": False}
        ]
        self._gone = asyncio.Event()
        self._gone_after = gone_after

    async def receive(self) -> Any:
        if self._request:
            return self._request.pop()
        await self._gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Any) -> None:
        if message["type"] == "http.response.body":
            self.spans_then.append(len(runs(self._seen)))
            self.pieces.append(message["body"])
            if len(self.pieces) == self._gone_after:
                self._gone.set()
                await asyncio.Event().wait()  # a client that is gone takes nothing


def scope_of_chat() -> dict[str, Any]:
    headers = [(b"host", b"127.0.0.1"), (b"content-type", b"application/json")]
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "path": CHAT,
        "raw_path": CHAT.encode(),
        "root_path": "",
        "scheme": "http",
        "query_string": b"",
        "headers": headers,
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80),
        "state": {},
    }


@pytest.mark.parametrize("model", ["answers", "fails"])
async def test_the_last_byte_of_a_streamed_answer_goes_out_before_the_span_ends(model: str) -> None:
    agent = echo_agent() if model == "answers" else Agent(FailingModel(KeyError, "so far").model)
    server = serve(agent)
    with fail_after(5), recorded() as seen:
        async with server.runtime:
            wire = Wire(seen)
            await server(scope_of_chat(), wire.receive, wire.send)
            assert len(runs(seen)) == 1
    assert (b"[DONE]" if model == "answers" else b"error") in wire.pieces[-1]
    assert set(wire.spans_then) == {0}


@pytest.mark.parametrize(("on_disconnect", "stop_reason"), [("cancel", "cancelled"), ("finish", "end_turn")])
async def test_a_client_that_hangs_up_in_the_middle_of_a_stream_ends_its_span(
    on_disconnect: Any, stop_reason: str
) -> None:
    gated = GatedModel()
    runtime = AgentRuntime(Agent(gated.model), on_disconnect=on_disconnect)
    with fail_after(5), recorded() as seen:
        async with served(runtime) as here:
            async with here.http.stream("POST", CHAT, json=body("hi", stream=True)) as answer:
                await anext(answer.aiter_bytes())
                assert not runs(seen)
            if on_disconnect == "cancel":
                await gated.cancelled.wait()
            else:
                await until(lambda: here.server.in_flight._count == 0)  # pyright: ignore[reportPrivateUsage]
                assert not runs(seen)
                gated.gate.set()
            await runtime.ended()
            await until(lambda: bool(runs(seen)))
        assert stop_reasons(seen) == [stop_reason]
        check_balanced(seen, 1)


async def test_a_server_that_stops_in_the_middle_of_a_stream_ends_the_span() -> None:
    gated = GatedModel()
    server = serve(Agent(gated.model))

    async def ask(url: str) -> bytes:
        async with httpx.AsyncClient(base_url=url, verify=PLAIN_HTTP) as http:
            return (await http.post(CHAT, json=body("hi", stream=True))).content

    with fail_after(5), recorded() as seen:
        async with server.running(port=0) as url:
            asked = asyncio.create_task(ask(url))
            await gated.said_first.wait()
            assert not runs(seen)
        assert stop_reasons(seen) == ["cancelled"]
        check_balanced(seen, 1)
        assert b"error" in await asked
