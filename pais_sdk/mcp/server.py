"""MCPServer: one server, connected while somebody holds it, and its tools."""

from __future__ import annotations

import asyncio
import importlib.util
import math
from collections.abc import Awaitable, Callable, Mapping
from types import TracebackType
from typing import Any, Self

import anyio
from pydantic_ai.tools import ToolDefinition

from .._shield import to_its_end
from ..errors import MissingExtraError
from .backoff import backoff
from .config import MCPServerConfig
from .config_file import parse_server
from .keeper import Keeper
from .status import MCPServerStatus


class MCPServer:
    """One MCP server and its connection, which a task of its own keeps alive while the object is entered.

    It may be entered many times on one event loop, by any of its tasks, and is connected once; the last one who
    leaves ends the connection, and the command if it is one. On another loop it can be entered after that.

    Args:
        name: What it is called.
        config: How it is reached: a StdioServer, an HttpServer, or an entry of `mcpServers`.
        required: Whether an agent counts as not ready without it.
        connect_timeout_s: Seconds to connect and to list the tools.
        first_wait_s: Seconds that whoever enters it waits for that at the most; the attempt goes on. None for as long
            as it takes.
        call_timeout_s: Seconds for a call; None for any time.
        pause: Awaited before a server that is down is tried again, with the number of pauses since it was last of
            use. The default waits 0.5 s, then twice as long each time, at the most 30 s.

    Raises:
        ConfigurationError: The entry cannot be used.
        MissingExtraError: The extra `mcp` is not installed.
    """

    def __init__(
        self,
        name: str,
        config: MCPServerConfig | Mapping[str, Any],
        *,
        required: bool = False,
        connect_timeout_s: float = 30,
        first_wait_s: float | None = None,
        call_timeout_s: float | None = None,
        pause: Callable[[int], Awaitable[None]] = backoff,
    ) -> None:
        if any(importlib.util.find_spec(library) is None for library in ("mcp", "fastmcp")):
            raise MissingExtraError("MCP servers", extra="mcp")
        self.name = name
        self.config = parse_server(name, config) if isinstance(config, Mapping) else config
        self.required = required
        self._connect_timeout_s = connect_timeout_s
        self._first_wait_s = math.inf if first_wait_s is None else first_wait_s
        self._call_timeout_s = call_timeout_s
        self._pause = pause
        self._version = 0
        self._tools: list[ToolDefinition] = []
        self._keeper: Keeper | None = None

    @property
    def status(self) -> MCPServerStatus:
        """How it is at this moment."""
        keeper = self._open_keeper()
        if keeper is None:
            state, error = "down", "it is not open"
        elif keeper.is_up:
            state, error = "ready", None
        elif not keeper.settled.is_set():
            state, error = "connecting", None
        else:
            state, error = "down", keeper.error or "its connection ended"
        tools = len(self._tools) if state == "ready" else 0
        return MCPServerStatus(name=self.name, state=state, required=self.required, tools=tools, error=error)

    @property
    def version(self) -> int:
        """Grows whenever its state or its tools change."""
        return self._version

    @property
    def holders(self) -> int:
        """How often it is entered."""
        keeper = self._open_keeper()
        return 0 if keeper is None else keeper.holders

    @property
    def tools(self) -> list[ToolDefinition]:
        """The tools that it listed last, by its own names; none while it was never connected."""
        return list(self._tools)

    @property
    def offered_tools(self) -> list[ToolDefinition]:
        """The tools that can be called now; none while it is down."""
        keeper = self._open_keeper()
        return list(self._tools) if keeper is not None and keeper.is_offering else []

    @property
    def instructions(self) -> str | None:
        """What the server says about its use; None while it is not open."""
        keeper = self._open_keeper()
        return None if keeper is None else keeper.instructions

    async def __aenter__(self) -> Self:
        self.hold()
        try:
            await self.settled()
        except BaseException:
            await self.release()
            raise
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.release()

    def hold(self) -> None:
        """Begin to connect, unless it is connected, and keep it so until as many `release` calls.

        Raises:
            RuntimeError: It is open on another event loop.
        """
        loop = asyncio.get_running_loop()
        keeper = self._open_keeper()
        if keeper is not None and keeper.loop is not loop:
            if keeper.loop.is_running():
                raise RuntimeError(f"MCP server {self.name!r} is open on another event loop; use one object for each")
            keeper = None
        if keeper is None:
            keeper = self._keeper = Keeper(
                self.name,
                self.config,
                connect_timeout_s=self._connect_timeout_s,
                pause=self._pause,
                on_change=self._note_change,
            )
            self._version += 1
        keeper.holders += 1

    async def settled(self) -> None:
        """Return when the first attempt to connect is over, well or not, or `first_wait_s` after it began."""
        if (keeper := self._keeper) is not None and not keeper.settled.is_set():
            with anyio.CancelScope(deadline=keeper.began + self._first_wait_s):
                await keeper.settled.wait()

    async def release(self) -> None:
        """Take back one `hold`; the last one ends the connection."""
        keeper = self._keeper
        if keeper is None or keeper.loop is not asyncio.get_running_loop():
            return  # it ended with the loop that it was open on
        keeper.holders -= 1
        if not keeper.holders:
            self._keeper = None
            self._version += 1
            await to_its_end(keeper.close())

    async def call(self, name: str, args: dict[str, Any], *, timeout_s: float | None = None) -> Any:
        """Call a tool and return what it returned: a text, JSON, binary content, or a list of these.

        A server that has just ended is started again before, once. A call that the connection broke off is repeated,
        once, if the tool says that this does no harm (`readOnlyHint` or `idempotentHint`).

        Args:
            name: The server's own name of the tool.
            args: Its arguments.
            timeout_s: Seconds; None for the server's `call_timeout_s`.

        Raises:
            ToolFailed: The tool failed, the server is down, or it took too long; the text is for a model to read.
            ModelRetry: The server refused the arguments.
            RuntimeError: It is not entered on this event loop.
        """
        keeper = self._open_keeper()
        if keeper is None or keeper.loop is not asyncio.get_running_loop():
            raise RuntimeError(f"MCP server {self.name!r} is not open on this event loop; enter it with `async with`")
        timeout_s = self._call_timeout_s if timeout_s is None else timeout_s
        return await keeper.call(name, args, timeout_s, repeatable=self._is_repeatable(name))

    def _open_keeper(self) -> Keeper | None:
        return None if self._keeper is None or self._keeper.is_gone else self._keeper

    def _note_change(self, keeper: Keeper) -> None:
        if keeper is self._keeper:
            self._version += 1
            self._tools = self._tools if keeper.tools is None else keeper.tools

    def _is_repeatable(self, name: str) -> bool:
        metadata = next((tool.metadata for tool in self._tools if tool.name == name), None)
        hints: dict[str, Any] = (metadata or {}).get("annotations") or {}
        return bool(hints.get("readOnlyHint") or hints.get("idempotentHint"))
