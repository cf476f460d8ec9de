"""Agents that delegate, for tests: the model calls what it is told to, and says what came back."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from pydantic_ai import Agent
from pydantic_ai.messages import ModelMessage, ModelRequest, ToolReturnPart
from pydantic_ai.models.function import AgentInfo, DeltaToolCall, FunctionModel

from pais_sdk import AgentRuntime
from pais_sdk.events import RunEvent, RunOutcome

from .agents import Pieces, last_user_text, model_of


def asking(*calls: tuple[str, str], preamble: str = "") -> FunctionModel:
    """Return a model that gives each agent its task, all in one step, and answers with what came back."""

    async def stream(messages: list[ModelMessage], info: AgentInfo) -> Pieces:
        if results := returned(messages):
            yield " | ".join(str(part.content) for part in results)
            return
        if preamble:
            yield preamble
        for index, (agent, task) in enumerate(calls):
            arguments = json.dumps({"task": task})
            yield {index + 1: DeltaToolCall(f"delegate_to_{agent}", arguments, tool_call_id=f"call_{index}")}

    return model_of(stream)


def returned(messages: list[ModelMessage]) -> list[ToolReturnPart]:
    """Return the results of tools in the newest message."""
    last = messages[-1]
    parts = last.parts if isinstance(last, ModelRequest) else []
    return [part for part in parts if isinstance(part, ToolReturnPart)]


def worker(name: str, answer: Callable[[str], str] | None = None, **options: Any) -> Agent[Any, str]:
    """Return an agent that answers its task, as a rule with its name and the task."""

    async def stream(messages: list[ModelMessage], info: AgentInfo) -> Pieces:
        task = last_user_text(messages)
        yield f"{name}: {task}" if answer is None else answer(task)

    return Agent(model_of(stream), name=name, **options)


async def told(runtime: AgentRuntime[Any], prompt: str, **options: Any) -> tuple[list[RunEvent], RunOutcome[Any]]:
    """Run an agent and return its events and its outcome."""
    async with runtime.stream(prompt, **options) as run:
        events = [event async for event in run]
        return events, run.outcome


def results_of(outcome: RunOutcome[Any]) -> list[ToolReturnPart]:
    """Return the results of the tools that a run called."""
    requests = [message for message in outcome.messages if isinstance(message, ModelRequest)]
    return [part for request in requests for part in request.parts if isinstance(part, ToolReturnPart)]
