"""Messages with calls and results of tools, told as text."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from pydantic_ai.messages import (
    ModelMessage,
    ModelRequest,
    ModelRequestPart,
    ModelResponse,
    ModelResponsePart,
    RetryPromptPart,  # pyright: ignore[reportDeprecated]
    SystemPromptPart,
    TextPart,
    ToolCallPart,
    ToolReturnPart,
    UserContent,
    UserPromptPart,
)

from .calls import json_line

_OUTCOMES = {
    "success": "Result of the tool {tool}:",
    "failed": "The tool {tool} failed:",
    "retried": "The call of the tool {tool} was not valid. Call it again, corrected:",
    "denied": "The call of the tool {tool} was denied, it was not made:",
    "interrupted": "The call of the tool {tool} was interrupted, there is no result:",
}


def in_text(messages: Sequence[ModelMessage], *, one_system_message: bool) -> tuple[list[str], list[ModelMessage]]:
    """Return messages for a model that knows no tools, and the system prompts that were taken out of them.

    A call is the JSON object that the model writes for it, at the end of what it said; results are what the user says
    next. Where several calls of one tool are made at a time, calls and results bear their ids.

    Args:
        messages: What the framework would send; they are not changed.
        one_system_message: Whether to take the system prompts out of the first request; those of later requests become
            what the user says, in `<system>` tags.
    """
    prompts: list[str] = []
    told: list[ModelMessage] = []
    shared: set[str] = set()
    for index, message in enumerate(messages):
        if isinstance(message, ModelResponse):
            shared = _calls_of_one_tool(message)
            told.append(_response(message, shared))
            continue
        parts: Sequence[ModelRequestPart] = message.parts
        if one_system_message:
            if index == 0:
                prompts = [part.content for part in parts if isinstance(part, SystemPromptPart)]
                parts = [part for part in parts if not isinstance(part, SystemPromptPart)]
            else:
                parts = [_tagged(part) if isinstance(part, SystemPromptPart) else part for part in parts]
        told.append(_request(message, parts, shared))
    return prompts, told


def _tagged(part: SystemPromptPart) -> UserPromptPart:
    return UserPromptPart(f"<system>\n{part.content}\n</system>", timestamp=part.timestamp)


def _calls_of_one_tool(message: ModelResponse) -> set[str]:
    calls = [part for part in message.parts if isinstance(part, ToolCallPart)]
    times = Counter(call.tool_name for call in calls)
    return {call.tool_call_id for call in calls if times[call.tool_name] > 1}


def _response(message: ModelResponse, shared: set[str]) -> ModelResponse:
    calls = [part for part in message.parts if isinstance(part, ToolCallPart)]
    if not calls:
        return message
    said = json_line({"tool_calls": [_call(call, shared) for call in calls]})
    parts: list[ModelResponsePart] = [part for part in message.parts if not isinstance(part, ToolCallPart)]
    if parts and isinstance(last := parts[-1], TextPart) and last.content:
        parts[-1] = replace(last, content=f"{last.content.rstrip()}\n\n{said}")
    else:
        parts.append(TextPart(said))
    return replace(message, parts=parts)


def _call(call: ToolCallPart, shared: set[str]) -> dict[str, Any]:
    try:
        arguments: Any = json.loads(call.args if call.args and isinstance(call.args, str) else call.args_as_json_str())
    except ValueError:
        arguments = call.args
    told: dict[str, Any] = {"name": call.tool_name, "arguments": arguments}
    return {"id": call.tool_call_id, **told} if call.tool_call_id in shared else told


def _request(message: ModelRequest, parts: Sequence[ModelRequestPart], shared: set[str]) -> ModelRequest:
    """Tell results and the prompt after them as one message of the user, because many templates want roles in turn."""
    told: list[ModelRequestPart] = []
    has_results = False
    for part in parts:
        result = _result(part, shared)
        prompt = part if isinstance(part, UserPromptPart) else result
        if has_results and prompt is not None and isinstance(last := told[-1], UserPromptPart):
            told[-1] = replace(last, content=_joined(last, prompt))
        else:
            told.append(result or part)
        has_results = has_results or result is not None
    return replace(message, parts=told) if has_results or parts is not message.parts else message


def _content(part: UserPromptPart) -> list[UserContent]:
    return [part.content] if isinstance(part.content, str) else list(part.content)


def _joined(first: UserPromptPart, second: UserPromptPart) -> str | list[UserContent]:
    """Return contents in a row, texts next to each other as one; all of it as a text, if it is nothing else."""
    joined: list[UserContent] = []
    for item in [*_content(first), *_content(second)]:
        if isinstance(item, str) and joined and isinstance(last := joined[-1], str):
            joined[-1] = f"{last}\n\n{item}"
        else:
            joined.append(item)
    return joined[0] if len(joined) == 1 and isinstance(joined[0], str) else joined


def _result(part: ModelRequestPart, shared: set[str]) -> UserPromptPart | None:
    """Return what the model reads of a result; None where the part is none."""
    if isinstance(part, ToolReturnPart):
        text, files = part.model_response_str_and_user_content(wrap_if_error=False)
        text = f"{_headline(part.outcome, part.tool_name, part.tool_call_id, shared)}\n{text}"
        return UserPromptPart([text, *files] if files else text, timestamp=part.timestamp)
    if isinstance(part, RetryPromptPart) and part.tool_name is not None:  # pyright: ignore[reportDeprecated]
        head = _headline("retried", part.tool_name, part.tool_call_id, shared)
        return UserPromptPart(f"{head}\n{part.model_response()}", timestamp=part.timestamp)
    return None


def _headline(outcome: str, tool: str, call_id: str, shared: set[str]) -> str:
    name = json_line(tool) + (f" (call {call_id})" if call_id in shared else "")
    return _OUTCOMES[outcome].replace("{tool}", name)
