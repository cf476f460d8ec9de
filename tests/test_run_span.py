"""`server-run`: one span for each run, on every surface, whatever becomes of it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import pytest
from anyio import fail_after
from opentelemetry import trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON
from opentelemetry.trace import NonRecordingSpan, NoOpTracer, SpanContext, SpanKind, StatusCode, TraceFlags
from pydantic_ai import Agent
from pydantic_ai.capabilities import Instrumentation
from pydantic_ai.messages import ModelMessage
from pydantic_ai.models.function import AgentInfo
from pydantic_ai.models.instrumented import InstrumentationSettings

from pais_sdk import (
    AgentRuntime,
    InvalidRequestError,
    LocalMemory,
    MemoryUnavailableError,
    RunError,
    RunFailedError,
    RunOutcome,
)
from pais_sdk._loop import loop_thread
from pais_sdk.delegation import DelegationToolset
from pais_sdk.runtime import run_span

from .a2a_calls import send
from .agents import GatedModel, Pieces, echo_agent, model_of
from .delegation import asking
from .http_agents import FailingModel, adding_agent, looping_agent, served
from .telemetry import Recorded, recorded

pytestmark = pytest.mark.anyio

SECRET = "the-secret-of-the-house"

Runtime = AgentRuntime[Any]


@dataclass(frozen=True)
class Ending:
    """One way for a run to end, and what its span says of it."""

    runtime: Callable[[], Runtime]
    status: StatusCode = StatusCode.UNSET
    error_type: str | None = None


def _timed_out() -> Runtime:
    return AgentRuntime(Agent(GatedModel().model), timeout_s=0.02)


def _cancelled() -> Runtime:
    async def stream(messages: list[ModelMessage], info: AgentInfo) -> Pieces:
        await runtime.cancel("s")
        yield "not to be said"
        await asyncio.Event().wait()

    runtime: Runtime = AgentRuntime(Agent(model_of(stream)))
    return runtime


ENDINGS = {
    "end_turn": Ending(lambda: AgentRuntime(adding_agent())),
    "error": Ending(
        lambda: AgentRuntime(Agent(FailingModel(lambda: KeyError(SECRET), "so far").model)),
        StatusCode.ERROR,
        "KeyError",
    ),
    "timeout": Ending(_timed_out, StatusCode.ERROR, "timeout"),
    "max_steps": Ending(lambda: AgentRuntime(looping_agent(), max_steps=2), StatusCode.ERROR, "max_steps"),
    "cancelled": Ending(_cancelled),
}


async def _run(runtime: Runtime) -> RunOutcome[Any] | None:
    try:
        return await runtime.run("go", session_id="s")
    except RunError as error:
        return error.outcome


async def _stream(runtime: Runtime, **options: Any) -> RunOutcome[Any] | None:
    async with runtime.stream("go", session_id="s", **options) as run:
        async for _ in run:
            pass
    return run.outcome


async def _stream_on_another_loop(runtime: Runtime) -> RunOutcome[Any] | None:
    await asyncio.to_thread(loop_thread().run, runtime.open)
    outcome = await _stream(runtime)
    await runtime.close()
    return outcome


async def _chat(runtime: Runtime, **fields: Any) -> None:
    async with served(runtime) as here:
        await here.ask("go", session_id="s", **fields)


async def _a2a(runtime: Runtime) -> None:
    async with served(runtime) as here:
        await send(here.http, "go", contextId="s")


async def _delegation(runtime: Runtime) -> None:
    runtime.name = "agent"
    await AgentRuntime(Agent(asking(("agent", "go"))), toolsets=[DelegationToolset({"agent": runtime})]).run(
        "go", surface="orchestrator"
    )


CALLS: Mapping[str, tuple[str, Callable[[Runtime], Awaitable[RunOutcome[Any] | None]]]] = {
    "run": ("python", _run),
    "stream": ("python", _stream),
    "quiet stream": ("python", lambda runtime: _stream(runtime, quiet=True)),
    "stream on another loop": ("python", _stream_on_another_loop),
    "chat": ("chat_completions", _chat),
    "streamed chat": ("chat_completions", lambda runtime: _chat(runtime, stream=True)),
    "a2a": ("a2a", _a2a),
    "delegation": ("delegation", _delegation),
}


def the_run(seen: Recorded, surface: str) -> ReadableSpan:
    """Return the one span of a surface, which has ended."""
    [span] = [span for span in seen.named("server-run") if attributes_of(span)["pais_sdk.surface"] == surface]
    assert span.end_time is not None
    return span


def ids_of(span: ReadableSpan) -> SpanContext:
    assert span.context is not None
    return span.context


def attributes_of(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("stop_reason", ENDINGS)
async def test_a_run_is_one_span_and_one_of_each_metric(stop_reason: str, call: str) -> None:
    ending, (surface, carry_out) = ENDINGS[stop_reason], CALLS[call]
    runtime = ending.runtime()
    if call == "delegation" and stop_reason == "cancelled":
        runtime = _cancelled_as_delegate()
    with fail_after(10), recorded() as seen:
        outcome = await carry_out(runtime)
        metrics = seen.metrics()
        span = the_run(seen, surface)
    attributes = attributes_of(span)
    assert span.kind == (SpanKind.SERVER if surface in ("chat_completions", "a2a") else SpanKind.INTERNAL)
    assert (span.status.status_code, span.status.description) == (ending.status, ending.error_type)
    expected = {
        "agent.name": runtime.name,
        "pais_sdk.surface": surface,
        "pais_sdk.stop_reason": stop_reason,
        "error.type": ending.error_type,
    }
    assert {name: attributes.get(name) for name in expected} == expected
    usage = [attributes[f"pais_sdk.usage.{name}"] for name in ("input_tokens", "output_tokens", "requests")]
    assert all(isinstance(count, int) for count in usage)
    assert attributes["pais_sdk.usage.tool_calls"] == {"end_turn": 1, "max_steps": 2}.get(stop_reason, 0)
    if surface != "delegation":
        assert attributes["session.id"] == "s"
    if outcome is not None:
        assert attributes["pais_sdk.run.id"] == outcome.run_id
        assert outcome.trace is not None
        assert outcome.trace.trace_id == trace.format_trace_id(ids_of(span).trace_id)
        assert outcome.trace.span_id == trace.format_span_id(ids_of(span).span_id)
    labels = {"surface": surface}
    assert [point.value for found, point in metrics["pais_sdk.active_runs"] if found == labels] == [0]
    counted = [(found, point.value) for found, point in metrics["pais_sdk.runs"] if found["surface"] == surface]
    assert counted == [({**labels, "stop_reason": stop_reason}, 1)]
    for name, wanted in (("duration", {**labels, "stop_reason": stop_reason}), ("queue_wait", labels)):
        points = [point for found, point in metrics[f"pais_sdk.run.{name}"] if found == wanted]
        assert [point.count for point in points] == [1]


def _cancelled_as_delegate() -> Runtime:
    async def stream(messages: list[ModelMessage], info: AgentInfo) -> Pieces:
        for exchange in list(runtime._exchanges._running):  # pyright: ignore[reportPrivateUsage]
            exchange.cancel()
        yield "not to be said"
        await asyncio.Event().wait()

    runtime: Runtime = AgentRuntime(Agent(model_of(stream)))
    return runtime


class GoneMemory(LocalMemory):
    def open_session(self, *args: Any, **options: Any) -> Any:
        raise MemoryUnavailableError

    def scoped(self, scope: str | None) -> Any:
        return self


class UnopenableMemory(LocalMemory):
    async def __aenter__(self) -> Any:
        raise MemoryUnavailableError


async def _while_busy(call: Callable[[Runtime], Awaitable[Any]], **options: Any) -> None:
    gated = GatedModel()
    async with AgentRuntime(Agent(gated.model), **options) as runtime:
        first = asyncio.create_task(runtime.run("first", session_id="s", surface="first"))
        await gated.said_first.wait()
        with suppress(Exception):
            await call(runtime)
        gated.gate.set()
        await first


async def _refused(call: Callable[[Runtime], Awaitable[Any]], runtime: Runtime) -> None:
    with suppress(Exception):
        await call(runtime)


async def _in_circle(runtime: Runtime) -> None:
    async with runtime.stream("go", chain=[runtime.id]):
        pass


REFUSALS: Mapping[str, tuple[str, Callable[[Callable[[Runtime], Awaitable[Any]]], Awaitable[None]]]] = {
    "busy": ("SessionBusyError", lambda call: _while_busy(call, on_busy="reject")),
    "overloaded": ("OverloadedError", lambda call: _while_busy(call, max_active_runs=1, max_queued_runs=0)),
    "no place in time": ("OverloadedError", lambda call: _while_busy(call, max_active_runs=1, busy_wait_s=0.01)),
    "memory away": (
        "MemoryUnavailableError",
        lambda call: _refused(call, AgentRuntime(echo_agent(), memory=GoneMemory())),
    ),
}


async def _other_session(runtime: Runtime) -> None:
    async with runtime.stream("go", session_id="other"):
        pass


_CALLERS = ["run", "stream", "stream on another session", "chat", "streamed chat", "a2a"]
_REFUSED = [
    (why, call) for why in REFUSALS for call in _CALLERS if (why, call) != ("busy", "stream on another session")
]


@pytest.mark.parametrize(("why", "call"), _REFUSED)
async def test_a_refused_run_is_one_span_and_one_of_the_runs_that_are_counted(why: str, call: str) -> None:
    error_type, refuse = REFUSALS[why]
    surface, carry_out = ("python", _other_session) if call == "stream on another session" else CALLS[call]
    if why == "no place in time" and carry_out is not _other_session:
        error_type = "SessionBusyError"  # it waits for the session first
    with fail_after(10), recorded() as seen:
        await refuse(carry_out)
        metrics = seen.metrics()
        span = the_run(seen, surface)
    attributes = attributes_of(span)
    assert (span.status.status_code, span.status.description) == (StatusCode.ERROR, error_type)
    assert (attributes["pais_sdk.stop_reason"], attributes["error.type"]) == ("refused", error_type)
    assert not span.events
    counted = [(found, point.value) for found, point in metrics["pais_sdk.runs"] if found["surface"] == surface]
    assert counted == [({"surface": surface, "stop_reason": "refused"}, 1)]
    active = metrics.get("pais_sdk.active_runs", [])
    assert [point.value for found, point in active if found == {"surface": surface}] in ([], [0])
    assert not [found for found, _ in metrics.get("pais_sdk.run.queue_wait", []) if found == {"surface": surface}]


async def test_what_is_refused_before_anything_is_asked_for_is_recorded_too() -> None:
    with recorded() as seen:
        await _refused(_in_circle, AgentRuntime(echo_agent()))
        await _refused(_run, AgentRuntime(echo_agent(), memory=UnopenableMemory()))
        await _refused(_stream, AgentRuntime(echo_agent(), memory=UnopenableMemory()))
        with pytest.raises(InvalidRequestError, match="surface must be a word"):
            await AgentRuntime(echo_agent()).run("hi", surface="not a word")
        types = [attributes_of(span)["error.type"] for span in seen.named("server-run")]
        [(_, counted)] = seen.metrics()["pais_sdk.runs"]
    assert types == ["DelegationLoopError", "MemoryUnavailableError", "MemoryUnavailableError"]
    assert counted.value == 3


@pytest.mark.parametrize("elsewhere", [False, True], ids=["here", "on another loop"])
@pytest.mark.parametrize("how", [_run, _stream], ids=["run", "stream"])
async def test_a_run_belongs_to_its_callers_span_and_what_it_does_to_its_own(
    how: Callable[[Runtime], Awaitable[Any]], elsewhere: bool
) -> None:
    current: list[int] = []

    async def stream(messages: list[ModelMessage], info: AgentInfo) -> Pieces:
        current.append(trace.get_current_span().get_span_context().span_id)
        yield "ok"

    runtime = AgentRuntime(Agent(model_of(stream)))
    with fail_after(5), recorded() as seen:
        if elsewhere:
            await asyncio.to_thread(loop_thread().run, runtime.open)
        with trace.get_tracer("test").start_as_current_span("caller") as caller:
            await how(runtime)
            assert trace.get_current_span() is caller
        await runtime.close()
        span = the_run(seen, "python")
    assert span.parent is not None
    assert span.parent.span_id == caller.get_span_context().span_id
    assert current == [ids_of(span).span_id]


async def test_the_run_of_a_delegate_in_this_process_is_a_part_of_the_delegation() -> None:
    with fail_after(5), recorded() as seen:
        await _delegation(AgentRuntime(echo_agent()))
        [delegation] = seen.named("delegate.agent")
        outer, inner = the_run(seen, "orchestrator"), the_run(seen, "delegation")
    assert inner.parent is not None
    assert inner.parent.span_id == ids_of(delegation).span_id
    assert len({ids_of(span).trace_id for span in (outer, delegation, inner)}) == 1


async def test_the_span_of_a_failed_run_says_what_and_where_and_never_the_text() -> None:
    def wrong() -> Exception:
        error = RunFailedError.__new__(RunFailedError)
        error.__cause__ = ValueError(SECRET)
        return error

    agent = Agent(FailingModel(lambda: KeyError(SECRET)).model)

    async def deps() -> None:
        raise wrong()

    with recorded() as seen:
        for runtime in (AgentRuntime(agent), AgentRuntime(echo_agent(deps_type=str), deps=deps)):
            with pytest.raises(RunFailedError):
                await runtime.run(SECRET)
        failed, of_deps = seen.named("server-run")
    for span in (failed, of_deps):
        assert SECRET not in span.to_json()
    [event] = failed.events
    assert event.name == "exception"
    assert event.attributes is not None
    assert event.attributes["exception.type"] == "KeyError"
    assert "in _stream" in str(event.attributes["exception.stacktrace"])
    [event] = of_deps.events
    assert event.attributes is not None
    stack = str(event.attributes["exception.stacktrace"])
    assert stack.index("ValueError") < stack.index("in deps") < stack.index("RunFailedError")


async def test_a_span_that_is_not_recorded_has_no_id_in_the_outcome(monkeypatch: pytest.MonkeyPatch) -> None:
    parent = NonRecordingSpan(SpanContext(7, 8, is_remote=True, trace_flags=TraceFlags(1)))
    for tracer, own in ((TracerProvider(sampler=ALWAYS_OFF).get_tracer("x"), True), (NoOpTracer(), False)):
        monkeypatch.setattr(run_span, "_tracer", tracer)
        current: list[SpanContext] = []

        async def stream(messages: list[ModelMessage], info: AgentInfo, current: list[SpanContext] = current) -> Pieces:
            current.append(trace.get_current_span().get_span_context())
            yield "ok"

        runtime = AgentRuntime(Agent(model_of(stream)))
        with trace.use_span(parent):
            outcome = await runtime.run("hi")
        assert outcome.trace is not None
        assert (outcome.trace.trace_id, outcome.trace.span_id) == (f"{7:032x}", None)
        assert current[0].trace_id == 7
        assert (current[0].span_id != 8, current[0].trace_flags.sampled) == (own, not own)
        current.clear()
    assert (await AgentRuntime(echo_agent()).run("hi")).trace is None


@pytest.mark.parametrize("own", [False, True], ids=["instrument_all", "a capability of the agent"])
async def test_a_look_at_the_tools_leaves_no_span_and_no_metric(own: bool) -> None:
    exporter, reader = InMemorySpanExporter(), InMemoryMetricReader()
    tracer_provider = TracerProvider(sampler=ALWAYS_ON, shutdown_on_exit=False)
    tracer_provider.add_span_processor(SimpleSpanProcessor(exporter))
    settings = InstrumentationSettings(
        tracer_provider=tracer_provider, meter_provider=MeterProvider([reader], shutdown_on_exit=False)
    )
    agent = adding_agent()
    Agent.instrument_all(False if own else settings)
    try:
        with recorded() as seen:
            runtime = AgentRuntime(agent, capabilities=[Instrumentation(settings)] if own else ())
            assert [tool.name for tool in await runtime.list_tools()] == ["add"]
            assert (exporter.get_finished_spans(), reader.get_metrics_data(), seen.named("server-run")) == (
                (),
                None,
                [],
            )
            await runtime.run("go")
            names = {span.name for span in exporter.get_finished_spans()}
        assert names == {"invoke_agent adder", "chat test", "execute_tool add"}
    finally:
        Agent.instrument_all(False)
