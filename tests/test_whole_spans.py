"""Half characters in what is exported: they cost nobody else's span or line, and not their own either."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Sequence

import pytest
from anyio import fail_after, to_thread
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.trace import Link, StatusCode
from pydantic_ai import Agent

from pais_sdk import AgentRuntime, mock_model, setup_telemetry
from pais_sdk.telemetry.export_watch import ExportWatch
from tests.otlp_receiver import Receiver, receiver

HALF = "half\ud800"
MENDED = "half\ufffd"


@pytest.fixture
async def otlp() -> AsyncGenerator[Receiver]:
    async with receiver() as found:
        yield found


@pytest.mark.anyio
@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
async def test_a_half_character_loses_no_batch(protocol: str, otlp: Receiver) -> None:
    tool = {"tool_calls": [{"name": "look", "arguments": {}}]}
    agent = Agent(mock_model([tool, "Done."]), name=HALF)

    @agent.tool_plain
    def look() -> str:
        return HALF

    with fail_after(20):
        with setup_telemetry("cell", endpoint=otlp.url(protocol), protocol=protocol) as telemetry:
            async with AgentRuntime(agent) as runtime:
                outcome = await runtime.run("Go")
            logging.getLogger("tests.whole").warning("said %s", HALF, extra={"who": HALF})
            assert await to_thread.run_sync(telemetry.force_flush)
        await otlp.settled()
    [run] = [span for span in otlp.spans if span.name == "server-run"]
    assert run.attributes["agent.name"] == MENDED
    names = {span.name for span in otlp.spans}
    assert {f"invoke_agent {MENDED}", "execute_tool look", "memory.append"} <= names
    [log] = [log for log in otlp.logs if log.attributes["logger_name"] == "tests.whole"]
    assert (log.body, log.attributes["who"]) == (f"said {MENDED}", MENDED)
    assert outcome.trace is not None
    outcome.trace._repr_html_().encode()


class Taking(SpanExporter):
    def __init__(self) -> None:
        self.spans: list[ReadableSpan] = []

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.spans += spans
        return SpanExportResult.SUCCESS


def test_wherever_a_half_character_is_the_span_is_copied_and_else_it_goes_as_it_is() -> None:
    taking = Taking()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(ExportWatch().spans(taking, "here")))
    tracer = provider.get_tracer("tests.whole")
    with tracer.start_as_current_span("über", attributes={"texts": ["ü", "a"], "number": 1}) as whole:
        link = Link(whole.get_span_context(), {HALF: [HALF, "a"]})
        span = tracer.start_span(HALF, attributes={HALF: HALF, "number": 1}, links=[link])
        span.add_event(HALF, {HALF: HALF})
        span.set_status(StatusCode.ERROR, HALF)
        span.end()
    mended, same = taking.spans
    assert (same.name, dict(same.attributes or {})) == ("über", {"texts": ("ü", "a"), "number": 1})
    assert (mended.name, mended.status.description) == (MENDED, MENDED)
    assert mended.attributes == {MENDED: MENDED, "number": 1}
    assert [(event.name, event.attributes) for event in mended.events] == [(MENDED, {MENDED: MENDED})]
    assert dict(mended.links[0].attributes or {}) == {MENDED: [MENDED, "a"]}
    assert mended.parent == same.context
    assert isinstance(span, ReadableSpan)
    assert (mended.context, mended.start_time, mended.end_time) == (span.context, span.start_time, span.end_time)
