"""How an MCP server is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class MCPServerStatus:
    """How one MCP server is at this moment."""

    name: str
    state: Literal["connecting", "ready", "down"]
    required: bool
    """Whether the agent counts as not ready without it."""

    tools: int
    """How many tools it offers now."""

    error: str | None = None
    """Why it is down, in words that hold no key and no header."""
