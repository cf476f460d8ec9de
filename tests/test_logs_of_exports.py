"""What is said of telemetry that does not arrive: a line when it begins, few while it lasts, one when it is over."""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator, Sequence

import pytest
from opentelemetry.context import Context
from opentelemetry.sdk._logs import ReadableLogRecord
from opentelemetry.sdk._logs.export import LogRecordExporter, LogRecordExportResult
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    InMemoryMetricReader,
    MetricExporter,
    MetricExportResult,
    PeriodicExportingMetricReader,
)
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult

from pais_sdk.telemetry.export_watch import ExportWatch
from pais_sdk.telemetry.quiet_exporters import Seldom, quiet_exporters

TO = "http://collector:4317"
THEIR_LOG = logging.getLogger("opentelemetry.exporter.otlp.proto.grpc.exporter")


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Collector(SpanExporter):
    """An exporter to a collector that can be away; it complains as OpenTelemetry's do."""

    def __init__(self) -> None:
        self.says: str | Exception | None = None
        self.got: list[str] = []
        self.is_shut_down = False

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        if isinstance(self.says, Exception):
            raise self.says
        if self.says is not None:
            THEIR_LOG.warning("Transient error %s, retrying in 1s.", self.says)
            THEIR_LOG.error("Failed to export traces: %s", self.says)
            return SpanExportResult.FAILURE
        self.got += [span.name for span in spans]
        return SpanExportResult.SUCCESS

    def shutdown(self) -> None:
        self.is_shut_down = True


