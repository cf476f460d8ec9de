"""Lifetime: open things on one event loop and close them in the task that opened them."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from contextlib import AsyncExitStack


class _Opened:
    """One opening: the loop it belongs to, the task that owns what was opened, and the way to end it."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.stop = asyncio.Event()
        self.ready: Future[None] = Future()
        self.ready.set_running_or_notify_cancel()  # from here on a waiter that gives up does not cancel it
        self.task: asyncio.Task[None] | None = None

    @property
    def over(self) -> bool:
        return self.loop.is_closed() or (self.task is not None and self.task.done())


class Lifetime:
    """Belongs to the loop that opens it first, until it is closed; then any loop may open it again.

    Some things, MCP sessions among them, must be left by the task that entered them: one owner task does both.

    Args:
        enter: Puts on the stack all that is to be closed again. It runs in the owner task.
    """

    def __init__(self, enter: Callable[[AsyncExitStack], Awaitable[None]]) -> None:
        self._enter = enter
        self._opened: _Opened | None = None
        self._guard = threading.Lock()

    @property
    def loop(self) -> asyncio.AbstractEventLoop | None:
        """The loop it is open on; None while it is closed."""
        opened = self._opened
        return None if opened is None or opened.over else opened.loop

    async def open(self) -> asyncio.AbstractEventLoop:
        """Open on this loop, unless it is open somewhere already, and return the loop it is open on."""
        opened = self._opened
        if opened is None or opened.over:
            with self._guard:
                opened = self._opened
                if opened is None or opened.over:
                    loop = asyncio.get_running_loop()
                    opened = self._opened = _Opened(loop)
                    # An empty context: what is opened outlives the call, and the trace, that came first.
                    opened.task = loop.create_task(self._own(opened), context=contextvars.Context())
        if not opened.ready.done():
            await asyncio.wrap_future(opened.ready)
        opened.ready.result()
        return opened.loop

    async def close(self) -> None:
        """Close what is open; nothing where nothing is."""
        opened = self._opened
        if opened is None or opened.over or opened.task is None:
            return
        opened.loop.call_soon_threadsafe(opened.stop.set)
        if opened.loop is asyncio.get_running_loop():
            await asyncio.shield(opened.task)
        else:
            await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(_finished(opened.task), opened.loop))

    async def _own(self, opened: _Opened) -> None:
        try:
            async with AsyncExitStack() as stack:
                await self._enter(stack)
                opened.ready.set_result(None)
                await opened.stop.wait()
        except BaseException as error:
            if opened.ready.done():
                raise
            opened.ready.set_exception(error)


async def _finished(task: asyncio.Task[None]) -> None:
    await task
