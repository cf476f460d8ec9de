"""A trace as lines of text."""

from __future__ import annotations

from collections.abc import Sequence

from .tree import TreeRow
from .words import failure_of, label_of, time_of, tokens_of, width

_MAX_ROWS = 200


def text_tree(rows: Sequence[TreeRow]) -> str:
    """Return one line for each span: its name, how long it took, its tokens, and whether it failed or still runs."""
    shown = rows[:_MAX_ROWS]
    names = [_branches(row) + label_of(row.span) for row in shown]
    times = [time_of(row.span) for row in shown]
    tokens = [tokens_of(row.span) for row in shown]
    of_names, of_times, of_tokens = (max(map(width, column)) for column in (names, times, tokens))
    lines: list[str] = []
    for name, taken, count, row in zip(names, times, tokens, shown, strict=True):
        gap = " " * (of_names - width(name))
        lines.append(f"{name}{gap}  {taken:>{of_times}}  {count:<{of_tokens}}  {failure_of(row.span)}".rstrip())
    if len(rows) > len(shown):
        lines.append(f"… and {len(rows) - len(shown)} spans more")
    return "\n".join(lines)


def _branches(row: TreeRow) -> str:
    if not row.lasts:
        return ""
    *above, last = row.lasts
    return "".join("   " if ended else "│  " for ended in above) + ("└─ " if last else "├─ ")
