"""The tools that an executor knows, and which of them a name means."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from pydantic import ValidationError
from pydantic_ai.tools import RunContext, ToolDefinition
from pydantic_ai.toolsets import AbstractToolset, ToolsetTool
from pydantic_core import PydanticSerializationError, to_jsonable_python

from ..mcp import MCPServer
from ..mcp.names import ToolNames
from . import failures


class CallRefusedError(Exception):
    """A call that no tool has seen; the text says why."""


@dataclass(frozen=True)
class KnownTool:
    """One tool, as a model would see it."""

    definition: ToolDefinition
    call: Callable[[dict[str, Any], RunContext[Any]], Awaitable[Any]]
    names: tuple[str, ...]
    """All names it is called by, the model's first."""

    is_remote: bool
    """Whether it is an MCP server's; its names give way to those of others."""


def tools_of(toolset: AbstractToolset[Any], tools: Mapping[str, ToolsetTool[Any]]) -> list[KnownTool]:
    """Return the tools that a toolset has listed."""

    def known(name: str, tool: ToolsetTool[Any]) -> KnownTool:
        async def call(arguments: dict[str, Any], ctx: RunContext[Any]) -> Any:
            ctx = replace(ctx, max_retries=tool.max_retries)
            return await toolset.call_tool(name, await _validated(tool, arguments, ctx), ctx, tool)

        return KnownTool(tool.tool_def, call, (name,), is_remote=False)

    return [known(name, tool) for name, tool in tools.items()]


def tools_of_servers(servers: Iterable[MCPServer], names: ToolNames, *, taken: Iterable[str]) -> list[KnownTool]:
    """Return the tools of MCP servers, under the names that a model calls them by."""
    tools = {(server.name, tool.name): (server, tool) for server in servers for tool in server.tools}

    def known(name: str, server: MCPServer, tool: ToolDefinition) -> KnownTool:
        async def call(arguments: dict[str, Any], ctx: RunContext[Any]) -> Any:
            try:
                sent = to_jsonable_python(arguments)
            except (PydanticSerializationError, ValueError) as error:
                raise CallRefusedError(failures.no_json(name, error)) from None
            return await server.call(tool.name, sent)

        names = (name, f"{server.name}_{tool.name}", tool.name)
        return KnownTool(replace(tool, name=name), call, tuple(dict.fromkeys(names)), is_remote=True)

    return [known(name, *tools[tool]) for name, tool in names.give(tools, taken=frozenset(taken)).items()]


def find_tool(name: str, tools: Iterable[KnownTool]) -> KnownTool:
    """Return the tool that a name means.

    Raises:
        CallRefusedError: No tool has this name, or several servers' tools have it.
    """
    known = [*tools]
    named = [tool for tool in known if name in tool.names]
    found = [tool for tool in named if not tool.is_remote] or named
    if not found:
        raise CallRefusedError(failures.unknown_tool(name, (tool.names[0] for tool in known)))
    if len(found) > 1:
        raise CallRefusedError(failures.ambiguous_tool(name, (_other_name(name, tool) for tool in found)))
    return found[0]


def _other_name(name: str, tool: KnownTool) -> str:
    return next((other for other in tool.names if other != name), name)


async def _validated(tool: ToolsetTool[Any], arguments: dict[str, Any], ctx: RunContext[Any]) -> dict[str, Any]:
    """Return the arguments as the tool takes them, or raise CallRefusedError."""
    try:
        validated = tool.args_validator.validate_python(arguments)
    except ValidationError as error:
        raise CallRefusedError(failures.misfit(tool.tool_def, error)) from None
    if tool.args_validator_func is not None:
        checked = tool.args_validator_func(ctx, **validated)
        if inspect.isawaitable(checked):
            await checked
    if tool.tool_def.kind in ("external", "unapproved"):
        needs_approval = tool.tool_def.kind == "unapproved"
        raise CallRefusedError(failures.deferred(tool.tool_def.name, needs_approval=needs_approval))
    return validated
