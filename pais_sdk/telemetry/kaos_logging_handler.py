"""KaosLoggingHandler: Python's log records, exported by OpenTelemetry."""

from __future__ import annotations

import copy
import logging
from typing import TYPE_CHECKING, Any

from .._whole_text import whole_text
from ..errors import MissingExtraError
from ..settings import TelemetrySettings

try:
    from opentelemetry.instrumentation.logging.handler import LoggingHandler  # pyright: ignore[reportMissingTypeStubs]
    from opentelemetry.instrumentation.utils import is_instrumentation_enabled
except ImportError as error:
    raise MissingExtraError("KaosLoggingHandler", extra="otel") from error

from .log_export import LogExport

if TYPE_CHECKING:
    from opentelemetry._logs import LoggerProvider
    from opentelemetry.sdk._logs.export import LogRecordExporter

_CLOSING_S = 5.0
_VALUES = (str, float)
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class KaosLoggingHandler(LoggingHandler):
    """Exports log records over OTLP, in batches, with the trace and span in which they were logged.

    `setup_telemetry(logs=True)` adds one to the root logger; this class is for a program or a cell that wants nothing
    but that:

        logging.getLogger().addHandler(KaosLoggingHandler(service_name="my-agent"))

    A record's `logger_name` attribute is its logger's name; exceptions and what `extra=` gave are attributes, too. What
    OpenTelemetry logs of itself is not exported, nor what is logged while something is exported.

    Args:
        level: Records below it are not exported.
        service_name: In place of OTEL_SERVICE_NAME and its like.
        endpoint: The collector, in place of OTEL_EXPORTER_OTLP_ENDPOINT.
        protocol: `grpc` or `http/protobuf`, in place of OTEL_EXPORTER_OTLP_PROTOCOL.
        exporter: Exports in place of OTLP.
        logger_provider: Takes the records, and is not ended by `close()`; with it the arguments above have no effect.

    Raises:
        ConfigurationError: The environment or an argument cannot be used.
        MissingExtraError: The extra `otel` is not installed.
    """

    def __init__(
        self,
        level: int | str = logging.NOTSET,
        *,
        service_name: str | None = None,
        endpoint: str | None = None,
        protocol: str | None = None,
        exporter: LogRecordExporter | None = None,
        logger_provider: LoggerProvider | None = None,
    ) -> None:
        self._export: LogExport | None = None
        self._flushed = True
        if logger_provider is None:
            self._export = _export(service_name, endpoint, protocol, exporter)
            logger_provider = self._export.provider
        super().__init__(logging.NOTSET, logger_provider)
        self.setLevel(level)
        self.addFilter(_is_exported)  # before the handler's lock is taken: an export may log while close() waits for it

    def emit(self, record: logging.LogRecord) -> None:
        """Hand a record over to be exported."""
        exported = copy.copy(record)
        exported.__dict__ = {name: value for name, value in vars(record).items() if _is_attribute(name, value)}
        exported.__dict__["name"] = exported.__dict__["logger_name"] = whole_text(record.name)
        if not isinstance(record.msg, str):
            exported.__dict__["msg"] = str(record.msg)  # whatever it is
        try:
            super().emit(exported)
        except Exception:  # noqa: BLE001 - such as arguments that do not fit the message: logging's own way to say so
            self.handleError(record)

    def flush(self) -> None:
        """Export what is waiting, within 5 seconds."""
        if self._export is not None:
            self._flushed = self._export.force_flush(_CLOSING_S)

    def close(self) -> None:
        """Export what is waiting, within 5 seconds, and nothing afterwards."""
        if self._export is not None:
            # At a process's end both are called, one after the other.
            self._export.shutdown(_CLOSING_S if self._flushed else 0.0)
        super().close()


def _export(
    service_name: str | None, endpoint: str | None, protocol: str | None, exporter: LogRecordExporter | None
) -> LogExport:
    from .export_watch import ExportWatch
    from .exporters import check_endpoint, otlp_log_exporter
    from .resource import resource_of

    check_endpoint(endpoint, protocol)
    settings = TelemetrySettings()
    resource = resource_of(service_name, settings)
    if settings.telemetry_off or (exporter is None and settings.otel_logs_exporter == "none"):
        return LogExport(resource, [])
    if exporter is None:
        exporter = otlp_log_exporter(settings, endpoint=endpoint, protocol=protocol, watch=ExportWatch())
    return LogExport(resource, [exporter])


def _is_exported(record: logging.LogRecord) -> bool:
    return not record.name.startswith("opentelemetry.") and is_instrumentation_enabled()


def _is_attribute(name: str, value: Any) -> bool:
    if isinstance(value, int):
        return abs(value) < 2**63  # of others OTLP can say nothing, nor of the batch that they are in
    return name in _STANDARD or isinstance(value, _VALUES)
