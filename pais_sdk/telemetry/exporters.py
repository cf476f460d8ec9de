"""Exporters over OTLP, as arguments and the environment say."""

from __future__ import annotations

import importlib
import logging
import re
from collections.abc import Callable, Mapping
from typing import Any, cast
from urllib.parse import urlsplit

from opentelemetry.sdk._logs.export import LogRecordExporter
from opentelemetry.sdk.metrics.export import MetricExporter
from opentelemetry.sdk.trace.export import SpanExporter

from .._http_url import is_http_url
from ..errors import ConfigurationError
from ..settings import TelemetrySettings
from .export_watch import ExportWatch
from .span_parts import SpanParts

_PROTOCOLS = ("grpc", "http/protobuf")
_HEADER_NAME = re.compile(r"[A-Za-z0-9_.-]+")
_HEADER_VALUE = re.compile(r"[\x20-\x7e]*")
_PORTS = {"grpc": 4317, "http/protobuf": 4318}
_PATHS = {"traces": "v1/traces", "metrics": "v1/metrics", "logs": "v1/logs"}
_CLASSES = {
    "traces": ("trace_exporter", "OTLPSpanExporter"),
    "metrics": ("metric_exporter", "OTLPMetricExporter"),
    "logs": ("_log_exporter", "OTLPLogExporter"),
}


class _WithoutHeaders(logging.Filter):
    """A header that cannot be read is told of without its text, for that may hold a key."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.args = ("(not shown)",)
        return True


_WITHOUT_HEADERS = _WithoutHeaders()


def otlp_span_exporter(
    settings: TelemetrySettings,
    *,
    endpoint: str | None = None,
    protocol: str | None = None,
    headers: Mapping[str, str] | None = None,
    watch: ExportWatch | None = None,
) -> SpanExporter:
    """Return what exports spans. Headers, TLS and timeouts that are not named here are read by the exporter itself.

    Args:
        settings: Say what arguments do not.
        endpoint: The collector for all signals; over HTTP `/v1/traces` and its like is appended.
        protocol: `grpc` or `http/protobuf`.
        headers: Sent with each export.
        watch: Says what does not arrive; None for the exporter's own words.

    Raises:
        ConfigurationError: An argument or a variable cannot be used.
    """
    exporter, address = _otlp("traces", settings, endpoint, protocol, headers)
    return SpanParts(exporter if watch is None else watch.spans(exporter, address))


def otlp_metric_exporter(
    settings: TelemetrySettings,
    *,
    endpoint: str | None = None,
    protocol: str | None = None,
    headers: Mapping[str, str] | None = None,
    watch: ExportWatch | None = None,
) -> MetricExporter:
    """Return what exports metrics; see `otlp_span_exporter`."""
    exporter, address = _otlp("metrics", settings, endpoint, protocol, headers)
    return exporter if watch is None else watch.metrics(exporter, address)


def otlp_log_exporter(
    settings: TelemetrySettings,
    *,
    endpoint: str | None = None,
    protocol: str | None = None,
    headers: Mapping[str, str] | None = None,
    watch: ExportWatch | None = None,
) -> LogRecordExporter:
    """Return what exports logs; see `otlp_span_exporter`."""
    exporter, address = _otlp("logs", settings, endpoint, protocol, headers)
    return exporter if watch is None else watch.logs(exporter, address)


def check_endpoint(endpoint: str | None, protocol: str | None) -> None:
    """Refuse arguments that no exporter can use.

    Raises:
        ConfigurationError: The text says what to write instead.
    """
    if protocol is not None and protocol not in _PROTOCOLS:
        raise ConfigurationError(f"protocol {protocol!r} is not known; use 'grpc' or 'http/protobuf'")
    if endpoint is None:
        return
    for path in _PATHS.values():
        if endpoint.rstrip("/").endswith(f"/{path}"):
            raise ConfigurationError(
                f"endpoint is the collector's own URL, without the path: leave /{path} out, "
                "which is appended for each signal over HTTP"
            )


def _otlp(
    signal: str,
    settings: TelemetrySettings,
    endpoint: str | None,
    protocol: str | None,
    headers: Mapping[str, str] | None,
) -> tuple[Any, str]:
    settings.check()
    check_endpoint(endpoint, protocol)
    own_headers = _own(headers)
    spoken = protocol or getattr(settings, f"otel_{signal}_protocol") or settings.otel_protocol
    url, said_by = _url(signal, settings, endpoint, spoken)
    make = _exporter_class(signal, spoken)
    logging.getLogger("opentelemetry.util.re").addFilter(_WITHOUT_HEADERS)
    try:
        return make(endpoint=url, headers=own_headers), _address(url)
    except Exception as error:  # of all kinds, for the variables that the exporter reads by itself
        raise ConfigurationError(
            f"{signal} cannot be exported to {said_by}: {error}; look at the variables OTEL_EXPORTER_OTLP_*"
        ) from error


def _own(headers: Mapping[str, str] | None) -> dict[str, str] | None:
    own: dict[str, str] = {}
    for name, value in (headers or {}).items():
        # The exporters find it with the first export, and quote the value, which may be a key.
        if not _HEADER_NAME.fullmatch(str(name)) or not _HEADER_VALUE.fullmatch(str(value).strip()):
            raise ConfigurationError(
                f"headers= has a {name!r} that cannot be sent: names are of letters, digits and -_., "
                "values of printable ASCII"
            )
        # In gRPC a capital letter in a name is an error, in HTTP it does not matter.
        own[name.lower()] = str(value).strip()
    return own or None


def _exporter_class(signal: str, protocol: str) -> Callable[..., Any]:
    module, name = _CLASSES[signal]
    package = "grpc" if protocol == "grpc" else "http"
    # The path of the logs' exporter is private in its name only: it is the one that is documented.
    return cast(
        "Callable[..., Any]",
        getattr(importlib.import_module(f"opentelemetry.exporter.otlp.proto.{package}.{module}"), name),
    )


def _url(signal: str, settings: TelemetrySettings, endpoint: str | None, protocol: str) -> tuple[str, str]:
    own = getattr(settings, f"otel_{signal}_endpoint")
    if endpoint is None and own:
        url, said_by = own, f"OTEL_EXPORTER_OTLP_{signal.upper()}_ENDPOINT"
    else:
        base = endpoint or settings.otel_endpoint or f"http://localhost:{_PORTS[protocol]}"
        said_by = "endpoint" if endpoint else "OTEL_EXPORTER_OTLP_ENDPOINT"
        url = base if protocol == "grpc" else f"{base.rstrip('/')}/{_PATHS[signal]}"
    # gRPC takes `host:port`, too: over TLS, unless OTEL_EXPORTER_OTLP_INSECURE says otherwise, as the standard has it.
    if not is_http_url(url) and ("://" in url or protocol != "grpc"):
        raise ConfigurationError(f"{said_by} is not a URL; write it as http://host:port, or https://host:port")
    return url, said_by


def _address(url: str) -> str:
    parts = urlsplit(url)
    if not parts.hostname:
        return url
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"{parts.scheme}://{host}{'' if parts.port is None else f':{parts.port}'}"
