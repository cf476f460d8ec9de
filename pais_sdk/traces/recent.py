"""RecentTraces: the spans of the newest traces of this process."""

from __future__ import annotations

import threading
from collections import OrderedDict

from .span import TraceSpan


class RecentTraces:
    """Spans of the newest traces; what is older is dropped. Callable from any thread.

    Args:
        max_traces: Traces that are kept.
        max_spans: Spans of one trace that are kept; the first ones.
    """

    def __init__(self, max_traces: int, *, max_spans: int = 1000) -> None:
        self._max_traces = max_traces
        self._max_spans = max_spans
        self._traces: OrderedDict[str, dict[str, TraceSpan]] = OrderedDict()
        self._guard = threading.Lock()

    def put(self, span: TraceSpan) -> None:
        """Keep a span, in place of what was kept of it when it began."""
        with self._guard:
            spans = self._traces.setdefault(span.trace_id, {})
            if span.span_id in spans or len(spans) < self._max_spans:
                spans[span.span_id] = span
            while len(self._traces) > self._max_traces:
                self._traces.popitem(last=False)

    def spans_of(self, trace_id: str) -> tuple[TraceSpan, ...]:
        """Return the spans of a trace, in the order in which they began; none where it is not kept."""
        with self._guard:
            return tuple(sorted(self._traces.get(trace_id, {}).values(), key=lambda span: span.start_ns))

    def trace_ids(self) -> list[str]:
        """Return the traces that are kept, oldest first."""
        with self._guard:
            return list(self._traces)


_kept: RecentTraces | None = None


def recent_traces() -> RecentTraces | None:
    """Return what is kept in this process; None where nothing is."""
    return _kept


def keep_traces_in(traces: RecentTraces | None) -> None:
    """Say where this process keeps its traces; None for nowhere. `setup_telemetry` does, which is global anyway."""
    global _kept
    _kept = traces
