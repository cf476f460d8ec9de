"""Work that a cancellation may not break off."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable
from typing import TypeVar

from anyio import CancelScope

T = TypeVar("T")


async def to_its_end(work: Awaitable[T]) -> T:
    """Await `work` whatever happens; a cancellation that came meanwhile is raised when it is done."""
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        with CancelScope(shield=True):  # AnyIO would cancel again and again until then
            while not task.done():
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.wait([task])
        task.result()
        raise
