"""What the mock model says: a chat request in, an `Answer` out. Nothing here waits or sends."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal, cast

from pydantic import BaseModel, Field


class Message(BaseModel):
    """One message of a request; fields that no behaviour reads are ignored."""

    role: str
    content: str | list[dict[str, Any]] | None = None

    @property
    def text(self) -> str:
        """The text of the message; the text parts, joined by spaces, where the content is a list."""
        if isinstance(self.content, list):
            return " ".join(str(part["text"]) for part in self.content if part.get("type") == "text" and "text" in part)
        return self.content or ""


class Function(BaseModel):
    """A function that the model may call."""

    name: str
    parameters: dict[str, Any] = Field(default_factory=dict[str, Any])


class Tool(BaseModel):
    """An entry of a request's `tools`."""

    function: Function


class StreamOptions(BaseModel):
    """The `stream_options` of a request."""

    include_usage: bool = False


class ChatRequest(BaseModel):
    """The body of `POST /v1/chat/completions`, as far as a behaviour reads it."""

    model: str
    messages: list[Message] = Field(min_length=1)
    tools: list[Tool] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None

    @property
    def user_text(self) -> str:
        """The text of the last user message; empty where there is none."""
        return next((message.text for message in reversed(self.messages) if message.role == "user"), "")


@dataclass(frozen=True, kw_only=True)
class ToolCall:
    """A call of one tool; `arguments` is JSON text."""

    name: str
    arguments: str

    def wire(self, number: int) -> dict[str, Any]:
        """Return the entry of `tool_calls`."""
        function = {"name": self.name, "arguments": self.arguments}
        return {"id": f"call_{number}", "type": "function", "function": function}


@dataclass(frozen=True, kw_only=True)
class Failure:
    """An answer that is an error and not a completion."""

    status: int
    message: str
    type: str
    code: str | None = None
    param: str | None = None
    retry_after_s: int | None = None

    def body(self) -> dict[str, Any]:
        """Return OpenAI's error object; all four keys are always there."""
        return {"error": {"message": self.message, "type": self.type, "param": self.param, "code": self.code}}


@dataclass(frozen=True, kw_only=True)
class Answer:
    """One completion: a text or a tool call, and whether it breaks on the way.

    After `words_first` words (None: it goes through) `then` happens: `hang` until the client is gone, wait for the
    `gate` and go on, or `drop` the connection.
    """

    text: str = ""
    tool_call: ToolCall | None = None
    finish_reason: str = "stop"
    words_first: int | None = None
    then: Literal["hang", "gate", "drop"] = "hang"

    def message(self, number: int) -> dict[str, Any]:
        """Return the message of a plain answer; `number` becomes the id of a tool call."""
        message: dict[str, Any] = {"role": "assistant", "content": self.text, "refusal": None}
        if self.tool_call:
            return {**message, "content": None, "tool_calls": [self.tool_call.wire(number)]}
        return message

    def opening(self, number: int) -> list[dict[str, Any]]:
        """Return the first deltas of a stream: the role, then the id and name of a tool call, which come only once."""
        if call := self.tool_call:
            first = {"index": 0, **replace(call, arguments="").wire(number)}
            return [{"role": "assistant", "content": None}, {"tool_calls": [first]}]
        return [{"role": "assistant", "content": ""}]

    def pieces(self) -> list[dict[str, Any]]:
        """Return the deltas after that: words with the spaces before them, or the arguments by 10 characters."""
        if call := self.tool_call:
            parts: list[str] = re.findall(r"(?s).{1,10}", call.arguments)
            return [{"tool_calls": [{"index": 0, "function": {"arguments": part}}]} for part in parts]
        words: list[str] = re.findall(r"\s*\S+(?:\s+$)?|^\s+$", self.text)
        return [{"content": word} for word in words]

    def usage(self, chat: ChatRequest) -> dict[str, int]:
        """Return the token counts; a token is a word, that is what `str.split` gives.

        The prompt is the text of all messages; the completion is the text, or the name and arguments of the tool call.
        """
        call = self.tool_call
        said = f"{call.name} {call.arguments}" if call else self.text
        prompt = sum(len(message.text.split()) for message in chat.messages)
        completion = len(said.split())
        return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}


