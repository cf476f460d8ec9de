"""Keeper: the task that keeps the connection to one server alive."""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any

import anyio
from pydantic_ai.exceptions import ToolFailed
from pydantic_ai.tools import ToolDefinition

from .config import HttpServer, MCPServerConfig
from .link import Link
from .reason import reason

if TYPE_CHECKING:
    from .connection import Connection

_log = logging.getLogger("pais_sdk.mcp")
_LOOK_S = 30.0
_LOOK_PAUSE_S = 0.1  # a server that says after each look that its tools have changed must not keep both busy
_LONG_S = 30.0
_TRIES = 3


class Keeper:
    """Connects on the loop that makes it, connects again when the connection ends, and closes it at the end.

    Args:
        name: The server's.
        config: How it is reached.
        connect_timeout_s: Seconds for one attempt, and for the answer when somebody looks if it still works.
        pause: Awaited before each new attempt, with the number of pauses since the server was last of use.
        on_change: Called with the keeper when its state or its tools change.
    """

    def __init__(
        self,
        name: str,
        config: MCPServerConfig,
        *,
        connect_timeout_s: float,
        pause: Callable[[int], Awaitable[None]],
        on_change: Callable[[Keeper], None],
    ) -> None:
        self.loop = asyncio.get_running_loop()
        self.began = self.loop.time()
        self.holders = 0
        self.error: str | None = None
        self.tools: list[ToolDefinition] | None = None
        self.instructions: str | None = None
        self.settled = asyncio.Event()
        """Set when the first attempt is over."""

        self._name = name
        self._config = config
        self._timeout_s = connect_timeout_s
        self._pause = pause
        self._on_change = on_change
        self._connection: Connection | None = None
        self._connected_at = 0.0
        self._failed = 0  # attempts since it was last connected
        self._pauses = 0  # since it was last of use
        self._attempt = self.loop.create_future()
        self._hurry = asyncio.Event()
        self._scope = anyio.CancelScope()
        self._task = self.loop.create_task(self._keep(), context=contextvars.Context())

    @property
    def is_up(self) -> bool:
        """Whether calls can be sent now."""
        return self._connection is not None and not self._connection.link.ended

    @property
    def is_offering(self) -> bool:
        """Whether a call would be carried out: it is up, or was until a moment ago and is tried again first."""
        return self.is_up or (self.settled.is_set() and not self._failed)

    @property
    def is_gone(self) -> bool:
        """Whether it ended, or its loop did."""
        return self._task.done() or self.loop.is_closed()

    async def close(self) -> None:
        """Close the connection and end the task."""
        self._scope.cancel()  # and not the task: that would break off the end of a command, which is left then
        await asyncio.wait([self._task])
        if not self._task.cancelled() and (error := self._task.exception()) is not None:
            _log.warning("MCP server %r did not close well", self._name, exc_info=error)

    async def call(self, tool: str, args: dict[str, Any], timeout_s: float | None, *, repeatable: bool) -> Any:
        """Call a tool; see MCPServer.call.

        Args:
            tool: The server's own name of it.
            args: Its arguments.
            timeout_s: Seconds for the answer, and for a connection that must be made anew before.
            repeatable: Whether it does no harm if the server carries the call out twice.
        """
        from .connection import CallLostError

        for _ in range(_TRIES):
            connection = await self._usable(timeout_s)
            try:
                return await connection.call(tool, args, timeout_s)
            except CallLostError as lost:
                if lost.unsent:
                    connection.link.end()
                elif repeatable:
                    repeatable = False  # once is enough: the call itself may be what ends the server
                else:
                    raise ToolFailed(
                        f"The MCP server {self._name!r} broke off the call of {tool!r}. It may or may not have been "
                        "carried out: find that out before you call it again, or go on without it."
                    ) from None
        raise self._down()

    async def _usable(self, timeout_s: float | None) -> Connection:
        """Return the connection; one that has just ended is made anew before, once for all who wait."""
        if not self.is_up and not self._failed:
            self._hurry.set()
            await asyncio.wait([self._attempt], timeout=timeout_s)
        if self._connection is None or not self.is_up:
            raise self._down()
        return self._connection

    def _down(self) -> ToolFailed:
        return ToolFailed(f"The MCP server {self._name!r} is down. Go on without its tools, or try again later.")

    async def _keep(self) -> None:
        me = asyncio.current_task()
        assert me is not None
        try:
            with self._scope:
                while True:
                    link, error = Link(), None
                    try:
                        await self._connect_and_watch(link)
                    except Exception as raised:  # noqa: BLE001 - whatever it is, the next attempt may do better
                        error = raised
                    if self._scope.cancel_called or me.cancelling():  # what comes up at the end is nobody's concern
                        return
                    self._note_end(link, error)
                    await self._wait_for_next()
        finally:
            self._connection = None
            self.settled.set()
            self._attempt.cancel()

    async def _connect_and_watch(self, link: Link) -> None:
        connected = await anyio.to_thread.run_sync(_load)
        async with connected(self._name, self._config, link, timeout_s=self._timeout_s) as (connection, tools):
            self._note_connected(connection, tools)
            # A command is known by its streams. Of HTTP nothing is heard between two requests.
            look_s = _LOOK_S if isinstance(self._config, HttpServer) else None
            while not link.ended:
                with anyio.move_on_after(look_s) as silence:
                    await link.news.wait()
                link.news.clear()
                if not link.ended and (link.doubtful or silence.cancelled_caught):
                    await self._look(connection)
                    await asyncio.sleep(_LOOK_PAUSE_S)

    async def _look(self, connection: Connection) -> None:
        """Ask for the tools; a server that does not answer is down, unless it may be busy with a call."""
        was_doubtful, connection.link.doubtful = connection.link.doubtful, False
        with anyio.move_on_after(self._timeout_s):
            self._note_tools(await connection.list_tools())
            return
        if was_doubtful or not connection.calls:
            raise TimeoutError

    def _note_connected(self, connection: Connection, tools: list[ToolDefinition]) -> None:
        if self.error is not None:
            _log.info("MCP server %r is back", self._name)
        self._connection, self._connected_at = connection, self.loop.time()
        self.tools, self.instructions, self.error = tools, connection.instructions, None
        self._failed = 0
        self._note_attempt()

    def _note_tools(self, tools: list[ToolDefinition]) -> None:
        if tools != self.tools:
            self.tools = tools
            self._on_change(self)

    def _note_end(self, link: Link, error: Exception | None) -> None:
        connection, self._connection = self._connection, None
        is_news = self.error is None
        self.error = reason(error, self._config, link, timeout_s=self._timeout_s)
        words = f"; its last words: {link.last_words}" if link.last_words else ""
        _log.log(
            logging.WARNING if is_news else logging.DEBUG,
            *("MCP server %r is down: %s%s", self._name, self.error, words),
            exc_info=error if _log.isEnabledFor(logging.DEBUG) else None,
        )
        if connection is None:
            self._failed += 1
            self._note_attempt()
            return
        if connection.used or self.loop.time() - self._connected_at > _LONG_S:
            self._pauses = 0
        self._on_change(self)

    def _note_attempt(self) -> None:
        self._hurry.clear()
        self.settled.set()
        attempt, self._attempt = self._attempt, self.loop.create_future()
        attempt.set_result(None)
        self._on_change(self)

    async def _wait_for_next(self) -> None:
        pause = asyncio.ensure_future(self._pause(self._pauses))
        hurry = asyncio.ensure_future(self._hurry.wait())
        self._pauses += 1
        try:
            await asyncio.wait([pause, hurry], return_when=asyncio.FIRST_COMPLETED)
        finally:
            for waiting in (pause, hurry):
                waiting.cancel()
            await asyncio.gather(pause, hurry, return_exceptions=True)


def _load() -> Callable[..., AbstractAsyncContextManager[tuple[Connection, list[ToolDefinition]]]]:
    """Import what talks to servers: it takes over a second, so it is done in a thread."""
    from .connection import connected

    return connected
