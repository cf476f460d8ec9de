"""LogExport: log records on their way to a collector."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import Any

from opentelemetry.sdk._logs import LoggerProvider, LogRecordProcessor, ReadWriteLogRecord
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor, LogRecordExporter
from opentelemetry.sdk.resources import Resource

from ..settings import Secrets

_LONGEST = 2**17
"""Characters of one text: collectors refuse a batch above some megabytes as a whole."""


class LogExport:
    """A logger provider that exports in batches, off the threads that log, without what the environment has as keys.

    Args:
        resource: What the records belong to.
        exporters: Each gets all of them.
    """

    def __init__(self, resource: Resource, exporters: Sequence[LogRecordExporter]) -> None:
        self.provider = LoggerProvider(resource, shutdown_on_exit=False)
        self.provider.add_log_record_processor(_Masked())
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


class _Masked(LogRecordProcessor):
    def __init__(self) -> None:
        self._secrets = Secrets()

    def on_emit(self, log_record: ReadWriteLogRecord) -> None:
        said = log_record.log_record
        said.body = self._public(said.body)
        said.attributes = {name: self._public(value) for name, value in (said.attributes or {}).items()}

    def _public(self, value: Any) -> Any:
        return self._secrets.masked(value)[:_LONGEST] if isinstance(value, str) else value

    def shutdown(self) -> None:
        """Do nothing: nothing is held here."""

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        return True


class _Batches(BatchLogRecordProcessor):
    def end(self, timeout_s: float) -> None:
        # Its own shutdown() waits for up to 30 s, and at the interpreter's end no thread can be started to wait less.
        self._batch_processor.shutdown(timeout_millis=int(timeout_s * 1000))
