"""One of something for each event loop: a connection belongs to the loop that made it."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

T = TypeVar("T")

_LOOK_S = 0.1


class PerLoop(Generic[T]):
    """Made when a loop first asks for it; a memory can so be used from a cell and by a runtime on another loop.

    Args:
        make: Makes one, on the loop that asks; others there wait for it.
        close: Closes one, on its own loop.
    """

    def __init__(self, make: Callable[[], Awaitable[T]], close: Callable[[T], Awaitable[None]]) -> None:
        self._make = make
        self._close = close
        self._made: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, T] = weakref.WeakKeyDictionary()
        self._making: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock] = weakref.WeakKeyDictionary()

    def ready(self) -> T | None:
        """Return this loop's, where it is made."""
        return self._made.get(asyncio.get_running_loop())

    async def get(self) -> T:
        """Return this loop's; what making it raises goes through, and the next call tries again."""
        loop = asyncio.get_running_loop()
        made = self._made.get(loop)
        if made is None:
            async with self._making.setdefault(loop, asyncio.Lock()):
                made = self._made.get(loop)
                if made is None:
                    self._forget_ended()
                    made = self._made[loop] = await self._make()
        return made

    async def close(self) -> None:
        """Close all on loops that run; those of a loop that has ended went with it."""
        here = asyncio.get_running_loop()
        for loop, made in [*self._made.items()]:
            if self._made.pop(loop, None) is None:
                continue
            if loop is here:
                await self._close(made)
            elif loop.is_running():
                await self._close_there(loop, made)

    def _forget_ended(self) -> None:
        """Let go of what was made on loops that are closed; it holds its loop, so neither would go by itself."""
        for loop in [*self._made]:
            if loop.is_closed():
                self._made.pop(loop, None)

    async def _close_there(self, loop: asyncio.AbstractEventLoop, made: T) -> None:
        async def close() -> None:
            await self._close(made)

        closing = asyncio.wrap_future(asyncio.run_coroutine_threadsafe(close(), loop))
        while not closing.done() and loop.is_running():  # what a loop that ends meanwhile leaves is never done
            await asyncio.wait([closing], timeout=_LOOK_S)
        if closing.done() and not closing.cancelled():
            closing.result()
