"""RunTrace: the trace of one run, to be looked at."""

from __future__ import annotations

from dataclasses import dataclass

from .recent import recent_traces
from .span import TraceSpan


@dataclass(frozen=True)
class RunTrace:
    """The trace that a run belongs to; its spans are read from what `setup_telemetry` keeps in this process."""

    trace_id: str
    """The W3C trace id, 32 hex digits."""

    span_id: str | None = None
    """The run's own span, 16 hex digits; None where it was not recorded."""

    @property
    def spans(self) -> tuple[TraceSpan, ...]:
        """The spans of the run, in the order in which they began; none where none are kept (any more)."""
        kept = recent_traces()
        return () if kept is None else kept.spans_of(self.trace_id)
