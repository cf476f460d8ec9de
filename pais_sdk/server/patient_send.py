"""Send to a reader that may be slow, but not for ever."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator
from contextlib import contextmanager

import anyio.lowlevel
from starlette.types import Message, Send

_PIECE_BYTES = 32 * 1024  # so that a reader that takes some of a large chunk is seen to


class PatientSend:
    """An ASGI `send` that gives a reader up when it takes nothing for a while.

    A send waits while the reader is behind. One timer a stream looks after that, so that a chunk costs no timer of
    its own.

    Args:
        send: The server's own.
        idle_s: Seconds that one send may wait.
        give_up: Called then, and where the connection breaks; it must cancel whoever sends.
    """

    def __init__(self, send: Send, *, idle_s: float, give_up: Callable[[], None]) -> None:
        self._send = send
        self._idle_s = idle_s
        self._give_up = give_up
        self._loop = asyncio.get_running_loop()
        self._since: float | None = None

    async def __call__(self, message: Message) -> None:
        try:
            body: bytes = message.get("body", b"")
            sent = 0
            while len(body) - sent > _PIECE_BYTES:
                piece = body[sent : sent + _PIECE_BYTES]
                await self._timed({"type": message["type"], "body": piece, "more_body": True})
                sent += _PIECE_BYTES
            if sent:
                message = {**message, "body": body[sent:]}
            await self._timed(message)
        except OSError:  # the connection broke in a way that the server does not tell from its own faults
            self._give_up()
            await anyio.lowlevel.checkpoint()

    async def _timed(self, message: Message) -> None:
        self._since = self._loop.time()
        try:
            await self._send(message)
        finally:
            self._since = None

    @contextmanager
    def watched(self) -> Generator[None]:
        """Look after the sends of this block."""
        timer = self._loop.call_later(self._idle_s, self._look)
        self._timer = timer
        try:
            yield
        finally:
            self._timer.cancel()

    def _look(self) -> None:
        now = self._loop.time()
        began = now if self._since is None else self._since
        if now - began >= self._idle_s:
            self._give_up()
        else:
            self._timer = self._loop.call_at(began + self._idle_s, self._look)
