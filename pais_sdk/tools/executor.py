"""Tools, and MCP servers, without a model."""

from __future__ import annotations

import asyncio
import logging
import math
import uuid
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any, Self, TypeVar, cast

from pydantic_ai.messages import ToolReturn
from pydantic_ai.tools import Tool, ToolDefinition
from pydantic_ai.toolsets import AbstractToolset, FunctionToolset

from ..errors import ConfigurationError, InvalidRequestError
from ..mcp import HttpServer, MCPServer, MCPServerConfig, MCPServers, StdioServer, parse_server
from ..mcp.names import ToolNames
from . import failures
from .held_toolset import HeldToolset
from .known_tools import CallRefusedError, KnownTool, find_tool, tools_of, tools_of_servers
from .lone_context import lone_context
from .result import ToolResult

_log = logging.getLogger("pais_sdk.tools")
ToolT = TypeVar("ToolT", bound="Callable[..., Any] | Tool[Any]")


class ToolExecutor:
    """Runs tools without a model: in a notebook, a test, a script.

    Servers are connected when they are registered and stay so until `aclose` or the end of an `async with`; with
    functions alone there is nothing to close. It is used from one event loop, that of its servers.

    Args:
        timeout_s: Seconds that a call may take; None for no limit.
        deps: What tools get as `RunContext.deps`.

    Raises:
        ConfigurationError: `timeout_s` is not more than 0.
    """

    def __init__(self, *, timeout_s: float | None = None, deps: Any = None) -> None:
        if timeout_s is not None and not timeout_s > 0:
            raise ConfigurationError(f"timeout_s={timeout_s!r} allows nothing; use more than 0, or None for no limit")
        self._timeout_s = timeout_s
        self._ctx = lone_context(deps, str(uuid.uuid4()))
        self._functions: FunctionToolset[Any] = FunctionToolset(id="pais_sdk.tools")
        self._forget()

    def _forget(self) -> None:
        """Be as new, but for the functions."""
        self._toolsets: list[tuple[AbstractToolset[Any], AbstractToolset[Any]]] = []  # as given, and as entered
        self._servers: dict[str, MCPServer | None] = {}  # None while it connects for the first time
        self._mcp = MCPServers(id="pais_sdk.tools.mcp")
        self._names = ToolNames()
        self._open = AsyncExitStack()
        self._loop: asyncio.AbstractEventLoop | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connections and forget what was connected; functions stay."""
        if self._loop is not None and not self._loop.is_closed():
            self._check_loop()
            opened = self._open
            self._forget()
            await opened.aclose()
        else:
            self._forget()

    @property
    def toolsets(self) -> list[AbstractToolset[Any]]:
        """All that is registered, for an agent that shares its connections: `Agent(model, toolsets=tools.toolsets)`."""
        return [self._functions, self._mcp, *(given for given, _ in self._toolsets)]

    def register_tool(self, tool: ToolT) -> ToolT:
        """Add a function, sync or async, with a `RunContext` as its first argument or without, or a `Tool`.

        Returns:
            What was given, so that this is a decorator, too.

        Raises:
            ConfigurationError: There is a tool of this name, or this is no function.
            UserError: Pydantic AI cannot make a tool of it.
        """
        given: Any = tool
        if not isinstance(given, Tool) and not hasattr(given, "__name__"):
            raise ConfigurationError(f"{given!r} is no tool; use a function, a method or a pydantic_ai.Tool")
        made: Tool[Any] = cast("Tool[Any]", given) if isinstance(given, Tool) else Tool(given)
        if made.name in self._functions.tools:
            raise ConfigurationError(f"there is a tool {made.name!r} already; give this one another name")
        self._functions.add_tool(made)
        return tool

    async def register_toolset(self, toolset: AbstractToolset[Any]) -> None:
        """Add a toolset and enter it.

        Raises:
            ConfigurationError: It is registered already, or a name of its tools is.
            Exception: What entering it, or listing its tools, raises; then it is not registered.
        """
        self._check_loop()
        if any(given is toolset for given, _ in self._toolsets):
            raise ConfigurationError(f"{toolset.label} is registered already")
        toolsets = self._toolsets
        held = HeldToolset(await toolset.for_run(self._ctx))
        async with AsyncExitStack() as stack:
            await held.open()
            stack.push_async_callback(held.close)
            names = await held.toolset.get_tools(self._ctx)
            taken = {name for tool in await self._all_tools() if not tool.is_remote for name in tool.names}
            if clash := sorted(taken & names.keys()):
                raise ConfigurationError(f"there is a tool {clash[0]!r} already; use toolset.prefixed(...)")
            if toolsets is not self._toolsets:
                raise ConfigurationError(f"{toolset.label} is not registered: all was closed while it was entered")
            toolsets.append((toolset, held.toolset))
            self._keep_open(stack.pop_all())

    async def register_mcp(self, name: str, server: Mapping[str, Any] | MCPServerConfig) -> None:
        """Connect to an MCP server and add its tools.

        Args:
            name: What the server is called here: its tools are `<name>_<tool>`, and `<tool>` where no other has that.
            server: `{"command", "args", "env", "cwd"}` or `{"url", "headers"}`, as in `mcpServers` files.

        Raises:
            ConfigurationError: The name is taken, the configuration cannot be used, or the server cannot be reached;
                then it is not registered.
            MissingExtraError: The extra `mcp` is not installed.
        """
        self._check_loop()
        if name in self._servers:
            raise ConfigurationError(f"there is an MCP server {name!r} already; give this one another name")
        config = server if isinstance(server, (StdioServer, HttpServer)) else parse_server(name, server)
        connecting = MCPServer(name, config)
        servers = self._servers
        servers[name] = None
        try:
            async with AsyncExitStack() as stack:
                await stack.enter_async_context(connecting)
                status = connecting.status
                if status.state != "ready":
                    raise ConfigurationError(f"MCP server {name!r} cannot be reached: {status.error}")
                if servers is not self._servers:
                    raise ConfigurationError(
                        f"MCP server {name!r} is not registered: all was closed while it connected"
                    )
                servers[name] = connecting
                self._mcp.add(connecting)
                self._keep_open(stack.pop_all())
        finally:
            if servers[name] is None:
                del servers[name]

    async def list_tools(self) -> list[ToolDefinition]:
        """Return all tools, under the names that an agent's model would call them by."""
        self._check_loop()
        return [tool.definition for tool in await self._all_tools()]

    async def execute(
        self, name: str, args: Mapping[str, Any] | None = None, *, timeout_s: float | None = None
    ) -> ToolResult:
        """Call a tool; what it, or its server, does wrong is told in the result and not raised.

        That text holds the exception's own, secrets included: it is for the developer who calls, not for a client.

        Args:
            name: A name of `list_tools`; `<server>_<tool>` always means a server's tool, unless a function has that
                name, and `<tool>` does where no other has it.
            args: The arguments by name; None for none.
            timeout_s: Seconds that the call may take, `math.inf` for no limit; None for the executor's. A sync tool
                that takes longer goes on in its thread, and nobody waits for it.

        Raises:
            CancelledError: The caller was cancelled; so is the tool.
            InvalidRequestError: `timeout_s` is not more than 0.
            RuntimeError: The servers are connected on another event loop.
        """
        self._check_loop()
        if timeout_s is not None and not timeout_s > 0:
            raise InvalidRequestError("timeout_s must be more than 0", param="timeout_s")
        limit_s = self._timeout_s if timeout_s is None else timeout_s
        limit = asyncio.timeout(None if limit_s == math.inf else limit_s)
        try:
            async with limit:
                value = await self._call(name, args)
        except CallRefusedError as refused:
            return ToolResult(False, error=str(refused))
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            return ToolResult(False, error=failures.raised(name, error))  # the tool's own doing
        except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever a tool raises is its result
            if limit_s is not None and limit.expired():
                return ToolResult(False, error=failures.too_slow(name, limit_s))
            return ToolResult(False, error=failures.raised(name, error))
        return ToolResult(True, value.return_value if isinstance(value, ToolReturn) else value)

    async def _call(self, name: str, args: object) -> Any:
        tool = await self._find(name)
        if args is not None and not isinstance(args, Mapping):
            raise CallRefusedError(failures.no_mapping(name, args))
        ctx = replace(self._ctx, tool_name=tool.definition.name, tool_call_id=str(uuid.uuid4()))
        return await tool.call(dict(cast("Mapping[str, Any]", args or {})), ctx)

    async def _find(self, name: str) -> KnownTool:
        """Return the tool that a name means; functions of other names are only listed where nothing else helps."""
        function = self._functions.tools.get(name)
        named = [] if function is None else await self._listed(FunctionToolset([function]))
        tools = [*named, *await self._other_tools()]
        if any(name in tool.names for tool in tools):
            return find_tool(name, tools)
        return find_tool(name, await self._all_tools())  # a function that is renamed as it is listed, or nothing

    async def _all_tools(self) -> list[KnownTool]:
        return [*await self._listed(self._functions), *await self._other_tools()]

    async def _other_tools(self) -> list[KnownTool]:
        tools = [tool for _, toolset in self._toolsets for tool in await self._listed(toolset)]
        servers = [server for server in self._servers.values() if server is not None]
        taken = {*self._functions.tools, *(tool.definition.name for tool in tools)}
        return [*tools, *tools_of_servers(servers, self._names, taken=taken)]

    async def _listed(self, toolset: AbstractToolset[Any]) -> list[KnownTool]:
        try:
            return tools_of(toolset, await toolset.get_tools(self._ctx))
        except Exception:  # noqa: BLE001 - one that cannot be listed must not take the others with it
            _log.warning("the tools of %s cannot be listed", toolset.label, exc_info=True)
            return []

    def _keep_open(self, opened: AsyncExitStack) -> None:
        self._loop = asyncio.get_running_loop()
        self._open.push_async_callback(opened.aclose)

    def _check_loop(self) -> None:
        if self._loop is None or self._loop is asyncio.get_running_loop():
            return
        if self._loop.is_closed():
            raise RuntimeError(
                "the event loop that the servers were connected on has ended, and they went with it; "
                "call aclose() and register them again"
            )
        raise RuntimeError(
            "the servers are connected on another event loop; use a ToolExecutor of its own for this one"
        )
