"""RunTrace: the trace of one run, to be looked at."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape

from .recent import recent_traces
from .span import TraceSpan
from .text_tree import text_tree
from .tree import TreeRow, tree_of
from .waterfall import waterfall


@dataclass(frozen=True)
class RunTrace:
    """The trace of a run: its own span and what is below it.

    The spans are read from what `setup_telemetry` keeps in this process, whenever they are asked for: while the run
    lasts they are those that have begun. `str(trace)` is a tree in text, and a notebook shows a waterfall.
    """

    trace_id: str
    """The W3C trace id, 32 hex digits."""

    span_id: str | None = None
    """The run's own span, 16 hex digits; None where it was not recorded."""

    @property
    def spans(self) -> tuple[TraceSpan, ...]:
        """The spans of the run, in the order in which they began; none where none are kept (any more)."""
        return tuple(sorted((row.span for row in self._tree()), key=lambda span: span.start_ns))

    def __str__(self) -> str:
        rows = self._tree()
        return text_tree(rows) if rows else self._nothing()

    def _repr_html_(self) -> str:
        rows = self._tree()
        return waterfall(rows, trace_id=self.trace_id) if rows else f"<div>{escape(self._nothing())}</div>"

    def _tree(self) -> list[TreeRow]:
        kept = recent_traces()
        return [] if kept is None else tree_of(kept.spans_of(self.trace_id), self.span_id)

    def _nothing(self) -> str:
        if recent_traces() is None:
            return f"Trace {self.trace_id}: nothing is kept here; call setup_telemetry() before the run."
        return (
            f"Trace {self.trace_id}: not kept, or not any more; "
            "setup_telemetry(keep_traces=...) says how many are, and a sampler which are recorded."
        )
