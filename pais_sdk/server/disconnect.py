"""Notice a client that hangs up while its answer is being made."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import anyio
from starlette.types import Receive


@asynccontextmanager
async def cancelled_on_disconnect(receive: Receive) -> AsyncGenerator[anyio.CancelScope]:
    """Cancel the block when the client hangs up; what the block raises comes out as it is.

    The request's body must have been read. After the block, `cancel_called` of the scope tells whether it happened.
    """
    scope = anyio.CancelScope()
    # No task group: to start and cancel one costs five times as much, and every request needs a watcher.
    watcher = asyncio.create_task(_watch(receive, scope))
    with scope:
        try:
            yield scope
        finally:
            watcher.cancel()
    if watcher.done() and not watcher.cancelled():
        watcher.result()  # raises what went wrong with the connection


async def _watch(receive: Receive, scope: anyio.CancelScope) -> None:
    try:
        while (await receive())["type"] != "http.disconnect":
            pass
    except Exception:
        scope.cancel()
        raise
    scope.cancel()
