"""The MCP servers among the toolsets of an agent."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pydantic_ai.toolsets import AbstractToolset

from ..mcp import MCPServers, MCPServerStatus


def statuses_among(toolsets: Iterable[AbstractToolset[Any]]) -> list[MCPServerStatus]:
    """Return how each MCP server is at this moment."""
    return [status for servers in _among(toolsets) for status in servers.statuses]


def version_among(toolsets: Iterable[AbstractToolset[Any]]) -> int:
    """Return a number that grows whenever the tools or the state of an MCP server change."""
    return sum(servers.version for servers in _among(toolsets))


def _among(toolsets: Iterable[AbstractToolset[Any]]) -> list[MCPServers]:
    """Return them in order, also from within prefixes, filters and caches; each once."""
    found: dict[int, MCPServers] = {}

    def visit(toolset: AbstractToolset[Any]) -> None:
        if isinstance(toolset, MCPServers):
            found[id(toolset)] = toolset

    for toolset in toolsets:
        toolset.apply(visit)
    return list(found.values())
