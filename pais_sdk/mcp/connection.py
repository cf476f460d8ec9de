"""One connection to an MCP server: opened, used and closed by one task, called from any task of its loop."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, cast

import anyio
from fastmcp.client import Client
from fastmcp.client.logging import LogMessage
from fastmcp.client.transports.base import ClientTransport, SessionKwargs, TransportOptions
from fastmcp.telemetry import suppress_fastmcp_telemetry
from mcp import ClientSession, MCPError, types
from mcp.client.subscriptions import ListenNotSupportedError, listen
from pydantic_ai.exceptions import ModelRetry, ToolFailed
from pydantic_ai.mcp import MCPToolset
from pydantic_ai.tools import RunContext, ToolDefinition
from pydantic_core import to_json
from typing_extensions import Unpack

from .config import MCPServerConfig
from .link import Link, Sending, sending
from .wire import Streams, open_wire

_log = logging.getLogger("pais_sdk.mcp")
_CLOSING_S = 3.0


class CallLostError(Exception):
    """The connection ended, or gave no answer, while a call was on its way.

    Args:
        unsent: Whether it is certain that the server did nothing about the call.
    """

    def __init__(self, *, unsent: bool) -> None:
        super().__init__("the call was lost")
        self.unsent = unsent


class Connection:
    """Calls and lists the tools of a server that is connected."""

    def __init__(self, name: str, toolset: MCPToolset[Any], link: Link) -> None:
        self.link = link
        self.used = False
        """Whether a call has been answered on it."""

        self.calls = 0
        """How many are on their way."""

        self._name = name
        self._toolset = toolset

    @property
    def instructions(self) -> str | None:
        """What the server says about its use."""
        return self._toolset.instructions

    async def list_tools(self) -> list[ToolDefinition]:
        """Ask the server for its tools."""
        # Pydantic AI's mapping needs a run for nothing but the retries, which are fixed here.
        with suppress_fastmcp_telemetry():
            tools = await self._toolset.get_tools(cast("RunContext[Any]", None))
        return [tool.tool_def for tool in tools.values()]

    async def call(self, tool: str, args: dict[str, Any], timeout_s: float | None) -> Any:
        """Call a tool; see MCPServer.call.

        Raises:
            CallLostError: There is no answer, and there will be none.
        """
        if self.link.ended:
            raise CallLostError(unsent=True)
        try:
            to_json(args)
        except ValueError as error:  # on its way it would end the connection for everybody
            raise ModelRetry(f"The arguments of {tool!r} cannot be sent: {error}") from None
        note = Sending()
        token = sending.set(note)
        self.calls += 1
        limit = asyncio.timeout(timeout_s)
        try:
            # FastMCP's span is that of the MCP SDK once more, and tells what a tool that failed said.
            with suppress_fastmcp_telemetry():
                async with limit:
                    result = await self._toolset.direct_call_tool(tool, args)
        except TimeoutError:
            self.link.doubt()
            if not limit.expired():
                raise self._lost(note) from None
            raise ToolFailed(
                f"The tool {tool!r} of the MCP server {self._name!r} took longer than {timeout_s:g} s. It was told to "
                "stop; whether it did something before is not known."
            ) from None
        except ToolFailed:
            self.used = True
            raise
        except ModelRetry as error:
            raise self._refused(tool, error, note) from None
        except Exception as error:  # noqa: BLE001 - from a foreign server, through three libraries
            if self.link.ended or note.unsent:
                raise self._lost(note) from None
            self.link.doubt()
            _log.warning("MCP server %r: its answer to %r cannot be used", self._name, tool, exc_info=error)
            raise ToolFailed(f"The MCP server {self._name!r} gave an answer to {tool!r} that cannot be used.") from None
        finally:
            self.calls -= 1
            sending.reset(token)
        self.used = True
        return result

    def _refused(self, tool: str, error: ModelRetry, note: Sending) -> Exception:
        """Return what an error of the protocol, and not of the tool, means."""
        cause = error.__cause__
        while isinstance(cause, BaseExceptionGroup):
            cause = cast("BaseExceptionGroup[BaseException]", cause).exceptions[0]
        code = cause.error.code if isinstance(cause, MCPError) else None
        if self.link.ended or note.unsent or note.broken_off or code == types.CONNECTION_CLOSED:
            return self._lost(note)
        self.used = True
        if code == types.INVALID_PARAMS:
            return ModelRetry(error.message)
        self.link.doubt()
        return ToolFailed(f"The MCP server {self._name!r} refused the call of {tool!r}: {error.message}")

    def _lost(self, note: Sending) -> CallLostError:
        self.link.doubt()
        return CallLostError(unsent=note.unsent)


@asynccontextmanager
async def connected(
    name: str, config: MCPServerConfig, link: Link, *, timeout_s: float
) -> AsyncGenerator[tuple[Connection, list[ToolDefinition]]]:
    """Connect to a server and list its tools; all of it is left by the task that enters it.

    Raises:
        TimeoutError: It took longer than `timeout_s`.
        Exception: What the wire or the server said; also later, when the wire breaks.
    """
    is_up = False
    with anyio.CancelScope(deadline=anyio.current_time() + timeout_s) as limit:
        async with open_wire(name, config, link) as streams:
            toolset = _toolset(streams, link)
            async with _entered(toolset), anyio.create_task_group() as group:
                connection = Connection(name, toolset, link)
                tools = await connection.list_tools()
                is_up = True
                limit.deadline = math.inf
                group.start_soon(_hear_changes, toolset.client.session, link)
                try:
                    yield connection, tools
                finally:
                    link.end()
                    limit.deadline = anyio.current_time() + _CLOSING_S
                    group.cancel_scope.cancel()
    if limit.cancelled_caught and not is_up:
        raise TimeoutError


@asynccontextmanager
async def _entered(toolset: MCPToolset[Any]) -> AsyncGenerator[None]:
    await toolset.__aenter__()
    try:
        yield
    finally:
        # Not by leaving it: it counts who uses it, and a call that was cancelled may still be counted.
        with anyio.CancelScope(shield=True):
            await toolset.client.close()


def _toolset(streams: Streams, link: Link) -> MCPToolset[Any]:
    async def hear(message: Any) -> None:
        if isinstance(message, types.ToolListChangedNotification):
            link.doubt()

    # Without a timeout of its own: `connected` has one.
    client = Client(_Borrowed(streams), init_timeout=0, message_handler=hear, log_handler=_log_message)
    return MCPToolset(client, tool_error_behavior="failed", max_retries=1, cache_tools=False)


class _Borrowed(ClientTransport):
    """Streams that somebody else opens and closes, so that a command does not depend on how a session ends."""

    def __init__(self, streams: Streams) -> None:
        self._streams = streams

    @asynccontextmanager
    async def connect_session(
        self, *, transport_options: TransportOptions | None = None, **session_kwargs: Unpack[SessionKwargs]
    ) -> AsyncGenerator[ClientSession]:
        options = transport_options or TransportOptions()
        async with options.session_class(*self._streams, **session_kwargs) as session:
            yield session


async def _hear_changes(session: ClientSession, link: Link) -> None:
    """Hear of changed tools where the protocol has a subscription for it; the end of one is news, too."""
    try:
        async with listen(session, tools_list_changed=True) as changes:
            async for _ in changes:
                link.doubt()
    except ListenNotSupportedError:
        return  # an older protocol: the session's notifications say it
    except Exception as error:  # noqa: BLE001 - a server that cannot do this well is as good as one that cannot do it
        _log.debug("an MCP server ended its subscription: %r", error)
        link.doubt()


async def _log_message(message: LogMessage) -> None:
    _log.debug("an MCP server logs: %s", message.data)