class Log(logging.Handler):
    """What gets to the root logger."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)

    @property
    def lines(self) -> list[str]:
        return [record.getMessage() for record in self.records]


@pytest.fixture
def log() -> Generator[Log]:
    log = Log()
    logging.getLogger().addHandler(log)
    yield log
    logging.getLogger().removeHandler(log)


def test_a_collector_that_is_away_is_said_once_then_ever_more_seldom_and_its_return_too(
    log: Log,
) -> None:
    clock, collector = Clock(), Collector()
    exporter = ExportWatch(clock=clock).spans(collector, TO)
    exporter.export([])
    assert log.lines == []

    collector.says = "UNAVAILABLE"
    said_at: list[float] = []
    began = clock.now
    for _ in range(3 * 3600):
        exporter.export([])
        if log.records:
            said_at.append(clock.now - began)
            assert log.records[-1].name == "pais_sdk.telemetry"
            assert log.records[-1].levelno == logging.WARNING
            log.records.clear()
        clock.now += 1
    assert said_at == [0, 60, 180, 420, 900, 1860, 3780, 7380]

    collector.says = None
    exporter.export([])
    exporter.export([])
    assert log.lines == ["telemetry is exported again, 10800 exports were lost"]


def test_the_line_names_what_where_and_why(log: Log) -> None:
    collector = Collector()
    collector.says = "UNAVAILABLE:\n  nobody at http://me:secret@collector:4317/?key=secret listens " + "x" * 1000
    watch = ExportWatch(clock=Clock())
    watch.spans(collector, "http://me:secret@collector:4317?key=secret").export([])
    (line,) = log.lines
    assert line.startswith(
        "traces do not get to http://collector:4317?..., 1 exports are lost: "
        "Transient error UNAVAILABLE: nobody at http://collector:4317/?... listens xxx"
    )
    assert len(line) < 450
    assert "secret" not in line


def test_all_signals_are_one_line_and_it_is_over_when_all_work_again(log: Log) -> None:
    clock = Clock()
    watch = ExportWatch(clock=clock)
    watch.failed("logs", TO, "away")
    watch.failed("metrics", TO, "away")
    watch.failed("traces", TO, "away")
    assert len(log.lines) == 1
    clock.now += 60
    watch.failed("logs", TO, "away")
    assert log.lines[1].startswith(f"logs and metrics and traces do not get to {TO}, 4 exports are lost")
    watch.succeeded("logs")
    watch.succeeded("traces")
    assert len(log.lines) == 2
    watch.succeeded("metrics")
    assert log.lines[2:] == ["telemetry is exported again, 4 exports were lost"]


def test_what_comes_and_goes_is_said_at_most_once_a_minute(log: Log) -> None:
    clock, collector = Clock(), Collector()
    exporter = ExportWatch(clock=clock).spans(collector, TO)
    for second in range(600):
        collector.says = "UNAVAILABLE" if second % 2 else None
        exporter.export([])
        clock.now += 1
    assert len([line for line in log.lines if "do not get" in line]) == 10
    assert len([line for line in log.lines if "again" in line]) == 10


def test_an_exporter_that_raises_is_one_that_fails(log: Log) -> None:
    collector = Collector()
    collector.says = ConnectionError("nobody there")
    exporter = ExportWatch(clock=Clock()).spans(collector, TO)
    assert exporter.export([]) is SpanExportResult.FAILURE
    assert log.lines == [f"traces do not get to {TO}, 1 exports are lost: ConnectionError: nobody there"]


def test_what_exporters_log_that_nobody_watches_is_logged_once_a_minute(log: Log) -> None:
    logging.getLogger("opentelemetry.exporter").handlers.clear()  # and what it was told in this minute
    quiet_exporters()
    quiet_exporters()
    collector = Collector()
    collector.says = "UNAVAILABLE"
    for _ in range(3):
        collector.export([])
    assert log.lines == ["Transient error UNAVAILABLE, retrying in 1s.", "Failed to export traces: UNAVAILABLE"]


def test_a_watched_exporter_is_the_exporter_in_all_else() -> None:
    collector = Collector()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(ExportWatch().spans(collector, TO)))
    provider.get_tracer("here").start_span("one", context=Context()).end()
    provider.shutdown()
    assert (collector.got, collector.is_shut_down) == (["one"], True)


def test_a_watched_exporter_of_metrics_keeps_its_temporality() -> None:
    seen: list[AggregationTemporality] = []

    class Deltas(MetricExporter):
        def export(self, metrics_data: object, timeout_millis: float = 10_000, **kwargs: object) -> MetricExportResult:
            points = metrics_data.resource_metrics[0].scope_metrics[0].metrics[0].data  # type: ignore[attr-defined]
            seen.append(points.aggregation_temporality)
            return MetricExportResult.SUCCESS

        def force_flush(self, timeout_millis: float = 10_000) -> bool:
            return True

        def shutdown(self, timeout_millis: float = 30_000, **kwargs: object) -> None:
            pass

    from opentelemetry.sdk.metrics import Counter

    deltas = Deltas(preferred_temporality={Counter: AggregationTemporality.DELTA})
    reader = PeriodicExportingMetricReader(ExportWatch().metrics(deltas, TO), export_interval_millis=float("inf"))
    provider = MeterProvider([reader, InMemoryMetricReader()], shutdown_on_exit=False)
    provider.get_meter("here").create_counter("c").add(1)
    provider.force_flush()
    provider.shutdown()
    assert seen[0] is AggregationTemporality.DELTA


def test_a_watched_exporter_of_logs_fails_in_its_own_word() -> None:
    class Away(LogRecordExporter):
        def export(self, batch: Sequence[ReadableLogRecord]) -> LogRecordExportResult:
            raise ConnectionError("nobody there")

        def force_flush(self, timeout_millis: int = 30000) -> bool:
            return True

        def shutdown(self) -> None:
            pass

    assert ExportWatch().logs(Away(), TO).export([]) is LogRecordExportResult.FAILURE


@pytest.mark.parametrize("seconds", [0.0, 59.0, 61.0])
def test_that_a_queue_is_full_is_said_once_a_minute(seconds: float) -> None:
    clock = Clock()
    seldom = Seldom(clock=clock)
    record: Callable[[str], logging.LogRecord] = lambda text: logging.makeLogRecord({"msg": text})  # noqa: E731
    assert seldom.filter(record("Queue full, dropping %s."))
    clock.now += seconds
    assert seldom.filter(record("Queue full, dropping %s.")) is (seconds > 60)
    assert seldom.filter(record("another one"))
