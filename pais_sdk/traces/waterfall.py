"""A trace as a waterfall in HTML: no scripts, no style sheets, nothing that is loaded."""

from __future__ import annotations

import time
from collections.abc import Sequence
from html import escape

from .groups import COLOURS, group_of
from .span import TraceSpan
from .tree import TreeRow
from .words import failure_of, label_of, line, seconds, time_of, tokens_of

_MAX_ROWS = 200
_MAX_DEPTH = 12
_MAX_ATTRIBUTES = 40
_MAX_LINE = 160
_FOR_OTHER_SCREENS = "logfire."

# Notebooks that are stored or shown elsewhere lose style sheets, so the styles are those of the elements. Text has
# the colour of the page, and what is behind the bars is a thin grey, for light pages and dark ones alike.
_PAGE = "font:13px/1.6 system-ui,sans-serif;max-width:72em"
_LINE = "display:inline-flex;width:calc(100% - 1.5em);gap:8px;vertical-align:top"
_CUT = "overflow:hidden;text-overflow:ellipsis;white-space:nowrap"
_DETAILS = "margin:2px 0 6px 2em;white-space:pre-wrap;overflow-wrap:anywhere;font-size:11px;opacity:.8"


def waterfall(rows: Sequence[TreeRow], *, trace_id: str) -> str:
    """Return one foldable row for each span: its name, a bar from its start to its end, its time, and its tokens."""
    began = min(row.span.start_ns for row in rows)
    ended = max(row.span.end_ns or time.time_ns() for row in rows)
    top = rows[0].span
    facts = [f"{len(rows)} spans" if len(rows) > 1 else "1 span", seconds((ended - began) / 1e9), tokens_of(top)]
    title = f"Trace of {label_of(top)}: {'; '.join(fact for fact in facts if fact)}"
    shown = rows[:_MAX_ROWS]
    parts = [
        f'<div role="figure" aria-label="{escape(title)}" style="{_PAGE}">',
        f"<div><b>{escape(title)}</b> <code style=opacity:.6>{escape(trace_id)}</code></div>",
        *(_row(row, began, max(ended - began, 1)) for row in shown),
    ]
    if len(rows) > len(shown):
        parts.append(f"<div>and {len(rows) - len(shown)} spans more</div>")
    groups = dict.fromkeys(group_of(row.span) for row in shown)
    parts.append('<div style="margin-top:4px;opacity:.8">')
    parts.extend(f'<span style="color:{COLOURS[group]}">■</span> {group} ' for group in groups)
    parts.append("</div></div>")
    return "".join(parts)


def _row(row: TreeRow, began: int, length: int) -> str:
    span = row.span
    left = min((span.start_ns - began) / length, 1) * 100
    width = min(((span.end_ns or began + length) - span.start_ns) / length * 100, 100 - left)
    name = escape(label_of(span))
    indent = f"padding-left:{min(row.depth, _MAX_DEPTH) * 14}px;box-sizing:border-box;"
    failure = failure_of(span)
    if failure:
        name += f' <b style="color:#d9534f" title="{escape(failure)}">failed</b>'
    bar = f"margin-left:{left:.1f}%;width:{max(width, 0):.1f}%;background:{COLOURS[group_of(span)]}"
    return (
        f'<details><summary style=cursor:pointer><span style="{_LINE}">'
        f'<span style="{indent}flex:0 0 40%;{_CUT}">{name}</span>'
        f'<span style="flex:1;background:#8883;align-self:center">'
        f'<span style="display:block;height:10px;min-width:2px;{bar}"></span></span>'
        f'<span style="flex:0 0 5em;text-align:right">{time_of(span)}</span>'
        f'<span style="flex:0 0 8em">{tokens_of(span)}</span>'
        f'</span></summary><div style="{_DETAILS}">{escape(_facts(span))}</div></details>'
    )


def _facts(span: TraceSpan) -> str:
    attributes = [(name, value) for name, value in span.attributes.items() if not name.startswith(_FOR_OTHER_SCREENS)]
    facts = [f"{span.kind} span {span.span_id} of {span.scope}"]
    if span.error:
        facts.append(f"error: {span.error}")
    facts.extend(f"{name}: {value}" for name, value in attributes[:_MAX_ATTRIBUTES])
    if len(attributes) > _MAX_ATTRIBUTES:
        facts.append(f"and {len(attributes) - _MAX_ATTRIBUTES} attributes more")
    return "\n".join(line(fact, _MAX_LINE) for fact in facts)
