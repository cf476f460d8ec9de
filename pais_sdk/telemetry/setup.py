"""setup_telemetry: telemetry as one function."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from ..errors import ConfigurationError, MissingExtraError
from ..settings import TelemetrySettings
from .choice import TelemetryChoice
from .handle import Telemetry, changing

if TYPE_CHECKING:
    from opentelemetry.sdk._logs.export import LogRecordExporter
    from opentelemetry.sdk.metrics.export import MetricExporter, MetricReader
    from opentelemetry.sdk.trace.export import SpanExporter

    from .installation import Installation

_log = logging.getLogger("pais_sdk.telemetry")

MadeT = TypeVar("MadeT")

_present: tuple[TelemetryChoice, Telemetry] | None = None


def setup_telemetry(
    service_name: str | None = None,
    *,
    endpoint: str | None = None,
    protocol: str | None = None,
    headers: Mapping[str, str] | None = None,
    traces: bool = True,
    metrics: bool = True,
    logs: bool = True,
    exporters: Iterable[SpanExporter | MetricExporter | MetricReader | LogRecordExporter] | None = None,
    content: bool | None = None,
    keep_traces: int = 20,
    settings: TelemetrySettings | None = None,
) -> Telemetry:
    """Record what runs do, from now on and in this whole process, and export it over OTLP.

    Without an endpoint, in arguments or the environment, nothing leaves this process: traces are only kept in it, for
    `outcome.trace`. A second call with the same arguments, or with none, returns the same handle; with others, it
    shuts the first one down and sets up anew. A program's own providers of traces and metrics stay what they are.

    Args:
        service_name: In place of OTEL_SERVICE_NAME, OTEL_RESOURCE_ATTRIBUTES and AGENT_NAME.
        endpoint: The collector, such as `http://localhost:4317`; over HTTP `/v1/traces` and its like is appended. A
            `host:port` alone is spoken to over TLS, as the standard has it.
        protocol: `grpc` or `http/protobuf`; unset, OTEL_EXPORTER_OTLP_PROTOCOL, or gRPC.
        headers: Sent with each export, such as keys; unset, OTEL_EXPORTER_OTLP_HEADERS.
        traces: Whether spans are recorded.
        metrics: Whether metrics are exported.
        logs: Whether what comes to the root logger is exported.
        exporters: OpenTelemetry's exporters of spans, metrics and log records, and readers of metrics: these alone, in
            place of OTLP. They are flushed at the shutdown, and not closed: whoever made them does that.
        content: Whether spans hold what was said; unset, OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT, or yes.
        keep_traces: How many traces can be looked at in this process; 0 for none.
        settings: In place of the environment.

    Raises:
        ConfigurationError: An argument or a variable cannot be used.
        MissingExtraError: The extra `otel` is not installed.

    Source:
        OpenTelemetry's specification of SDK environment variables.
    """
    if keep_traces < 0:
        raise ConfigurationError(f"keep_traces={keep_traces} is less than none; 0 keeps no traces")
    choice = TelemetryChoice(
        settings=TelemetrySettings() if settings is None else settings,
        service_name=service_name,
        endpoint=endpoint,
        protocol=protocol,
        headers=None if headers is None else _made("headers", dict, headers),
        traces=traces,
        metrics=metrics,
        logs=logs,
        exporters=None if exporters is None else _made("exporters", tuple, exporters),
        content=content,
        keep_traces=keep_traces,
    )
    with changing:
        if _present is not None and _is_same(choice, _present[0]):
            return _present[1]
        return _set_up(choice)


def telemetry_for_server(settings: TelemetrySettings, name: str) -> Telemetry | None:
    """Set telemetry up for a process that serves, where its environment asks for it and nobody has set it up.

    Args:
        settings: What the environment says.
        name: The service's name where the environment names none.

    Raises:
        ConfigurationError: A variable cannot be used.
        MissingExtraError: OTEL_ENABLED is true, and the extra `otel` is not installed.
    """
    if not settings.telemetry_on:
        return None
    with changing:
        if _present is not None:
            return None
        try:
            return _set_up(TelemetryChoice(settings=settings, keep_traces=0, otherwise=name))
        except MissingExtraError as error:
            if settings.otel_enabled:
                raise
            _log.warning("there is no telemetry, though a collector is named: %s", error)
            return None


def _made(name: str, kind: Callable[[Any], MadeT], value: Any) -> MadeT:
    try:
        return kind(value)
    except (TypeError, ValueError):
        wanted = "a mapping of names to values" if name == "headers" else "a list of exporters"
        raise ConfigurationError(f"{name}= takes {wanted}, not {type(value).__name__}") from None


def _is_same(choice: TelemetryChoice, present: TelemetryChoice) -> bool:
    # Where nothing is said, what was said before stands, unless it was what the environment said before.
    return choice == present or (choice.says_nothing and not present.says_nothing and not choice.settings.telemetry_off)


def _set_up(choice: TelemetryChoice) -> Telemetry:
    global _present
    # Before the first one goes: what cannot be used leaves things as they are.
    installation = None if choice.settings.telemetry_off else _installation(choice)
    if _present is not None:
        _present[1].shutdown()
    if installation is None:
        return Telemetry()
    telemetry = installation.install(_forget)
    _present = (choice, telemetry)
    return telemetry


def _installation(choice: TelemetryChoice) -> Installation:
    try:
        from .installation import Installation
    except ImportError as error:
        raise MissingExtraError("setup_telemetry", extra="otel") from error
    return Installation(choice)


def _forget() -> None:
    global _present
    _present = None
