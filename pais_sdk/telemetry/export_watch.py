"""ExportWatch: what is said of telemetry that does not arrive."""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Callable
from typing import Any, Protocol, cast

from opentelemetry.sdk._logs.export import LogRecordExporter, LogRecordExportResult
from opentelemetry.sdk.metrics.export import MetricExporter, MetricExportResult
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from .quiet_exporters import heard_reasons, quiet_exporters
from .whole_spans import whole_record, whole_span

_log = logging.getLogger("pais_sdk.telemetry")
_AGAIN_S = 60.0
_AT_MOST_S = 3600.0
_USERINFO = re.compile(r"[^\s/@,'\"]+@")
_QUERY = re.compile(r"\?[^\s'\",)]+")
_HEADER = re.compile(r"(header value: ).*", re.DOTALL)
_LONGEST = 300


class _Result(Protocol):
    @property
    def name(self) -> str: ...


class ExportWatch:
    """Says when exports begin to fail, then after 1, 2, 4, ... up to 60 minutes that they still do, and when they work.

    Exporters themselves say something at each attempt: that is taken out of the log, where they are watched.

    Args:
        clock: Gives seconds that only grow.
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        quiet_exporters()
        self._clock = clock
        self._guard = threading.Lock()
        self.watched: list[_Watched] = []
        self._failing: dict[str, str] = {}
        self._failures = 0
        self._said = False
        self._silent_until = float("-inf")
        self._pause_s = _AGAIN_S

    def spans(self, exporter: SpanExporter, to: str) -> SpanExporter:
        """Return an exporter that does the same and is watched; `to` names where it exports to."""
        return cast("SpanExporter", _Watched(exporter, self, "traces", to, SpanExportResult.FAILURE, whole_span))

    def metrics(self, exporter: MetricExporter, to: str) -> MetricExporter:
        """Do the same for metrics."""
        return cast("MetricExporter", _Watched(exporter, self, "metrics", to, MetricExportResult.FAILURE))

    def logs(self, exporter: LogRecordExporter, to: str) -> LogRecordExporter:
        """Do the same for logs."""
        watched = _Watched(exporter, self, "logs", to, LogRecordExportResult.FAILURE, whole_record)
        return cast("LogRecordExporter", watched)

    def hurry(self) -> None:
        """Let no exporter wait before it tries again, from now on: a process that ends should not wait for them.

        What a collector does not take at once is tried a second time at once, and then lost.
        """
        for watched in self.watched:
            watched.hurry()

    @property
    def failing(self) -> bool:
        """Whether the last export of some signal failed."""
        return bool(self._failing)

    def failed(self, signal: str, to: str, reason: str) -> None:
        """Note that an export failed."""
        with self._guard:
            self._failing[signal] = _public(to)
            self._failures += 1
            now = self._clock()
            if now < self._silent_until:
                return
            self._silent_until = now + self._pause_s
            self._pause_s = min(2 * self._pause_s, _AT_MOST_S)
            self._said = True
            signals = " and ".join(sorted(self._failing))
            where = ", ".join(sorted(set(self._failing.values())))
            failures = self._failures
        _log.warning("%s do not get to %s, %d exports are lost: %s", signals, where, failures, _public(reason))

    def succeeded(self, signal: str) -> None:
        """Note that an export arrived."""
        if signal not in self._failing:
            return
        with self._guard:
            self._failing.pop(signal, None)
            if self._failing:
                return
            failures, self._failures = self._failures, 0
            said, self._said = self._said, False
            # What fails again within the minute is not said at once: something that comes and goes fills no log.
            self._silent_until = min(self._silent_until, self._clock() + _AGAIN_S)
            self._pause_s = _AGAIN_S
        if said:
            _log.warning("telemetry is exported again, %d exports were lost", failures)


class _Watched:
    """An exporter of any kind: what is not said here is the exporter's own."""

    def __init__(
        self,
        exporter: Any,
        watch: ExportWatch,
        signal: str,
        to: str,
        failure: _Result,
        whole: Callable[[Any], Any] | None = None,
    ) -> None:
        self._exporter = exporter
        self._whole = whole
        self._watch = watch
        self._signal = signal
        self._to = to
        self._failure = failure
        self._hurries = False
        watch.watched.append(self)

    def hurry(self) -> None:
        # Events without a public name: shutdown() sets them, after which nothing is exported at all.
        client = getattr(self._exporter, "_client", None)
        waits = getattr(self._exporter, "_shutdown_in_progress", None) or getattr(client, "_shutdown_event", None)
        if waits is not None:
            self._hurries = True
            waits.set()

    def export(self, *arguments: Any, **options: Any) -> Any:
        with heard_reasons() as reasons:
            result = self._exported(reasons, *arguments, **options)
            # gRPC fails at once over a connection that failed before, and has made a new one then.
            if self._hurries and result.name == self._failure.name:
                result = self._exported(reasons, *arguments, **options)
        if result.name == self._failure.name:
            self._watch.failed(self._signal, self._to, reasons[0] if reasons else "no reason is known")
        else:
            self._watch.succeeded(self._signal)
        return result

    def _exported(self, reasons: list[str], batch: Any, *arguments: Any, **options: Any) -> Any:
        try:
            if self._whole is not None:
                batch = [self._whole(each) for each in batch]
            return self._exporter.export(batch, *arguments, **options)
        except Exception as error:  # noqa: BLE001 - the SDK would write a traceback for each
            reasons.append(f"{type(error).__name__}: {error}")
            return self._failure

    def __getattr__(self, name: str) -> Any:
        return getattr(self._exporter, name)


def _public(text: str) -> str:
    """Return a text of the exporter's in one line, without what an address or a header may hold for authentication."""
    line = _HEADER.sub(r"\1...", _QUERY.sub("?...", _USERINFO.sub("", " ".join(text.split()))))
    return line if len(line) <= _LONGEST else f"{line[:_LONGEST]}..."
