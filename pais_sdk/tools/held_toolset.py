"""A toolset that stays entered."""

from __future__ import annotations

import asyncio
import contextvars
from typing import Any

from pydantic_ai.toolsets import AbstractToolset

from .._shield import to_its_end


class HeldToolset:
    """Enters a toolset and leaves it in one task, as MCP sessions need it, whoever opens and closes this."""

    def __init__(self, toolset: AbstractToolset[Any]) -> None:
        self.toolset = toolset
        self._stop = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Enter it; what entering raises is raised here."""
        ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        # An empty context: what is opened outlives the call, and the trace, that came first.
        self._task = asyncio.create_task(self._own(ready), context=contextvars.Context())
        try:
            await asyncio.wait([self._task, ready], return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            self._task.cancel()
            await to_its_end(asyncio.wait([self._task]))
            raise
        if not ready.done():
            self._task.result()

    async def close(self) -> None:
        """Leave it; what leaving raises is raised here."""
        if self._task is not None:
            self._stop.set()
            await asyncio.shield(self._task)

    async def _own(self, ready: asyncio.Future[None]) -> None:
        async with self.toolset:
            ready.set_result(None)
            await self._stop.wait()
