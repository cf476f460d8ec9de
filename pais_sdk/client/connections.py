"""The connections to a remote agent."""

from __future__ import annotations

import asyncio
import ssl
import weakref
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cache

import httpx2

_KEPT = 20
_KEPT_S = 3.0  # shorter than servers keep them: one that closes just as a task is sent would leave its fate unknown


class Connections:
    """An HTTP client for each event loop, there while somebody on it holds it.

    Args:
        given: The caller's own client, used on every loop and never closed; None to make them.
    """

    def __init__(self, given: httpx2.AsyncClient | None) -> None:
        self._given = given
        self._held: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, _Held] = weakref.WeakKeyDictionary()

    def enter(self) -> httpx2.AsyncClient:
        """Hold this loop's client; made when the first one asks for it."""
        if self._given is not None:
            return self._given
        loop = asyncio.get_running_loop()
        held = self._held.get(loop)
        if held is None or held.client.is_closed:
            self._forget_ended()
            held = self._held[loop] = _Held(_client(), held.holders if held is not None else 0)
        held.holders += 1
        return held.client

    async def leave(self) -> None:
        """Let go of it; the last one of a loop closes it."""
        held = self._held.get(asyncio.get_running_loop())
        if held is None:
            return
        held.holders -= 1
        if held.holders <= 0:
            self._held.pop(asyncio.get_running_loop(), None)
            await held.client.aclose()

    @asynccontextmanager
    async def held(self) -> AsyncGenerator[httpx2.AsyncClient]:
        """Hold this loop's client while the block runs."""
        client = self.enter()
        try:
            yield client
        finally:
            await self.leave()

    async def close(self) -> None:
        """Close this loop's client now; whoever comes next makes another one."""
        held = self._held.get(asyncio.get_running_loop())  # it stays, as whoever holds it will leave
        if held is not None:
            await held.client.aclose()

    def _forget_ended(self) -> None:
        """Let go of those of loops that are closed, where nobody can close them; they hold their loops."""
        for loop in [*self._held]:
            if loop.is_closed():
                self._held.pop(loop, None)


@dataclass
class _Held:
    client: httpx2.AsyncClient
    holders: int


def _client() -> httpx2.AsyncClient:
    limits = httpx2.Limits(max_connections=None, max_keepalive_connections=_KEPT, keepalive_expiry=_KEPT_S)
    return httpx2.AsyncClient(verify=_certificates(), limits=limits)


@cache
def _certificates() -> ssl.SSLContext:
    """Return what is trusted, read once for all clients: that takes longer than many a request."""
    return httpx2.create_ssl_context()
