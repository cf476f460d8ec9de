"""RunMetrics: one run as metrics."""

from __future__ import annotations

import time

from opentelemetry import metrics

from .._active_count import ActiveCount

_WAITS_S = (0.001, 0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_TIMES_S = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 40, 80, 160, 320, 640, 1280)

_meter = metrics.get_meter("pais_sdk.runtime")
_runs = _meter.create_counter("pais_sdk.runs", unit="{run}", description="Runs that ended or were refused")
_durations = _meter.create_histogram(
    "pais_sdk.run.duration",
    unit="s",
    description="Time from the call to the end of the run",
    explicit_bucket_boundaries_advisory=_TIMES_S,
)
_first_tokens = _meter.create_histogram(
    "pais_sdk.run.time_to_first_token",
    unit="s",
    description="Time from the call to the first piece of text or thinking of a streamed run",
    explicit_bucket_boundaries_advisory=_TIMES_S,
)
_active = ActiveCount(_meter, "pais_sdk.active_runs", unit="{run}", description="Runs that have a place")
_waits = _meter.create_histogram(
    "pais_sdk.run.queue_wait",
    unit="s",
    description="Time from the call to the place of the run: for its session, and in the queue",
    explicit_bucket_boundaries_advisory=_WAITS_S,
)


class RunMetrics:
    """Made when the run is called for.

    Args:
        surface: What the call came through.
    """

    def __init__(self, surface: str) -> None:
        self._surface = surface
        self._called = time.perf_counter()
        self._placed = False

    def placed(self) -> None:
        """The run has its place."""
        self._placed = True
        labels = {"surface": self._surface}
        _waits.record(time.perf_counter() - self._called, labels)
        _active.add(1, labels)

    def first_token(self) -> None:
        """The first piece of the answer, or of the thinking before it, is told."""
        _first_tokens.record(time.perf_counter() - self._called, {"surface": self._surface})

    def ended(self, stop_reason: str) -> None:
        """The run has ended, or was refused."""
        if self._placed:
            _active.add(-1, {"surface": self._surface})
        labels = {"surface": self._surface, "stop_reason": stop_reason}
        _runs.add(1, labels)
        _durations.record(time.perf_counter() - self._called, labels)
