"""Channel: the events of one run on their way from the one that tells them to the one that reads them."""

from __future__ import annotations

import asyncio
from collections import deque

from ..events import RunEvent


class Channel:
    """A bounded queue on one event loop, with one writer, one reader, and a last event that always fits.

    Args:
        size: Events that may wait for the reader; then the writer waits.
    """

    def __init__(self, size: int = 16) -> None:
        self._size = size
        self._events: deque[RunEvent] = deque()
        self._last: RunEvent | None = None
        self._closed = False
        self._changed: asyncio.Future[None] | None = None

    async def put(self, event: RunEvent) -> None:
        """Add an event; waits while the reader is `size` events behind. Dropped where nobody reads any more."""
        while len(self._events) >= self._size and not self._closed:
            await self._change()
        if not self._closed:
            self._events.append(event)
            self._wake()

    def put_now(self, event: RunEvent) -> None:
        """Add an event without waiting, whatever the size."""
        if not self._closed:
            self._events.append(event)
            self._wake()

    def end(self, event: RunEvent) -> None:
        """Add the last event; every `get` after it returns it again."""
        self._last = event
        self._wake()

    async def get(self) -> RunEvent:
        """Return the next event; a cancelled `get` takes none."""
        while not self._events:
            if self._last is not None:
                return self._last
            await self._change()
        event = self._events.popleft()
        self._wake()
        return event

    def close(self) -> None:
        """Nobody reads any more: drop what is here and whatever comes."""
        self._closed = True
        self._events.clear()
        self._wake()

    async def _change(self) -> None:
        # Reader and writer never wait at once: one waits for an empty queue to fill, the other for a full one to empty.
        changed = self._changed = asyncio.get_running_loop().create_future()
        await changed

    def _wake(self) -> None:
        if self._changed is not None:
            if not self._changed.done():
                self._changed.set_result(None)
            self._changed = None
