"""The mock models by name: a chat request in, an answer out."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any, cast

from .answer import Answer, Failure, ToolCall
from .request import ChatRequest
from .script import Script

MODELS = ("echo", "hello", "tool", "script", "length", "midstream-error", "hang", "gate")
OPTIONS = ("chars", "no-tools")


def unknown_option(chat: ChatRequest) -> Failure | None:
    """Return what is said of a model with an option that there is not."""
    unknown = next((option for option in chat.options if option not in OPTIONS), None)
    if unknown is None:
        return None
    message = f"there is no option {unknown!r} of a mock model; there are {', '.join(OPTIONS)}"
    return Failure(status=400, message=message, type="invalid_request_error", param="model")


def answer(chat: ChatRequest, script: Script) -> Answer | Failure:
    """Return what the model of this name says to the request; a name that is not in `MODELS` is an echo."""
    if "no-tools" in chat.options and chat.tools:
        message = f'"{chat.model}" does not support tools'
        return Failure(status=400, message=message, type="invalid_request_error")
    if match := re.fullmatch(r"error-([45]\d\d)", chat.name):
        retry_after_s = 7 if match[1] == "429" else None
        return failure(int(match[1]), f"This model always answers {match[1]}.", retry_after_s=retry_after_s)
    said = script.answer(chat) if chat.name == "script" else _BEHAVIOURS.get(chat.name, _echo)(chat)
    return said if isinstance(said, Failure) else replace(said, chars="chars" in chat.options)


def failure(
    status: int,
    message: str,
    *,
    code: str | None = None,
    retry_after_s: float | None = None,
    words_first: int | None = None,
) -> Failure:
    """Return an error with the type and the code that OpenAI has for its status."""
    kind = "server_error" if status >= 500 else "invalid_request_error"
    usual = None
    if status == 429:
        kind, usual = "requests", "rate_limit_exceeded"
    elif status == 401:
        usual = "invalid_api_key"
    return Failure(
        status=status,
        message=message,
        type=kind,
        code=code or usual,
        retry_after_s=retry_after_s,
        words_first=words_first,
    )


def _echo(chat: ChatRequest) -> Answer:
    return Answer(text=chat.user_text)


def _hello(chat: ChatRequest) -> Answer:
    return Answer(text="Hello! How can I help you today?")


def _length(chat: ChatRequest) -> Answer:
    return Answer(text=" ".join(chat.user_text.split()[:1]), finish_reason="length")


def _tool(chat: ChatRequest) -> Answer | Failure:
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
        try:
            arguments = example(function.parameters, function.parameters)
        except (LookupError, AttributeError, TypeError, ValueError, RecursionError):
            message = f"no example can be made of the parameters of {function.name!r}; say the arguments as JSON"
            return Failure(status=400, message=message, type="invalid_request_error", param="tools")
    return Answer(
        tool_calls=[ToolCall(name=function.name, arguments=json.dumps(arguments))],
        finish_reason="tool_calls",
    )


def _midstream_error(chat: ChatRequest) -> Answer:
    return Answer(text="This answer breaks off.", words_first=2, then="drop")


def _hang(chat: ChatRequest) -> Answer:
    return Answer(text="Wait for me.", words_first=1, then="hang")


def _gate(chat: ChatRequest) -> Answer:
    return Answer(text="The gate is open.", words_first=1, then="gate")


_BEHAVIOURS: dict[str, Callable[[ChatRequest], Answer | Failure]] = {
    "hello": _hello,
    "tool": _tool,
    "length": _length,
    "midstream-error": _midstream_error,
    "hang": _hang,
    "gate": _gate,
}


def example(schema: dict[str, Any], root: dict[str, Any]) -> Any:
    """Return a value that fits a JSON schema: the smallest one of an object, that is its required properties.

    Args:
        schema: The schema; its first choice is taken where it leaves one.
        root: The schema that `$ref` starts at, as in `#/$defs/Place`.

    Raises:
        RecursionError: A type requires itself.
        Exception: It is no schema, or one with a `$ref` that leads nowhere.
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
