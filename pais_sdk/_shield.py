"""Work that a cancellation may not break off."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable


async def to_its_end(work: Awaitable[None]) -> None:
    """Await `work` whatever happens; a cancellation that came meanwhile is raised when it is done."""
    task = asyncio.ensure_future(work)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        while not task.done():
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait([task])
        task.result()
        raise
