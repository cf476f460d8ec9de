"""The agents that are measured; their model is a function that answers at once, so that only the rest costs."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator

from pydantic_ai import Agent
from pydantic_ai.messages import ModelMessage, ModelResponse, TextPart, ToolCallPart
from pydantic_ai.models.function import AgentInfo, FunctionModel

if os.environ.get("WITH_PROVIDER"):  # as in agents with a model of a provider: a collection looks at what is loaded
    import pydantic_ai.models.openai  # noqa: F401 # pyright: ignore[reportUnusedImport]

QUESTION = "A question of a few words?"
ANSWER = "An answer of a few words."
CHUNKS = 200


async def _answer(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
    return ModelResponse([TextPart(ANSWER)])


async def _pieces(messages: list[ModelMessage], info: AgentInfo) -> AsyncIterator[str]:
    for _ in range(CHUNKS):
        yield "word "


async def _call_once(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
    if isinstance(messages[-2] if len(messages) > 1 else None, ModelResponse):
        return ModelResponse([TextPart(ANSWER)])
    return ModelResponse([ToolCallPart("add", {"a": 1, "b": 2})])


agent = Agent(FunctionModel(_answer, stream_function=_pieces, model_name="bench"), name="bench")
tool_agent = Agent(FunctionModel(_call_once, model_name="bench"), name="bench")


@tool_agent.tool_plain
async def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b
