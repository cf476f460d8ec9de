"""Ratios of rounds, beside what they should be."""

from __future__ import annotations

import statistics
from collections import defaultdict
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Row:
    """One line of the table: what was measured, at whom, and what the ratio to the bare route should be."""

    what: str
    who: str
    aim: float | None = None


@dataclass
class Ratios:
    """All that was measured, by row, in the order in which rows first came."""

    values: dict[Row, list[float]] = field(default_factory=lambda: defaultdict(list))

    def add(self, row: Row, value: float) -> None:
        self.values[row].append(value)

    def table(self) -> str:
        """Return a Markdown table."""
        lines = ["| | | min | median | max | aim | met |", "|---|---|---|---|---|---|---|"]
        for row, values in self.values.items():
            middle = statistics.median(values)
            aim = "" if row.aim is None else f"{row.aim:.2f}"
            met = "" if row.aim is None else "yes" if middle <= row.aim else f"no, by {middle - row.aim:.2f}"
            low, high = min(values), max(values)
            lines.append(f"| {row.what} | {row.who} | {low:.2f} | {middle:.2f} | {high:.2f} | {aim} | {met} |")
        return "\n".join(lines)
