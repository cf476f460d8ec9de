"""attach_logs: everything that is logged, exported, while telemetry is set up."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from opentelemetry.instrumentation.logging.handler import LoggingHandler  # pyright: ignore[reportMissingTypeStubs]
from opentelemetry.sdk import _logs
from opentelemetry.sdk._logs.export import LogRecordExporter
from opentelemetry.sdk.resources import Resource

from .kaos_logging_handler import KaosLoggingHandler
from .log_export import LogExport
from .root_handler import RootHandler


class AttachedLogs:
    """Logs that are exported until `shutdown`.

    Args:
        export: Where they go; None for nowhere.
    """

    def __init__(self, export: LogExport | None) -> None:
        self._export = export
        self._root = None if export is None else RootHandler(KaosLoggingHandler(logger_provider=export.provider))

    def force_flush(self, timeout_s: float = 5.0) -> bool:
        """Export what is waiting; False where that takes longer, and then it goes on."""
        return self._export is None or self._export.force_flush(timeout_s)

    def shutdown(self, timeout_s: float = 5.0) -> None:
        """Take the handler away, and export what is waiting within this time."""
        root, self._root = self._root, None
        if root is not None:
            root.end()
        if self._export is not None:
            self._export.shutdown(timeout_s)


def attach_logs(resource: Resource, exporters: Sequence[LogRecordExporter], *, explicit: bool = False) -> AttachedLogs:
    """Export what comes to the root logger.

    Args:
        resource: What the records belong to.
        exporters: Each gets all of them; none for nothing to do.
        explicit: Whether to do so also where the root logger has a handler of OpenTelemetry's already.
    """
    if not exporters or (not explicit and is_exporting()):
        for exporter in exporters:
            exporter.shutdown()
        return AttachedLogs(None)
    return AttachedLogs(LogExport(resource, exporters))


def is_exporting() -> bool:
    """Return whether the root logger has a handler that hands its records over to OpenTelemetry."""
    kinds = (LoggingHandler, _logs.LoggingHandler)
    return any(isinstance(handler, kinds) for handler in logging.getLogger().handlers)
