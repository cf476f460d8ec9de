"""Why a server is down, in words that hold no key, no header and no path of a URL."""

from __future__ import annotations

from pathlib import PurePath
from typing import cast
from urllib.parse import urlsplit

from .config import MCPServerConfig, StdioServer
from .link import Link


def reason(error: BaseException | None, config: MCPServerConfig, link: Link, *, timeout_s: float) -> str:
    """Return in words what ended a connection, or an attempt to connect; the error is None where it ended by itself."""
    while isinstance(error, BaseExceptionGroup):
        error = cast("BaseExceptionGroup[BaseException]", error).exceptions[0]
    if isinstance(config, StdioServer):
        who = f"the command {PurePath(config.command).name!r}"
        where_from = config.cwd
        if isinstance(error, OSError) and error.strerror:
            missing = where_from is not None and not where_from.is_dir()
            return f"{who} cannot be started: {'its working directory is not there' if missing else error.strerror}"
    else:
        parts = urlsplit(config.url)
        who = f"{parts.hostname}:{parts.port}" if parts.port else str(parts.hostname)
        if link.is_new_server:
            return f"{who} does not know the session: it was restarted"
        if link.http_status is not None:
            return f"{who} answered with HTTP status {link.http_status}"
    if error is None:
        return f"{who} ended the connection"
    if isinstance(error, TimeoutError):
        return f"{who} did not answer within {timeout_s:g} s"
    if type(error).__name__ in ("ConnectError", "ConnectTimeout"):
        return f"{who} cannot be reached"
    return f"{who} ended the connection, or does not speak MCP ({type(error).__name__})"
