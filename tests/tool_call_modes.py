"""One script, three ways to call tools: models of a mock endpoint for the tests that compare them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Literal

from pydantic_ai.messages import ModelMessage, ModelRequest, TextPart, ToolCallPart, ToolReturnPart
from pydantic_ai.models import Model

from pais_sdk.models import AutoModeModel, StringModeModel, endpoint_model
from pais_sdk.testing.mock_llm import MockLLM

Mode = Literal["native", "string", "auto"]
MODES: list[Mode] = ["native", "string", "auto"]


@asynccontextmanager
async def scripted(
    mode: Mode, responses: Sequence[str | dict[str, Any]], *, options: str = ""
) -> AsyncGenerator[tuple[MockLLM, Model]]:
    """Give an endpoint with a script and a model of it; in `string` and `auto` mode the endpoint refuses tools."""
    mock = MockLLM(responses=responses)
    async with mock.running() as url:
        wrapped = endpoint_model(url, f"script{options}" if mode == "native" else f"script+no-tools{options}")
        model = {
            "native": lambda: wrapped,
            "string": lambda: StringModeModel(wrapped),
            "auto": lambda: AutoModeModel(wrapped),
        }[mode]()
        async with model:
            yield mock, model


def calls(*named: tuple[str, Any], content: str = "") -> dict[str, Any]:
    """Return an answer of the script that calls tools, given as names and arguments."""
    answer: dict[str, Any] = {"tool_calls": [{"name": name, "arguments": arguments} for name, arguments in named]}
    return {**answer, "content": content} if content else answer


def trajectory(messages: Sequence[ModelMessage]) -> list[tuple[Any, ...]]:
    """Return what was said, called and returned, in order; calls have numbers in place of their ids."""
    numbers: dict[str, int] = {}
    steps: list[tuple[Any, ...]] = []
    for message in messages:
        for part in message.parts:
            if isinstance(part, TextPart):
                steps.append(("said", part.content))
            elif isinstance(part, ToolCallPart):
                assert part.tool_call_id not in numbers, "an id came twice"
                numbers[part.tool_call_id] = len(numbers)
                steps.append(("called", numbers[part.tool_call_id], part.tool_name, part.args_as_dict()))
            elif isinstance(part, ToolReturnPart):
                told = (part.tool_name, part.outcome, part.content)
                steps.append(("returned", numbers[part.tool_call_id], *told))
            elif not isinstance(message, ModelRequest):
                steps.append((part.part_kind,))
            elif part.part_kind != "user-prompt":
                steps.append((part.part_kind, getattr(part, "content", None)))
    return steps


def answered(mock: MockLLM) -> list[dict[str, Any]]:
    """Return the bodies of the requests that were not refused for their tools."""
    bodies: list[dict[str, Any]] = [request["body"] for request in mock.record.requests]
    return [body for body in bodies if "+no-tools" not in body["model"] or not body.get("tools")]
