"""ExportWatch: what is said of telemetry that does not arrive."""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Callable
from typing import Any, Protocol, TypeVar, cast

from opentelemetry.sdk._logs.export import LogRecordExporter, LogRecordExportResult
from opentelemetry.sdk.metrics.export import MetricExporter, MetricExportResult
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from .quiet_exporters import heard_reasons, quiet_exporters

_log = logging.getLogger("pais_sdk.telemetry")
_AGAIN_S = 60.0
_AT_MOST_S = 3600.0
_USERINFO = re.compile(r"[^\s/@,'\"]+@")
_QUERY = re.compile(r"\?[^\s'\",)]+")
_LONGEST = 300


class _Result(Protocol):
    @property
    def name(self) -> str: ...


ResultT = TypeVar("ResultT", bound=_Result)


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
        self._failing: dict[str, str] = {}
        self._failures = 0
        self._said = False
        self._silent_until = float("-inf")
        self._pause_s = _AGAIN_S

    def spans(self, exporter: SpanExporter, to: str) -> SpanExporter:
        """Return an exporter that does the same and is watched; `to` names where it exports to."""
        return cast("SpanExporter", _Watched(exporter, self, "traces", to, SpanExportResult.FAILURE))

    def metrics(self, exporter: MetricExporter, to: str) -> MetricExporter:
        """Do the same for metrics."""
        return cast("MetricExporter", _Watched(exporter, self, "metrics", to, MetricExportResult.FAILURE))

    def logs(self, exporter: LogRecordExporter, to: str) -> LogRecordExporter:
        """Do the same for logs."""
        return cast("LogRecordExporter", _Watched(exporter, self, "logs", to, LogRecordExportResult.FAILURE))

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

    def __init__(self, exporter: Any, watch: ExportWatch, signal: str, to: str, failure: _Result) -> None:
        self._exporter = exporter
        self._watch = watch
        self._signal = signal
        self._to = to
        self._failure = failure

    def export(self, *arguments: Any, **options: Any) -> Any:
        with heard_reasons() as reasons:
            try:
                result = self._exporter.export(*arguments, **options)
            except Exception as error:  # noqa: BLE001 - the SDK would write a traceback for each
                reasons.append(f"{type(error).__name__}: {error}")
                result = self._failure
        if result.name == self._failure.name:
            self._watch.failed(self._signal, self._to, reasons[0] if reasons else "no reason is known")
        else:
            self._watch.succeeded(self._signal)
        return result

    def __getattr__(self, name: str) -> Any:
        return getattr(self._exporter, name)


def _public(text: str) -> str:
    """Return a text of the exporter's in one line, without what an address may hold for authentication."""
    line = _QUERY.sub("?...", _USERINFO.sub("", " ".join(text.split())))
    return line if len(line) <= _LONGEST else f"{line[:_LONGEST]}..."
