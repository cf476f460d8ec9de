"""RecentTraces: the spans of the newest traces of this process."""

from __future__ import annotations

import threading
from collections import OrderedDict, deque
from collections.abc import Callable

from .span import TraceSpan


class RecentTraces:
    """Spans of the traces in which something happened last; the others are dropped. Callable from any thread.

    Args:
        max_traces: Traces that are kept.
        max_spans: Spans of one trace that are kept, twice: those that last, and the newest of those that ended.
    """

    def __init__(self, max_traces: int, *, max_spans: int = 1000) -> None:
        self._max_traces = max_traces
        self._max_spans = max_spans
        self._traces: OrderedDict[str, _KeptTrace] = OrderedDict()
        # One that a thread may take twice: the garbage collector may end a span while another is being kept.
        self._guard = threading.RLock()

    @property
    def max_traces(self) -> int:
        """Traces that are kept."""
        return self._max_traces

    @max_traces.setter
    def max_traces(self, value: int) -> None:
        with self._guard:
            self._max_traces = value
            self._drop()

    def begin(self, trace_id: str, span_id: str, read: Callable[[], TraceSpan]) -> None:
        """Keep a span that begins.

        Args:
            trace_id: Its trace.
            span_id: The span.
            read: Returns what is known of it when somebody looks; may be called from any thread.
        """
        with self._guard:
            trace = self._traces.get(trace_id)
            if trace is None:
                trace = self._traces[trace_id] = _KeptTrace(self._max_spans)
                self._drop()
            else:
                self._traces.move_to_end(trace_id)
            trace.lasting[span_id] = read
            if len(trace.lasting) > self._max_spans:
                trace.lasting.pop(next(iter(trace.lasting)), None)

    def end(self, span: TraceSpan) -> None:
        """Keep a span that ended, in place of what was kept when it began."""
        with self._guard:
            trace = self._traces.get(span.trace_id)
            if trace is not None:
                self._traces.move_to_end(span.trace_id)
                trace.lasting.pop(span.span_id, None)
                trace.ended.append(span)

    def spans_of(self, trace_id: str) -> tuple[TraceSpan, ...]:
        """Return the spans of a trace, in the order in which they began; none where it is not kept."""
        with self._guard:
            trace = self._traces.get(trace_id)
            spans = [] if trace is None else list(trace.ended)
            lasting = [] if trace is None else list(trace.lasting.values())
        spans.extend(read() for read in lasting)
        return tuple(sorted(spans, key=lambda span: span.start_ns))

    def trace_ids(self) -> list[str]:
        """Return the traces that are kept; the one in which something happened last is the last."""
        with self._guard:
            return list(self._traces)

    def _drop(self) -> None:
        while len(self._traces) > self._max_traces:
            self._traces.popitem(last=False)


class _KeptTrace:
    def __init__(self, max_spans: int) -> None:
        self.lasting: dict[str, Callable[[], TraceSpan]] = {}
        self.ended: deque[TraceSpan] = deque(maxlen=max_spans)


_kept: RecentTraces | None = None
_guard = threading.Lock()


def recent_traces() -> RecentTraces | None:
    """Return what is kept in this process; None where nothing ever was."""
    return _kept


def keep_traces(max_traces: int) -> RecentTraces:
    """Return what this process keeps its traces in, made at the first call; it holds so many from now on.

    `setup_telemetry` calls it, which is global anyway. What is kept outlives it, so that it can still be looked at.
    """
    global _kept
    with _guard:
        if _kept is None:
            _kept = RecentTraces(max_traces)
        else:
            _kept.max_traces = max_traces
        return _kept
