"""Tasks of A2A as spans."""

from __future__ import annotations

import json
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
from anyio import fail_after
from opentelemetry import baggage, trace
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import SpanKind, StatusCode
from pydantic import SecretStr
from pydantic_ai import Agent
from pydantic_ai.messages import ModelMessage
from pydantic_ai.models.function import AgentInfo

from pais_sdk import Settings

from .a2a_calls import CORE, begin, call, error, message, post, streaming
from .agents import GatedModel, Pieces, echo_agent, model_of
from .http_agents import SECRET, FailingModel, served, until
from .sql_stores import script
from .telemetry import Recorded, recorded

pytestmark = pytest.mark.anyio

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
OTHER_TRACE = "1" * 32
OF_0_3 = {
    "message": {"kind": "message", "role": "user", "messageId": "m", "parts": [{"kind": "text", "text": "hi"}]},
}
KAOS = {"message": {"role": "user", "parts": [{"type": "text", "text": "hi"}]}}


def of(trace_id: str) -> dict[str, str]:
    return {**CORE, "traceparent": f"00-{trace_id}-{PARENT}-01", "tracestate": "vendor=1", "baggage": "team=blue"}


@pytest.fixture
def seen() -> Generator[Recorded]:
    with recorded() as seen:
        yield seen


def one(seen: Recorded, name: str) -> ReadableSpan:
    (span,) = seen.named(name)
    return span


def told(span: ReadableSpan) -> tuple[Any, ...]:
    """Return what a span says of its task's state, and of its own."""
    attributes = span.attributes or {}
    return attributes.get("task.state"), span.status.status_code.name, attributes.get("error.type")


def trace_of(span: ReadableSpan) -> str:
    assert span.context is not None
    return trace.format_trace_id(span.context.trace_id)


@pytest.mark.parametrize(
    ("method", "params"),
    [
        ("SendMessage", message()),
        ("SendMessage", {**message(), "configuration": {"returnImmediately": True}}),
        ("SendStreamingMessage", message()),
        ("message/send", OF_0_3),
        ("message/stream", OF_0_3),
        ("tasks/send", KAOS),
    ],
)
async def test_a_task_is_its_submission_its_work_and_a_run_in_the_trace_of_the_request(
    method: str, params: Any, seen: Recorded
) -> None:
    carried: list[tuple[Any, str]] = []

    async def say(messages: list[ModelMessage], info: AgentInfo) -> Pieces:
        state = trace.get_current_span().get_span_context().trace_state.to_header()
        carried.append((baggage.get_baggage("team"), state))
        yield "ok"

    headers = of(TRACE)
    if params in (OF_0_3, KAOS):
        del headers["A2A-Version"]
    with fail_after(10):
        async with served(Agent(model_of(say))) as here:
            assert (await post(here.http, method, params, headers)).status_code == 200
            await until(lambda: bool(seen.named("kaos.task.execute")))
    submit, execute, run = one(seen, "kaos.task.submit"), one(seen, "kaos.task.execute"), one(seen, "server-run")
    assert submit.parent is not None
    assert trace.format_span_id(submit.parent.span_id) == PARENT
    assert (execute.parent, run.parent) == (submit.context, execute.context)
    assert {trace_of(span) for span in (submit, execute, run)} == {TRACE}
    assert {submit.kind, execute.kind} == {SpanKind.INTERNAL}
    assert submit.attributes is not None
    assert execute.attributes is not None
    assert run.attributes is not None
    assert (told(submit), told(execute)) == (("submitted", "UNSET", None), ("completed", "UNSET", None))
    assert submit.attributes["task.id"] == execute.attributes["task.id"]
    session_id = run.attributes["session.id"]
    assert submit.attributes["task.session_id"] == execute.attributes["task.session_id"] == session_id
    assert carried == [("blue", "vendor=1")]


async def test_a_message_that_is_refused_is_a_submission_that_failed(seen: Recorded) -> None:
    with fail_after(10):
        async with served(echo_agent()) as here:
            await error(here.http, "SendMessage", message(contextId="no id"))
            await error(here.http, "SendMessage", message(taskId="unknown"))
    spans = [span for span in seen.spans if span.name.startswith("kaos.") or span.name == "server-run"]
    assert [(span.name, told(span)) for span in spans] == [
        ("kaos.task.submit", (None, "ERROR", "InvalidParamsError")),
        ("kaos.task.submit", (None, "ERROR", "TaskNotFoundError")),
    ]
    assert not any(span.events for span in spans)


async def test_a_task_that_fails_says_of_what_and_nothing_more(seen: Recorded) -> None:
    model = FailingModel(lambda: ConnectionError(SECRET)).model
    with fail_after(10):
        async with served(Agent(model)) as here:
            await call(here.http, "SendMessage", message())
            await until(lambda: bool(seen.named("kaos.task.execute")))
    execute = one(seen, "kaos.task.execute")
    state, status, kind = told(execute)
    assert (state, status, execute.status.description) == ("failed", "ERROR", kind)
    assert kind
    assert SECRET not in execute.to_json()
    assert told(one(seen, "kaos.task.submit")) == ("submitted", "UNSET", None)


