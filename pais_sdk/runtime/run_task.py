"""The task of one run, and work in it that a cancellation may not break off."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable


class RunTask(asyncio.Task[None]):
    """A task that is cheap to name.

    AnyIO words the reason of each cancellation, and there are several in a run, with the task that it happens in: its
    code, its place and its callbacks. That took a thirtieth of a run.
    """

    def __repr__(self) -> str:
        return f"<{self.get_name()}>"


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
