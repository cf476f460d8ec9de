"""What the code under test records, in this process: `with recorded() as seen`."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any, cast

from opentelemetry import trace
from opentelemetry.sdk.metrics import Counter, Histogram
from opentelemetry.sdk.metrics.export import AggregationTemporality, InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from pydantic_ai import Agent

from pais_sdk.telemetry import setup_telemetry


def points_of(reader: InMemoryMetricReader) -> list[tuple[str, Any, Any]]:
    """Return what was measured since the last look: of each point the name of its scope, its metric, and itself."""
    data = reader.get_metrics_data()
    return [
        (scope.scope.name, metric, point)
        for resource in (data.resource_metrics if data else ())
        for scope in resource.scope_metrics
        for metric in scope.metrics
        for point in metric.data.data_points
    ]


def points_of_others(reader: InMemoryMetricReader) -> list[tuple[Any, Any]]:
    """Return metrics and points but for those of this package, which always tells what is active."""
    return [(metric, point) for scope, metric, point in points_of(reader) if not scope.startswith("pais_sdk")]


class Recorded:
    """Spans that have ended, and metrics."""

    def __init__(
        self, flush: Callable[[], object], exporter: InMemorySpanExporter, reader: InMemoryMetricReader
    ) -> None:
        self._flush = flush
        self._exporter = exporter
        self._reader = reader

    @property
    def spans(self) -> list[ReadableSpan]:
        """All of them, in the order in which they ended."""
        self._flush()  # not all that the handle flushes: a look at metrics is what they are counted from
        return list(self._exporter.get_finished_spans())

    def named(self, name: str) -> list[ReadableSpan]:
        return [span for span in self.spans if span.name == name]

    def metrics(self) -> dict[str, list[tuple[dict[str, Any], Any]]]:
        """Return what was measured since the last look: the labels and the point (`.value`; `.count` and `.sum`)."""
        found: dict[str, list[tuple[dict[str, Any], Any]]] = {}
        self.units: dict[str, str | None] = {}
        for _, metric, point in points_of(self._reader):
            self.units[metric.name] = metric.unit
            found.setdefault(metric.name, []).append((dict(point.attributes or {}), point))
        return found


@contextmanager
def recorded(*, agents: bool = False) -> Generator[Recorded]:
    """Record while the block runs, what Pydantic AI says of its agents too where that is wanted."""
    exporter = InMemorySpanExporter()
    delta = dict.fromkeys((Counter, Histogram), AggregationTemporality.DELTA)
    reader = InMemoryMetricReader(preferred_temporality=delta)
    instrumented = Agent._instrument_default
    with setup_telemetry(exporters=[exporter, reader], logs=False, keep_traces=0):
        if not agents:
            Agent.instrument_all(instrumented)
        yield Recorded(cast("Any", trace.get_tracer_provider()).force_flush, exporter, reader)
