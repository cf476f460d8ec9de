"""The messages that a run begins with, and those that it leaves."""

from __future__ import annotations

from pydantic_ai.messages import (
    ModelMessage,
    ModelRequest,
    ModelResponse,
    ToolCallPart,
    UserPromptPart,
    repair_messages,
)

from .request import Prompt


def answerable(history: list[ModelMessage]) -> list[ModelMessage]:
    """Close the tool calls that a run left open when it was stopped; a prompt cannot follow them as they are."""
    last = history[-1] if history else None
    open_calls = isinstance(last, ModelResponse) and any(isinstance(part, ToolCallPart) for part in last.parts)
    return repair_messages(history) if open_calls else history


def with_prompt(messages: list[ModelMessage], prompt: Prompt, run_id: str, session_id: str) -> list[ModelMessage]:
    """Return the messages of a run, with what the user said before them where the agent has trimmed that away."""
    requests = [message for message in messages if isinstance(message, ModelRequest)]
    if prompt is None or any(isinstance(part, UserPromptPart) for request in requests for part in request.parts):
        return messages
    said = UserPromptPart(prompt if isinstance(prompt, str) else list(prompt))
    if messages and messages[0].timestamp is not None:
        said.timestamp = min(said.timestamp, messages[0].timestamp)
    return [ModelRequest([said], run_id=run_id, conversation_id=session_id), *messages]


def finish_reason(messages: list[ModelMessage]) -> str | None:
    """Return why the model finished its last response; None where there is none, or nobody said."""
    last = next((message for message in reversed(messages) if isinstance(message, ModelResponse)), None)
    return None if last is None else last.finish_reason
