"""TraceSpan: one span, as it is shown."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceSpan:
    """One step of a trace."""

    name: str

    trace_id: str
    """32 hex digits."""

    span_id: str
    """16 hex digits."""

    parent_id: str | None
    """The span that it is a part of; None for the first of a trace."""

    start_ns: int
    """When it began, in nanoseconds since 1970."""

    end_ns: int | None
    """When it ended; None while it lasts."""

    attributes: Mapping[str, Any]

    failed: bool
    """Whether its status is an error."""

    scope: str
    """The library that made it, such as `pydantic-ai`."""

    @property
    def duration_s(self) -> float | None:
        """Seconds that it took; None while it lasts."""
        return None if self.end_ns is None else (self.end_ns - self.start_ns) / 1e9
