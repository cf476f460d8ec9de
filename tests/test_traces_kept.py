"""RecentSpans: what OpenTelemetry's SDK records, kept in the process."""

from __future__ import annotations

import sys
import threading
from collections.abc import Generator

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import SpanKind, StatusCode, Tracer, set_span_in_context

from pais_sdk import RunTrace, TraceSpan
from pais_sdk.telemetry.recent_spans import RecentSpans
from pais_sdk.traces import recent, recent_traces


@pytest.fixture(autouse=True)
def _store(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recent, "_kept", None)


@pytest.fixture
def spans() -> RecentSpans:
    return RecentSpans(20)


@pytest.fixture
def tracer(spans: RecentSpans) -> Generator[Tracer]:
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(spans)
    yield provider.get_tracer("pais_sdk.test")
    provider.shutdown()


def all_kept() -> list[TraceSpan]:
    kept = recent_traces()
    assert kept is not None
    return [span for trace_id in kept.trace_ids() for span in kept.spans_of(trace_id)]


def test_a_span_is_kept_from_its_start_to_its_end(tracer: Tracer) -> None:
    with tracer.start_as_current_span("outer", kind=SpanKind.SERVER) as outer:
        outer.set_attribute("step", 1)
        (lasting,) = all_kept()
        assert (lasting.name, lasting.kind, lasting.scope) == ("outer", "server", "pais_sdk.test")
        assert (lasting.end_ns, lasting.duration_s, lasting.parent_id) == (None, None, None)
        assert lasting.attributes == {"step": 1}
        outer.set_attribute("step", 2)
        with tracer.start_as_current_span("inner"):
            pass
    outer_kept, inner_kept = all_kept()
    assert outer_kept.attributes == {"step": 2}
    assert outer_kept.duration_s is not None
    assert inner_kept.parent_id == outer_kept.span_id
    context = outer.get_span_context()
    trace = RunTrace(f"{context.trace_id:032x}", f"{context.span_id:016x}")
    assert [span.name for span in trace.spans] == ["outer", "inner"]


def test_failures_are_kept_with_what_is_said_of_them(tracer: Tracer) -> None:
    with pytest.raises(ValueError, match="no such"), tracer.start_as_current_span("raises"):
        raise ValueError("no such city")
    span = tracer.start_span("sets a status")
    span.record_exception(ValueError("no such city"))
    span.set_status(StatusCode.ERROR)
    span.end()
    span = tracer.start_span("says nothing")
    span.set_status(StatusCode.ERROR)
    span.end()
    tracer.start_span("goes well").end()
    assert [(span.failed, span.error) for span in all_kept()] == [
        (True, "ValueError: no such city"),
        (True, "ValueError: no such city"),
        (True, None),
        (False, None),
    ]


def test_long_texts_are_cut_when_the_span_ends(tracer: Tracer) -> None:
    attributes = {"text": "x" * 50_000, "texts": ["y" * 50_000], "number": 7, "yes": True, "few": ["stop"]}
    tracer.start_span("chat", attributes=attributes).end()
    (span,) = all_kept()
    assert span.attributes["text"] == "x" * 1000 + "… (50000 characters)"
    assert span.attributes["texts"].startswith("('yyy")
    assert sum(sys.getsizeof(value) for value in span.attributes.values()) < 10_000
    assert {name: span.attributes[name] for name in ("number", "yes", "few")} == {
        "number": 7,
        "yes": True,
        "few": ("stop",),
    }


def test_the_conversation_of_a_span_that_ended_is_not_held(tracer: Tracer) -> None:
    for _ in range(5):
        tracer.start_span("chat", attributes={"gen_ai.input.messages": "x" * 1_000_000}).end()
    assert sum(len(str(span.attributes)) for span in all_kept()) < 10_000


def test_after_the_shutdown_no_span_is_begun_and_all_is_still_there(spans: RecentSpans, tracer: Tracer) -> None:
    lasting = tracer.start_span("lasting")
    spans.shutdown()
    tracer.start_span("late").end()
    lasting.end()
    assert [(span.name, span.end_ns is None) for span in all_kept()] == [("lasting", False)]
    RecentSpans(5)
    kept = recent_traces()
    assert kept is not None
    assert kept.max_traces == 5
    assert [span.name for span in all_kept()] == ["lasting"]


def test_what_is_not_recorded_is_not_kept(spans: RecentSpans) -> None:
    provider = TracerProvider(sampler=ALWAYS_OFF, shutdown_on_exit=False)
    provider.add_span_processor(spans)
    with provider.get_tracer("test").start_as_current_span("run") as span:
        trace_id = f"{span.get_span_context().trace_id:032x}"
    assert all_kept() == []
    assert "a sampler which are recorded" in str(RunTrace(trace_id))


def test_traces_can_be_looked_at_while_other_threads_add_to_them(tracer: Tracer) -> None:
    began = threading.Event()
    root = tracer.start_span("root")
    context = set_span_in_context(root)
    failures: list[BaseException] = []

    def work() -> None:
        try:
            for number in range(500):
                span = tracer.start_span("step", context)
                for again in range(5):
                    span.set_attribute("same", again)
                    span.set_attribute(f"other{again}", number)
                span.end()
                began.set()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    assert began.wait(5)
    trace = RunTrace(f"{root.get_span_context().trace_id:032x}", f"{root.get_span_context().span_id:016x}")
    looks = 0
    while any(thread.is_alive() for thread in threads):
        assert "root" in str(trace)
        looks += 1
    for thread in threads:
        thread.join(5)
    assert failures == []
    assert len(trace.spans) == 1001  # the root, which lasts, and as many of the others as are kept of one trace
