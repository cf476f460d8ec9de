"""LogExport: log records on their way to a collector."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor, LogRecordExporter
from opentelemetry.sdk.resources import Resource


class LogExport:
    """A logger provider that exports in batches, off the threads that log.

    Args:
        resource: What the records belong to.
        exporters: Each gets all of them.
    """

    def __init__(self, resource: Resource, exporters: Sequence[LogRecordExporter]) -> None:
        self.provider = LoggerProvider(resource, shutdown_on_exit=False)
        self._batches = [_Batches(exporter) for exporter in exporters]
        for batches in self._batches:
            self.provider.add_log_record_processor(batches)

    def force_flush(self, timeout_s: float = 5.0) -> bool:
        """Export what is waiting; False where that takes longer, and then it goes on."""
        thread = threading.Thread(target=self.provider.force_flush, name="pais-sdk-log-flush", daemon=True)
        try:
            thread.start()
        except RuntimeError:
            return False  # the interpreter ends, and starts no thread any more; what is waiting is left to shutdown
        thread.join(timeout_s)
        return not thread.is_alive()

    def shutdown(self, timeout_s: float = 5.0) -> None:
        """Export what is waiting within this time, and nothing afterwards."""
        until = time.monotonic() + timeout_s
        for batches in self._batches:
            batches.end(max(0.0, until - time.monotonic()))


class _Batches(BatchLogRecordProcessor):
    def end(self, timeout_s: float) -> None:
        # Its own shutdown() waits for up to 30 s, and at the interpreter's end no thread can be started to wait less.
        self._batch_processor.shutdown(timeout_millis=int(timeout_s * 1000))
