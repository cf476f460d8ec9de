"""Messages of the chat completions API as Pydantic AI's own."""

from __future__ import annotations

import base64
import binascii
import json
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

from pydantic_ai.messages import (
    BinaryContent,
    ImageUrl,
    ModelMessage,
    ModelRequest,
    ModelRequestPart,
    ModelResponse,
    ModelResponsePart,
    TextPart,
    ToolCallPart,
    ToolReturnPart,
    UserContent,
    UserPromptPart,
    repair_messages,
)

from .chat_request import ChatMessage
from .errors import invalid

_AUDIO = {"wav": "audio/wav", "mp3": "audio/mpeg"}
_USER_ROLES = ("user", "task-delegation")  # the second is what older agents of KAOS send


@dataclass(frozen=True)
class Conversation:
    """What a request's messages come to."""

    instructions: str | None
    """The texts of its system and developer messages, joined by blank lines."""

    history: list[ModelMessage]
    """All before the new input."""

    prompt: str | list[UserContent] | None
    """The user messages after the last assistant message; None where tool results are the new input."""


def read_conversation(messages: Sequence[ChatMessage], *, only_new: bool) -> Conversation:
    """Split a request's messages into instructions, history and new input.

    Args:
        messages: As they were sent.
        only_new: Whether the history is in the memory: then only what comes after the last assistant message counts.

    Raises:
        WireError: The messages make no sense, or hold what is not supported; it names the message.
    """
    instructions = [
        _text(message, index) for index, message in enumerate(messages) if message.role in ("system", "developer")
    ]
    last_answer = max((index for index, message in enumerate(messages) if message.role == "assistant"), default=-1)
    new = [(index, message) for index, message in enumerate(messages) if index > last_answer]
    prompts = [_user_content(message, index) for index, message in new if message.role in _USER_ROLES]
    results = [_tool_return(message, index, messages) for index, message in new if message.role == "tool"]
    if not prompts and (only_new or not results):
        where = " after the last assistant message" if last_answer >= 0 else ""
        raise invalid(f"there is no user message{where}; send one", param="messages")
    history: list[ModelMessage] = []
    if last_answer >= 0 and not only_new:
        history = _history(messages[: last_answer + 1])
        if results:
            history.append(ModelRequest(results, run_id=history[-1].run_id))
        # Calls without a result are closed here: the agent must not carry out what a client made up.
        history = repair_messages(history)
    return Conversation("\n\n".join(filter(None, instructions)) or None, history, _joined(prompts))


def _history(messages: Sequence[ChatMessage]) -> list[ModelMessage]:
    """Return past messages; each user message begins a run of its own, so that a memory never cuts between them."""
    history: list[ModelMessage] = []
    run_id = str(uuid.uuid4())
    pending: list[ModelRequestPart] = []
    for index, message in enumerate(messages):
        if message.role in _USER_ROLES:
            if history and not pending:
                run_id = str(uuid.uuid4())
            content = _user_content(message, index)
            pending.append(UserPromptPart(content if isinstance(content, str) else list(content)))
        elif message.role == "tool":
            pending.append(_tool_return(message, index, messages))
        elif message.role == "assistant":
            if pending:
                history.append(ModelRequest(pending, run_id=run_id))
                pending = []
            history.append(ModelResponse(_answer(message, index), run_id=run_id))
    return history


def _answer(message: ChatMessage, index: int) -> list[ModelResponsePart]:
    parts: list[ModelResponsePart] = []
    if text := _text(message, index) or (message.refusal or ""):
        parts.append(TextPart(text))
    calls = message.tool_calls or []
    return [*parts, *(ToolCallPart(call.function.name, call.function.arguments or "{}", call.id) for call in calls)]


def _tool_return(message: ChatMessage, index: int, messages: Sequence[ChatMessage]) -> ToolReturnPart:
    answers = [earlier for earlier in messages[:index] if earlier.role == "assistant"]
    calls = {call.id: call.function.name for answer in answers for call in answer.tool_calls or []}
    if message.tool_call_id not in calls:
        raise invalid(
            "a tool message must answer a tool call of an assistant message before it",
            param=f"messages[{index}].tool_call_id",
        )
    return ToolReturnPart(calls[message.tool_call_id], _text(message, index), message.tool_call_id)


def _joined(prompts: list[str | list[UserContent]]) -> str | list[UserContent] | None:
    if not prompts:
        return None
    if all(isinstance(prompt, str) for prompt in prompts):
        return "\n\n".join(cast("list[str]", prompts))
    return [item for prompt in prompts for item in ([prompt] if isinstance(prompt, str) else prompt)]


def _text(message: ChatMessage, index: int) -> str:
    """Return the text of a message whose content may only be text."""
    if message.content is None or isinstance(message.content, str):
        return message.content or ""
    texts: list[str] = []
    for position, part in enumerate(message.content):
        text = part.get("refusal") if part.get("type") == "refusal" else part.get("text")
        if not isinstance(text, str):
            where = f"messages[{index}].content[{position}]"
            raise invalid(f"a message of role {message.role} may only hold text", param=where)
        texts.append(text)
    return "".join(texts)


def _user_content(message: ChatMessage, index: int) -> str | list[UserContent]:
    if isinstance(message.content, str) and message.content:
        return message.content
    if isinstance(message.content, str) or not message.content:
        raise invalid("a user message must have content", param=f"messages[{index}].content")
    content = [_part(part, f"messages[{index}].content[{position}]") for position, part in enumerate(message.content)]
    content = [item for item in content if item != ""]  # clients send an empty text beside a picture
    if not content:
        raise invalid("a user message must have content", param=f"messages[{index}].content")
    return content[0] if len(content) == 1 and isinstance(content[0], str) else content


def _part(part: dict[str, Any], where: str) -> UserContent:
    kind = part.get("type")
    value: Any = part.get(str(kind))
    if kind == "text" and isinstance(value, str):
        return value
    if kind == "image_url":
        url = cast("dict[str, Any]", value).get("url") if isinstance(value, dict) else value
        if not isinstance(url, str):
            raise invalid("an image_url part needs image_url.url", param=where)
        if url.startswith("data:"):
            return _from_data_uri(url, where)
        if url.startswith(("https://", "http://")):
            return ImageUrl(url)
        raise invalid("image_url.url must be an http, https or data URL", param=where)
    if kind == "input_audio" and isinstance(value, dict):
        audio = cast("dict[str, Any]", value)
        media_type = _AUDIO.get(str(audio.get("format")))
        if media_type is None:
            raise invalid("input_audio.format must be wav or mp3", param=where)
        return BinaryContent(_decoded(audio.get("data"), where), media_type=media_type)
    if kind == "file" and isinstance(value, dict):
        data = cast("dict[str, Any]", value).get("file_data")
        if not isinstance(data, str):
            raise invalid("a file part needs file.file_data, a data URL; file ids are not supported", param=where)
        return _from_data_uri(data, where)
    raise invalid(f"a content part must be text, image_url, input_audio or file, not {json.dumps(kind)}", param=where)


def _from_data_uri(uri: str, where: str) -> BinaryContent:
    head, comma, data = uri.partition(",")
    if not head.startswith("data:") or not comma or not head.endswith(";base64"):
        raise invalid("the data must be a data URL: data:<media type>;base64,<data>", param=where)
    media_type = head.removeprefix("data:").split(";")[0] or "application/octet-stream"
    return BinaryContent(_decoded(data, where), media_type=media_type)


def _decoded(data: Any, where: str) -> bytes:
    try:
        return base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError, TypeError):
        raise invalid("the data is not base64", param=where) from None
