"""A trace as a tree: which span is a part of which."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .span import TraceSpan


@dataclass(frozen=True, slots=True)
class TreeRow:
    """One span in its place."""

    span: TraceSpan

    lasts: tuple[bool, ...]
    """For each level down to this one, whether it is the last there: what the lines before its name are drawn from."""

    @property
    def depth(self) -> int:
        """How many spans it is below."""
        return len(self.lasts)


def tree_of(spans: Sequence[TraceSpan], span_id: str | None) -> list[TreeRow]:
    """Return a span and what is below it, each span before its parts; all that is there where the span is not.

    A part of it may have run in another process, and may have called back into this one. So spans whose parent is
    unknown here, and that began while the span lasted, are taken for its parts, unless they are beside it.

    Args:
        spans: Of one trace, in the order in which they began.
        span_id: The span at the top.
    """
    known = {span.span_id: span for span in spans}
    top = known.get(span_id or "")
    children: dict[str, list[TraceSpan]] = {}
    tops: list[TraceSpan] = []
    for span in spans:
        if span is not top:
            (children.setdefault(span.parent_id, []) if span.parent_id in known else tops).append(span)
    if top is not None:
        above = _above(top, known)
        strays = [span for span in tops if span.parent_id not in above and _within(span, top)]
        tops = [top]
        if strays:
            parts = [*children.get(top.span_id, []), *strays]
            children[top.span_id] = sorted(parts, key=lambda span: span.start_ns)
    rows: list[TreeRow] = []
    todo = [TreeRow(span, ()) for span in reversed(tops)]
    while todo:
        row = todo.pop()
        rows.append(row)
        parts = children.get(row.span.span_id, [])
        todo.extend(TreeRow(part, (*row.lasts, part is parts[-1])) for part in reversed(parts))
    return rows


def _above(span: TraceSpan, known: dict[str, TraceSpan]) -> set[str | None]:
    above: set[str | None] = set()
    while span.parent_id not in above:
        above.add(span.parent_id)
        span = known.get(span.parent_id or "", span)
    return above


def _within(span: TraceSpan, top: TraceSpan) -> bool:
    return top.start_ns <= span.start_ns <= (top.end_ns or span.start_ns)
