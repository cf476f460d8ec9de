"""Agents that give a task to another one, and one that only seems to; for `benchmarks.delegation`."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

import httpx
from pydantic_ai import Agent
from pydantic_ai.messages import ModelMessage, ModelResponse, TextPart, ToolCallPart
from pydantic_ai.models.function import AgentInfo, FunctionModel

from .agents import ANSWER, QUESTION

if TYPE_CHECKING:
    from pais_sdk import AgentRuntime


async def _answer(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
    return ModelResponse([TextPart(ANSWER)])


async def _answer_in_one_piece(messages: list[ModelMessage], info: AgentInfo) -> AsyncIterator[str]:
    yield ANSWER


worker = Agent(FunctionModel(_answer, stream_function=_answer_in_one_piece, model_name="bench"), name="worker")


async def _delegate_once(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
    if isinstance(messages[-2] if len(messages) > 1 else None, ModelResponse):
        return ModelResponse([TextPart(messages[-1].parts[0].content)])  # pyright: ignore
    return ModelResponse([ToolCallPart("delegate_to_worker", {"task": QUESTION})])


def _delegating() -> Agent[Any, str]:
    return Agent(FunctionModel(_delegate_once, model_name="bench"), name="bench")


delegating = _delegating()
"""Has the tool from the environment."""

alone = _delegating()
"""Its tool has the answer itself."""

by_hand = _delegating()
"""Its tool asks the server of WORKER_URL, as one does it by hand."""


@alone.tool_plain(name="delegate_to_worker")
async def answer_at_once(task: str) -> str:
    """Delegate a task."""
    return ANSWER


class _Client:
    shared: httpx.AsyncClient | None = None


@by_hand.tool_plain(name="delegate_to_worker")
async def ask_worker(task: str) -> str:
    """Delegate a task."""
    if _Client.shared is None:
        _Client.shared = httpx.AsyncClient(base_url=os.environ["WORKER_URL"])
    body = {"messages": [{"role": "user", "content": task}]}
    answer = await _Client.shared.post("/v1/chat/completions", json=body)
    return answer.raise_for_status().json()["choices"][0]["message"]["content"]


def __getattr__(name: str) -> AgentRuntime[Any]:
    """Make `local`, an orchestrator with its worker in the same process, where it is asked for."""
    if name != "local":
        raise AttributeError(name)
    from pais_sdk import AgentRuntime
    from pais_sdk.delegation import DelegationToolset

    team = DelegationToolset({"worker": AgentRuntime(worker)})
    return AgentRuntime(_delegating(), toolsets=[team], history_limit=6)
