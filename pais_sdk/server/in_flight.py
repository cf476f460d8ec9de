"""The requests that are being answered, to be waited for when a server ends."""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from contextlib import contextmanager

import anyio


class InFlight:
    """Counts requests; lives on the event loop of the server."""

    def __init__(self) -> None:
        self._count = 0
        self._over: asyncio.Event | None = None
        self._reading: set[anyio.CancelScope] = set()

    @contextmanager
    def counted(self) -> Generator[None]:
        """Be counted while the block runs."""
        self._count += 1
        try:
            yield
        finally:
            self._count -= 1
            if not self._count and self._over is not None:
                self._over.set()

    @contextmanager
    def reading(self) -> Generator[anyio.CancelScope]:
        """Be cancelled where the block still reads a request when `read_no_more` is called."""
        with anyio.CancelScope() as scope:
            self._reading.add(scope)
            try:
                yield scope
            finally:
                self._reading.discard(scope)

    def read_no_more(self) -> None:
        """End what waits for clients to send the rest of their requests."""
        for scope in list(self._reading):
            scope.cancel()

    async def over(self) -> None:
        """Return when there is none."""
        while self._count:
            self._over = asyncio.Event()
            await self._over.wait()
