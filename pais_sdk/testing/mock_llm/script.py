"""Answers from a list, and which of them a request gets."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from .answer import Answer, ToolCall
from .request import ChatRequest, Message

NO_MORE = "[no more mock responses]"
_CALL = re.compile(r'"tool_calls"|"arguments"|"parameters"')
_FEEDBACK = re.compile(r"<pyai:|\A<system>|\AYour last message was meant as a call of a tool")


class _Call(BaseModel):
    model_config = ConfigDict(extra="forbid")
    name: str
    arguments: Any = Field(default_factory=dict[str, Any])
    id: str | None = None


class _Calls(BaseModel):
    model_config = ConfigDict(extra="forbid")
    content: str = ""
    tool_calls: Annotated[list[_Call], Field(min_length=1)]


_RESPONSES = TypeAdapter(list[str | _Calls])


class Script:
    """A list of answers; the n-th goes to the n-th request of a run.

    It keeps no state: how far a run has come is read from the request, so that any number of runs may share it.

    Args:
        responses: Texts, or `{"tool_calls": [{"name": ..., "arguments": ..., "id": ...}], "content": ...}`. Without
            `id` each call gets one; `arguments` (`{}`) may be any JSON, and a text goes out as it is. As JSON text,
            too.

    Raises:
        ValueError: It is not such a list; the text is one sentence.
    """

    def __init__(self, responses: Sequence[str | dict[str, Any]] | str | bytes = ()) -> None:
        try:
            if isinstance(responses, str | bytes):
                self._responses = _RESPONSES.validate_json(responses)
            else:
                self._responses = _RESPONSES.validate_python(list(responses))
        except ValidationError as error:
            raise ValueError(_told(error)) from error

    def answer(self, chat: ChatRequest) -> Answer:
        """Return the answer to a request: tool calls as such where it has `tools`, else as text."""
        place = answers_before(chat.messages)
        if place >= len(self._responses):
            return Answer(text=NO_MORE)
        response = self._responses[place]
        if isinstance(response, str):
            return Answer(text=response)
        if not chat.tools:
            calls = json.dumps({"tool_calls": [call.model_dump(exclude_none=True) for call in response.tool_calls]})
            return Answer(text=f"{response.content}\n\n{calls}" if response.content else calls)
        return Answer(
            text=response.content,
            tool_calls=[
                ToolCall(name=call.name, arguments=_arguments(call.arguments), id=call.id)
                for call in response.tool_calls
            ],
            finish_reason="tool_calls",
        )


def answers_before(messages: Sequence[Message]) -> int:
    """Return how many answers the run has had that a request's messages end with.

    A run begins at the last user message that is none of these: the one after an answer that holds a tool call as JSON
    text, which is its result; and what Pydantic AI and string mode say of an answer that they cannot use. The one that
    string mode sends back is in no later request, so the answer after it comes twice.
    """
    start = 0
    for place, message in enumerate(messages):
        if message.role == "user" and not _goes_on(message, messages[place - 1] if place else None):
            start = place
    return sum(message.role == "assistant" for message in messages[start:])


def _goes_on(message: Message, before: Message | None) -> bool:
    if before is not None and before.role == "assistant" and _CALL.search(before.text):
        return True
    return _FEEDBACK.search(message.text) is not None


def _arguments(value: Any) -> str | None:
    return value if value is None or isinstance(value, str) else json.dumps(value)


def _told(error: ValidationError) -> str:
    problems = error.errors(include_url=False, include_input=False)
    first = problems[0]
    if not first["loc"]:
        return f"the responses must be a JSON list of answers; {first['msg']}"
    return (
        f"response {first['loc'][0]} is neither a text nor "
        '{"tool_calls": [{"name": ..., "arguments": ...}], "content": ...}'
    )