def answer(chat: ChatRequest) -> Answer | Failure:
    """Return what the model of this name says to the request; a name that is not in `BEHAVIOURS` is an echo."""
    if match := re.fullmatch(r"error-([45]\d\d)", chat.model):
        return _failure(int(match[1]))
    return BEHAVIOURS.get(chat.model, _echo)(chat)


def _echo(chat: ChatRequest) -> Answer:
    return Answer(text=chat.user_text)


def _hello(chat: ChatRequest) -> Answer:
    return Answer(text="Hello! How can I help you today?")


def _length(chat: ChatRequest) -> Answer:
    return Answer(text=" ".join(chat.user_text.split()[:1]), finish_reason="length")


def _tool(chat: ChatRequest) -> Answer:
    if chat.messages[-1].role == "tool":
        return Answer(text=f"The tool said: {chat.messages[-1].text}")
    if not chat.tools:
        return _echo(chat)
    function = chat.tools[0].function
    try:
        arguments: object = json.loads(chat.user_text)
    except ValueError:
        arguments = None
    if not isinstance(arguments, dict):
        arguments = example(function.parameters, function.parameters)
    return Answer(
        tool_call=ToolCall(name=function.name, arguments=json.dumps(arguments)),
        finish_reason="tool_calls",
    )


def _midstream_error(chat: ChatRequest) -> Answer:
    return Answer(text="This answer breaks off.", words_first=2, then="drop")


def _hang(chat: ChatRequest) -> Answer:
    return Answer(text="Wait for me.", words_first=1, then="hang")


def _gate(chat: ChatRequest) -> Answer:
    return Answer(text="The gate is open.", words_first=1, then="gate")


BEHAVIOURS: dict[str, Callable[[ChatRequest], Answer]] = {
    "echo": _echo,
    "hello": _hello,
    "tool": _tool,
    "length": _length,
    "midstream-error": _midstream_error,
    "hang": _hang,
    "gate": _gate,
}


def _failure(status: int) -> Failure:
    if status == 429:
        return Failure(
            status=429,
            message="Rate limit reached; try again in 7 s.",
            type="requests",
            code="rate_limit_exceeded",
            retry_after_s=7,
        )
    if status == 401:
        message = "Incorrect API key provided."
        return Failure(status=401, message=message, type="invalid_request_error", code="invalid_api_key")
    kind = "server_error" if status >= 500 else "invalid_request_error"
    return Failure(status=status, message=f"This model always answers {status}.", type=kind)


def example(schema: dict[str, Any], root: dict[str, Any]) -> Any:
    """Return a value that fits a JSON schema: the smallest one of an object, that is its required properties.

    Args:
        schema: The schema; its first choice is taken where it leaves one.
        root: The schema that `$ref` starts at, as in `#/$defs/Place`. A type that requires itself has no example.
    """
    if "$ref" in schema:
        found: Any = root
        for key in str(schema["$ref"]).removeprefix("#/").split("/"):
            found = found[key]
        return example(cast("dict[str, Any]", found), root)
    for fixed in ("default", "const"):
        if fixed in schema:
            return schema[fixed]
    for choice in ("enum", "anyOf", "oneOf", "allOf"):
        if choices := cast("list[Any] | None", schema.get(choice)):
            return choices[0] if choice == "enum" else example(choices[0], root)
    kind: Any = schema.get("type", "object")
    if isinstance(kind, list):
        kind = cast("list[str]", kind)[0]
    if kind == "object":
        properties: dict[str, dict[str, Any]] = schema.get("properties", {})
        required: list[str] = schema.get("required", [])
        return {name: example(properties.get(name, {}), root) for name in required}
    if kind == "array":
        items: dict[str, Any] = schema.get("items", {})
        return [example(items, root) for _ in range(int(schema.get("minItems", 0)))]
    return {"string": "x", "integer": 1, "number": 1.5, "boolean": True}.get(str(kind))
