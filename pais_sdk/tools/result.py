"""What came of a tool call."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class ToolResult:
    """What one call of a tool gave; it is true when the call succeeded, whatever the tool returned."""

    success: bool
    result: Any = None
    """What the tool returned, as it returned it; None where it failed."""

    error: str | None = None
    """What went wrong and what to do, where it failed. It may hold the text of the tool's own exception."""

    def __bool__(self) -> bool:
        return self.success
