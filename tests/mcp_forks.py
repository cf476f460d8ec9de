"""Processes of `mcp_process.py` that start at once: forks of one that has imported, once, what takes a good second."""

from __future__ import annotations

import asyncio
import multiprocessing
from multiprocessing.connection import Connection

# Imports next to nothing, because a fork imports it, too.
FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload([__name__, f"{__package__}.mcp_process", "hypercorn.asyncio.run"])


def serve(port: int, options: tuple[str, ...], starter: Connection) -> None:
    """Serve over HTTP in a fork, and tell who started it that it listens."""
    from . import mcp_process

    asyncio.run(mcp_process.serve(port, options, lambda: starter.send("listens")))
