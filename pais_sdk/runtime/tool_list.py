"""The tools of an agent as its model sees them, found by a run that stops before its first request."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any, NoReturn

from pydantic_ai.agent import AbstractAgent
from pydantic_ai.capabilities import AbstractCapability
from pydantic_ai.messages import ModelMessage
from pydantic_ai.models.function import AgentInfo, FunctionModel
from pydantic_ai.tools import ToolDefinition
from pydantic_ai.toolsets import AbstractToolset


class _ToolsSeen(Exception):  # noqa: N818 - no error: it carries the answer out of the run
    def __init__(self, tools: list[ToolDefinition]) -> None:
        super().__init__()
        self.tools = tools


async def list_tools(
    agent: AbstractAgent[Any, Any],
    deps: Any,
    *,
    toolsets: Sequence[AbstractToolset[Any]],
    capabilities: Sequence[AbstractCapability[Any]],
) -> list[ToolDefinition]:
    """Return the function tools that a run of the agent would offer to its model."""
    try:
        await agent.run(
            "What can you do?",
            model=FunctionModel(_look, stream_function=_look_streamed),
            deps=deps,
            toolsets=list(toolsets) or None,
            capabilities=list(capabilities) or None,
        )
    except _ToolsSeen as seen:
        return seen.tools
    raise RuntimeError("the agent answered without asking a model, so its tools cannot be listed")


async def _look(messages: list[ModelMessage], info: AgentInfo) -> NoReturn:
    raise _ToolsSeen(info.function_tools)


async def _look_streamed(messages: list[ModelMessage], info: AgentInfo) -> AsyncIterator[str]:
    await _look(messages, info)
    yield ""
