"""MCPServers: the tools of several servers as one toolset."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Collection, Coroutine, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self, cast

from pydantic_ai.messages import InstructionPart
from pydantic_ai.tools import RunContext
from pydantic_ai.toolsets import AbstractToolset, FunctionToolset, ToolsetTool
from pydantic_core import SchemaValidator, core_schema

from .._shield import to_its_end
from ..errors import ConfigurationError
from .config import MCPServerConfig
from .config_file import read_mcp_config
from .names import ToolNames, valid_name
from .server import MCPServer
from .status import MCPServerStatus

_ANY_OBJECT = SchemaValidator(core_schema.dict_schema(core_schema.str_schema(), core_schema.any_schema()))
_OUTPUT_TOOL = "final_result"  # Pydantic AI's name of the tool that carries an output


class MCPServers(AbstractToolset[Any]):
    """The tools of all servers that are up; one that is down never stands in the way of the others.

    A tool keeps its own name. Where two servers, or a server and a function of the agent, have the same name, the
    tool of each server is called `<server>_<tool>`, for the life of this object. Names that model APIs refuse are
    made valid.

    Args:
        servers: How servers are reached, by name, or MCPServer objects.
        required: Names of servers without which an agent counts as not ready.
        id: Distinguishes it from other toolsets of an agent.
        include_instructions: Whether the model gets what the servers say about their use. They write these texts, and
            a model takes them for yours.

    Raises:
        ConfigurationError: A server cannot be used, two have the same name, or `required` names none of them.
        MissingExtraError: The extra `mcp` is not installed.
    """

    def __init__(
        self,
        servers: Mapping[str, MCPServerConfig | Mapping[str, Any]] | Iterable[MCPServer] = (),
        *,
        required: Collection[str] = (),
        id: str = "mcp",
        include_instructions: bool = False,
    ) -> None:
        if isinstance(servers, Mapping):
            entries = cast("Mapping[str, MCPServerConfig | Mapping[str, Any]]", servers)
            servers = [MCPServer(name, config) for name, config in entries.items()]
        self._id = id
        self._include_instructions = include_instructions
        self._servers: dict[str, MCPServer] = {}
        self._names = ToolNames()
        self._open: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, int] = weakref.WeakKeyDictionary()
        self._given: tuple[Any, dict[str, ToolsetTool[Any]]] | None = None
        for server in servers:
            self.add(server)
        for name in required:
            if name not in self._servers:
                raise ConfigurationError(f"{name!r} is required, and no MCP server has that name")
            self._servers[name].required = True

    @classmethod
    def from_config(
        cls,
        path: str | Path,
        *,
        required: Collection[str] = (),
        environment: Mapping[str, str] | None = None,
        id: str = "mcp",
    ) -> Self:
        """Return the servers of a file in the common `mcpServers` JSON.

        Args:
            path: The file.
            required: Names of servers without which an agent counts as not ready.
            environment: For `${VAR}` in the file, such as `os.environ`; None for none.
            id: Distinguishes it from other toolsets of an agent.

        Raises:
            ConfigurationError: The file cannot be read or used; the text names the file and the server.
        """
        return cls(read_mcp_config(path, environment), required=required, id=id)

    @property
    def id(self) -> str:
        return self._id

    @property
    def servers(self) -> list[MCPServer]:
        """The servers, in the order of their names' first mention."""
        return list(self._servers.values())

    @property
    def statuses(self) -> list[MCPServerStatus]:
        """How each of them is at this moment."""
        return [server.status for server in self._servers.values()]

    @property
    def version(self) -> int:
        """Grows whenever a server is added, or the state or the tools of one change."""
        return len(self._servers) + sum(server.version for server in self._servers.values())

    def add(self, server: MCPServer) -> None:
        """Add a server; where this is entered, it begins to connect (`await server.settled()` waits for that).

        Raises:
            ConfigurationError: There is one of that name.
        """
        if server.name in self._servers:
            raise ConfigurationError(f"there are two MCP servers with the name {server.name!r}; rename one")
        loop = _running_loop()
        for _ in range(0 if loop is None else self._open.get(loop, 0)):
            server.hold()
        self._servers[server.name] = server

    async def __aenter__(self) -> Self:
        held: list[MCPServer] = []
        loop = asyncio.get_running_loop()
        try:
            for server in self.servers:  # in order, and each connects in a task of its own: a slow one holds up nobody
                server.hold()
                held.append(server)
            self._open[loop] = self._open.get(loop, 0) + 1
        except BaseException:
            await _release(held)
            raise
        try:
            for server in held:
                await server.settled()
        except BaseException:
            await self.__aexit__(None, None, None)
            raise
        return self

    async def __aexit__(self, *args: Any) -> None:
        loop = asyncio.get_running_loop()
        self._open[loop] = self._open.get(loop, 1) - 1
        await _release(self.servers)

    async def get_tools(self, ctx: RunContext[Any]) -> dict[str, ToolsetTool[Any]]:
        """Return the tools of the servers that are up, by the names that the model calls them by; it never waits."""
        taken = frozenset(_functions_of(ctx))
        key = (self.version, taken, ctx.max_retries)
        if self._given is None or self._given[0] != key:
            self._given = (key, self._give(taken, ctx.max_retries))
        return dict(self._given[1])

    async def call_tool(
        self, name: str, tool_args: dict[str, Any], ctx: RunContext[Any], tool: ToolsetTool[Any]
    ) -> Any:
        assert isinstance(tool, _MCPTool)
        return await tool.server.call(tool.own_name, tool_args)

    async def get_instructions(self, ctx: RunContext[Any]) -> list[str | InstructionPart] | None:
        if not self._include_instructions:
            return None
        return [
            InstructionPart(server.instructions, on_change="append", name=valid_name(server.name))
            for server in self._servers.values()
            if server.instructions
        ]

    def _give(self, taken: Collection[str], max_retries: int) -> dict[str, ToolsetTool[Any]]:
        # Those of a server that is down count, too: a name must not mean another tool when it is back.
        known = [(server.name, tool.name) for server in self._servers.values() for tool in server.tools]
        offered = {(server.name, tool.name): tool for server in self._servers.values() for tool in server.offered_tools}
        return {
            name: _MCPTool(
                toolset=self,
                tool_def=replace(offered[tool], name=name),
                max_retries=max_retries,
                args_validator=_ANY_OBJECT,  # the server judges them
                server=self._servers[tool[0]],
                own_name=tool[1],
            )
            for name, tool in self._names.give(known, taken=taken).items()
            if tool in offered
        }


@dataclass(kw_only=True)
class _MCPTool(ToolsetTool[Any]):
    server: MCPServer
    own_name: str


def _functions_of(ctx: RunContext[Any]) -> Iterator[str]:
    """Yield the names that others have in a run.

    These are the agent's functions, the tool that carries its output, and the tools of toolsets that say so themselves
    with an attribute `fixed_tool_names`, wherever in the run they are: those that delegate to other agents.
    """
    yield _OUTPUT_TOOL
    for toolset in () if ctx.agent is None else ctx.agent.toolsets:
        if isinstance(toolset, FunctionToolset):
            yield from toolset.tools
    fixed: set[str] = set()
    if ctx.tool_manager is not None:
        ctx.tool_manager.toolset.apply(lambda toolset: fixed.update(getattr(toolset, "fixed_tool_names", ())))
    yield from fixed


async def _release(servers: Iterable[MCPServer]) -> None:
    """Let go of servers; those that nobody else holds end side by side, because each takes its time."""
    ending: list[Coroutine[Any, Any, None]] = []
    for server in servers:
        if server.holders > 1:
            await server.release()  # which waits for nothing
        else:
            ending.append(server.release())
    if ending:
        await to_its_end(asyncio.gather(*ending))


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
