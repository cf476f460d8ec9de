"""Which exporters there are for which signal."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from typing import Any

from opentelemetry.sdk._logs.export import LogRecordExporter
from opentelemetry.sdk.metrics.export import ConsoleMetricExporter, MetricExporter, MetricReader
from opentelemetry.sdk.trace.export import ConsoleSpanExporter, SpanExporter

from ..errors import ConfigurationError
from .borrowed import borrowed
from .choice import TelemetryChoice
from .export_watch import ExportWatch
from .exporters import check_endpoint, otlp_log_exporter, otlp_metric_exporter, otlp_span_exporter


@dataclass
class Exports:
    """Where the signals go."""

    explicit: bool = False
    """Whether the caller named the exporters."""

    watch: ExportWatch | None = None
    """Knows whether what is exported arrives; None where exporters are the caller's."""

    spans: list[SpanExporter] = field(default_factory=list[SpanExporter])
    metrics: list[MetricExporter | MetricReader] = field(default_factory=list[MetricExporter | MetricReader])
    logs: list[LogRecordExporter] = field(default_factory=list[LogRecordExporter])

    def __str__(self) -> str:
        parts = {"traces": self.spans, "metrics": self.metrics, "logs": self.logs}
        return ", ".join(signal for signal, exporters in parts.items() if exporters) or "nothing"


def exports_of(choice: TelemetryChoice) -> Exports:
    """Return the exporters that are asked for, in code or else by the environment.

    Raises:
        ConfigurationError: Something of it cannot be used.
    """
    choice.settings.check()
    check_endpoint(choice.endpoint, choice.protocol)
    if choice.exporters is not None:
        return _given(choice, choice.exporters)
    watch, settings = ExportWatch(), choice.settings
    exports = Exports(watch=watch)
    otlp: dict[str, Any] = {
        "endpoint": choice.endpoint,
        "protocol": choice.protocol,
        "headers": choice.headers,
        "watch": watch,
    }
    if choice.traces and settings.otel_traces_exporter == "console":
        exports.spans.append(ConsoleSpanExporter(out=sys.stderr))
    elif choice.traces and _goes_out(choice, "traces"):
        exports.spans.append(otlp_span_exporter(settings, **otlp))
    if choice.metrics and settings.otel_metrics_exporter == "console":
        exports.metrics.append(ConsoleMetricExporter(out=sys.stderr))
    elif choice.metrics and _goes_out(choice, "metrics"):
        exports.metrics.append(otlp_metric_exporter(settings, **otlp))
    if choice.logs and _goes_out(choice, "logs"):
        exports.logs.append(otlp_log_exporter(settings, **otlp))
    return exports


def _goes_out(choice: TelemetryChoice, signal: str) -> bool:
    settings = choice.settings
    if getattr(settings, f"otel_{signal}_exporter") != "otlp":
        return False
    named = choice.endpoint or settings.otel_endpoint or getattr(settings, f"otel_{signal}_endpoint")
    return bool(named or settings.otel_enabled)


def _given(choice: TelemetryChoice, exporters: tuple[Any, ...]) -> Exports:
    if choice.endpoint is not None or choice.protocol is not None or choice.headers is not None:
        raise ConfigurationError(
            "exporters= takes the place of endpoint=, protocol= and headers=: give those to the exporters themselves"
        )
    exports = Exports(explicit=True)
    for exporter in exporters:
        if isinstance(exporter, SpanExporter):
            signal = "traces"
            exports.spans.append(borrowed(exporter))
        elif isinstance(exporter, MetricExporter):
            signal = "metrics"
            exports.metrics.append(borrowed(exporter))
        elif isinstance(exporter, MetricReader):
            signal = "metrics"
            exports.metrics.append(exporter)
        elif isinstance(exporter, LogRecordExporter):
            signal = "logs"
            exports.logs.append(borrowed(exporter))
        else:
            raise ConfigurationError(
                f"exporters= takes OpenTelemetry's exporters of spans, metrics and log records, "
                f"not {type(exporter).__name__}"
            )
        if not getattr(choice, signal):
            raise ConfigurationError(f"{type(exporter).__name__} is for {signal}, and {signal}=False was given")
    return exports
