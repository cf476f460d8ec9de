"""A bounded number of connections, made when they are needed."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from anyio import CancelScope

from ...errors import MemoryUnavailableError
from .connection import SqlConnection

_WAIT_S = 30.0


class ConnectionPool:
    """Belongs to one event loop. Who comes first has a connection first.

    Args:
        make: Makes a connection.
        size: How many there are at most.
    """

    def __init__(self, make: Callable[[], Awaitable[SqlConnection]], size: int) -> None:
        self._make = make
        self._free = asyncio.Semaphore(size)
        self._idle: list[SqlConnection] = []
        self._closed = False

    async def acquire(self) -> SqlConnection:
        """Return a connection that nobody else has until it is released.

        Raises:
            MemoryUnavailableError: All were in use for half a minute.
        """
        await self._wait()
        try:
            while self._idle:
                connection = self._idle.pop()
                if connection.usable:
                    return connection
                await connection.close()
            made: SqlConnection | None = None
            with CancelScope(shield=True):  # the drivers do not clean up what is half made while all is cancelled
                made = await self._make()
            assert made is not None
            return made
        except BaseException:
            self._free.release()
            raise

    async def release(self, connection: SqlConnection) -> None:
        """Give a connection back; one that is not usable any more is closed."""
        try:
            if connection.usable and not self._closed:
                self._idle.append(connection)
            else:
                await connection.close()
        finally:
            self._free.release()

    async def close(self) -> None:
        """Close those that are idle now, and the others when they are given back."""
        self._closed = True
        while self._idle:
            await self._idle.pop().close()

    async def _wait(self) -> None:
        if not self._free.locked():
            await self._free.acquire()
            return
        try:
            async with asyncio.timeout(_WAIT_S):
                await self._free.acquire()
        except TimeoutError as error:
            raise MemoryUnavailableError(f"all connections to the database were in use for {_WAIT_S:g} s") from error
