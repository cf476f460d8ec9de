"""How an MCP server is reached."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias


@dataclass(frozen=True, kw_only=True)
class StdioServer:
    """An MCP server that is a command, which speaks over its standard input and output."""

    command: str
    args: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    """Set for the command, beside PATH and what else a program needs of this process' environment."""

    cwd: Path | None = None


@dataclass(frozen=True, kw_only=True)
class HttpServer:
    """An MCP server behind a URL, which speaks streamable HTTP."""

    url: str
    headers: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    """Sent with every request, such as a key."""


MCPServerConfig: TypeAlias = StdioServer | HttpServer
