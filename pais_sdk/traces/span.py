"""TraceSpan: one span, as it is shown."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_TOKENS = ("gen_ai.usage.", "gen_ai.aggregated_usage.", "pais_sdk.usage.")


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
    """What is known of it. Texts longer than 1000 characters are cut."""

    failed: bool
    """Whether its status is an error."""

    scope: str
    """The library that made it, such as `pydantic-ai`."""

    kind: str = "internal"
    """`internal`, `server`, `client`, `producer` or `consumer`."""

    error: str | None = None
    """What the span says of its failure, cut at 1000 characters; None where it did not fail, or says nothing."""

    @property
    def duration_s(self) -> float | None:
        """Seconds that it took; None while it lasts."""
        return None if self.end_ns is None else (self.end_ns - self.start_ns) / 1e9

    @property
    def input_tokens(self) -> int | None:
        """Tokens that models read in it, where it says so."""
        return self._tokens("input_tokens")

    @property
    def output_tokens(self) -> int | None:
        """Tokens that models wrote in it, where it says so."""
        return self._tokens("output_tokens")

    def _tokens(self, what: str) -> int | None:
        counts = (self.attributes.get(f"{of}{what}") for of in _TOKENS)
        return next((count for count in counts if isinstance(count, int)), None)