async def test_a_cancellation_belongs_to_the_trace_of_who_cancels(seen: Recorded) -> None:
    model = GatedModel()
    with fail_after(10):
        async with served(Agent(model.model)) as here:
            params = {**message(), "configuration": {"returnImmediately": True}}
            task = (await call(here.http, "SendMessage", params, of(TRACE)))["task"]
            await model.said_first.wait()
            assert told(one(seen, "kaos.task.submit")) == ("submitted", "UNSET", None)
            assert seen.named("kaos.task.execute") == []
            await call(here.http, "CancelTask", {"id": task["id"]}, of(OTHER_TRACE))
            await until(lambda: bool(seen.named("kaos.task.execute")))
    cancel, execute, run = one(seen, "kaos.task.cancel"), one(seen, "kaos.task.execute"), one(seen, "server-run")
    assert (trace_of(cancel), trace_of(execute), trace_of(run)) == (OTHER_TRACE, TRACE, TRACE)
    assert told(cancel) == told(execute) == ("canceled", "UNSET", None)
    assert (cancel.attributes or {})["task.id"] == task["id"]
    assert (cancel.attributes or {})["task.session_id"] == task["contextId"]


async def test_what_cannot_be_cancelled_is_a_cancellation_that_failed(seen: Recorded) -> None:
    with fail_after(10):
        async with served(echo_agent()) as here:
            task = (await call(here.http, "SendMessage", message()))["task"]
            await error(here.http, "CancelTask", {"id": task["id"]})
            await error(here.http, "CancelTask", {"id": "x" * 500})
    ended, unknown = seen.named("kaos.task.cancel")
    assert told(ended) == (None, "ERROR", "TaskNotCancelableError")
    assert told(unknown) == (None, "ERROR", "TaskNotFoundError")
    assert (unknown.attributes or {})["task.id"] == "x" * 128


@pytest.mark.parametrize("follows", [True, False])
async def test_a_task_outlives_the_request_that_began_it_and_keeps_its_trace(follows: bool, seen: Recorded) -> None:
    model = GatedModel()
    with fail_after(10):
        async with served(Agent(model.model)) as here:
            async with streaming(here.http, "SendStreamingMessage", message(), of(TRACE)) as results:
                task = (await anext(results))["task"]
                await model.said_first.wait()
            if follows:
                async with streaming(here.http, "SubscribeToTask", {"id": task["id"]}, of(OTHER_TRACE)) as results:
                    await anext(results)
                    model.gate.set()
                    assert [result async for result in results]
            model.gate.set()
            await until(lambda: bool(seen.named("kaos.task.execute")))
    tasks = [span for span in seen.spans if span.name.startswith("kaos.") or span.name == "server-run"]
    assert sorted(span.name for span in tasks) == ["kaos.task.execute", "kaos.task.submit", "server-run"]
    assert {trace_of(span) for span in tasks} == {TRACE}
    assert told(one(seen, "kaos.task.execute")) == ("completed", "UNSET", None)


async def test_a_task_that_another_process_cancels_ends_in_its_own_trace(seen: Recorded, tmp_path: Path) -> None:
    model = GatedModel()
    settings = Settings(a2a_task_url=SecretStr(f"sqlite:///{tmp_path}/tasks.db"))
    with fail_after(20):
        async with (
            served(Agent(model.model), settings=settings) as here,
            served(echo_agent(), settings=settings) as there,
        ):
            task = await begin(here.http)
            await model.said_first.wait()
            await call(there.http, "CancelTask", {"id": task["id"]}, of(OTHER_TRACE))
            await model.cancelled.wait()
            await until(lambda: bool(seen.named("kaos.task.execute")))
    cancel, execute = one(seen, "kaos.task.cancel"), one(seen, "kaos.task.execute")
    assert told(cancel) == told(execute) == ("canceled", "UNSET", None)
    assert trace_of(cancel) == OTHER_TRACE != trace_of(execute)


async def test_a_task_is_cut_off_with_the_server(seen: Recorded) -> None:
    model = GatedModel()
    with fail_after(10):
        async with served(Agent(model.model)) as here:
            await begin(here.http)
            await model.said_first.wait()
    execute = one(seen, "kaos.task.execute")
    assert told(execute) == ("failed", "ERROR", "RunCancelledError")
    assert execute.status.status_code is StatusCode.ERROR


COUNT = """
import asyncio, json
import httpx
from pydantic_ai import Agent
from pydantic_ai.models.test import TestModel
from pais_sdk import serve
from tests.telemetry import recorded

async def main():
    Agent.instrument_all()
    message = {"role": "ROLE_USER", "messageId": "m", "parts": [{"text": "hi"}]}
    request = {"jsonrpc": "2.0", "id": 1, "method": "SendMessage", "params": {"message": message}}
    with recorded() as seen:
        async with serve(Agent(TestModel())).running(port=0) as url, httpx.AsyncClient(base_url=url) as http:
            answer = await http.post("/", json=request, headers={"A2A-Version": "1.0"}, timeout=30)
            assert "COMPLETED" in answer.text, answer.text
        print(json.dumps([[span.name, span.instrumentation_scope.name] for span in seen.spans]))

asyncio.run(main())
"""


async def test_a_task_has_seven_spans_and_none_of_a2a_sdk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OTEL_INSTRUMENTATION_A2A_SDK_ENABLED", raising=False)
    with fail_after(60):
        async with script(COUNT) as process:
            out, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    spans: list[tuple[str, str]] = json.loads(out)
    assert sorted(name for name, _ in spans) == [
        "chat test",
        "invoke_agent agent",
        "kaos.task.execute",
        "kaos.task.submit",
        "memory.append",
        "memory.open_session",
        "server-run",
    ]
