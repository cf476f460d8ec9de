"""Requests in KAOS's dialect of A2A, as what a2a-sdk's handler takes."""

from __future__ import annotations

import binascii
from base64 import b64decode
from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias, TypeVar, cast
from uuid import uuid4

from a2a.types import CancelTaskRequest, GetTaskRequest, ListTasksRequest, SendMessageRequest
from a2a.utils.errors import InvalidParamsError
from google.protobuf.json_format import ParseDict, ParseError

from ..._delegation_wire import CONTEXT_ROLE

Params: TypeAlias = Mapping[str, Any]
RequestT = TypeVar("RequestT", SendMessageRequest, GetTaskRequest, CancelTaskRequest, ListTasksRequest)

_PAGE = 100


def send_request(params: Params) -> SendMessageRequest:
    """Return the request of SendMessage.

    Raises:
        InvalidParamsError: There is no message, or it says nothing, or a field is wrong.
    """
    message = _object(params, "message")
    if message is None:
        raise InvalidParamsError("params.message is missing")
    told = {
        "messageId": _text(message, "messageId") or uuid4().hex,
        "taskId": _text(message, "taskId"),
        "contextId": _session_of(params) or _text(message, "contextId"),
        "role": "ROLE_USER",
        "parts": _parts(message),
        "metadata": _object(message, "metadata"),
    }
    configuration = {"returnImmediately": _returns_at_once(_object(params, "configuration") or {})}
    request = {"message": told, "configuration": configuration, "metadata": _object(params, "metadata")}
    return _parsed(request, SendMessageRequest())


def get_request(params: Params) -> GetTaskRequest:
    """Return the request of GetTask, for all of the history."""
    return _parsed({"id": _task_id(params)}, GetTaskRequest())


def cancel_request(params: Params) -> CancelTaskRequest:
    """Return the request of CancelTask."""
    return _parsed({"id": _task_id(params)}, CancelTaskRequest())


def list_request(params: Params) -> ListTasksRequest:
    """Return the request of ListTasks: for the newest hundred, unless it asks for fewer or for the next ones."""
    size = _number(params, "pageSize")
    request = {
        "contextId": _session_of(params),
        "pageToken": _text(params, "pageToken"),
        "pageSize": _PAGE if size is None else size,
        "includeArtifacts": True,
    }
    return _parsed(request, ListTasksRequest())


def history_length(params: Params) -> int | None:
    """Return how many messages of the history are asked for, the newest; None for all."""
    return _number(params, "historyLength")


def _parsed(told: dict[str, Any], request: RequestT) -> RequestT:
    try:
        return ParseDict(told, request)
    except (ParseError, OverflowError):  # half of a surrogate pair, nested too deep, a number that no float holds
        raise InvalidParamsError("params has something that cannot be read") from None


def _returns_at_once(configuration: Params) -> bool:
    if _text(configuration, "mode") not in ("", "interactive"):
        raise InvalidParamsError("configuration.mode must be 'interactive'")
    return _flag(configuration, "returnImmediately", default=False) or not _flag(
        configuration, "blocking", default=True
    )


def _parts(message: Params) -> list[dict[str, Any]]:
    given = message.get("parts")
    if given is not None and not isinstance(given, list):
        raise InvalidParamsError("message.parts must be a list")
    parts = [_part(part, f"message.parts[{place}]") for place, part in enumerate(cast("list[Any]", given or []))]
    parts = [part for part in parts if "text" not in part or part["text"].strip()]
    if not any(_is_for_the_agent(part) for part in parts):
        if not (text := _text(message, "text")).strip():
            raise InvalidParamsError('message has no text: give it as "parts": [{"type": "text", "text": "..."}]')
        parts.append({"text": text})
    return list(_joined(parts))


def _is_for_the_agent(part: Params) -> bool:
    return "metadata" not in part or part["metadata"].get("role") != CONTEXT_ROLE


def _part(given: Any, where: str) -> dict[str, Any]:
    if not isinstance(given, Mapping):
        raise InvalidParamsError(f"{where} must be an object")
    part = cast("Params", given)
    kind = part.get("type", part.get("kind", "text"))
    if kind == "text":
        told = {"text": _text(part, "text")}
    elif kind == "data":
        told = {"data": part.get("data")}
    elif kind == "file":
        told = _file(_object(part, "file") or {}, where)
    else:
        raise InvalidParamsError(f"{where}.type must be 'text', 'data' or 'file'")
    metadata = _object(part, "metadata")
    return {**told, "metadata": metadata} if metadata else told


def _file(file: Params, where: str) -> dict[str, Any]:
    data, url = _text(file, "bytes"), _text(file, "uri")
    told = {"mediaType": _text(file, "mimeType"), "filename": _text(file, "name")}
    if bool(data) == bool(url):
        raise InvalidParamsError(f"{where}.file must have either bytes or uri")
    try:
        b64decode(data, validate=True)
    except (binascii.Error, ValueError):
        raise InvalidParamsError(f"{where}.file.bytes is not base64") from None
    return {**told, "raw": data} if data else {**told, "url": url}


def _joined(parts: Iterable[dict[str, Any]]) -> Iterable[dict[str, Any]]:
    """Join texts that follow each other by a blank, as KAOS does."""
    texts: list[str] = []
    for part in parts:
        if list(part) == ["text"]:
            texts.append(part["text"])
            continue
        if texts:
            yield {"text": " ".join(texts)}
            texts = []
        yield part
    if texts:
        yield {"text": " ".join(texts)}


def _session_of(params: Params) -> str:
    return _text(params, "contextId") or _text(params, "sessionId")


def _task_id(params: Params) -> str:
    task_id = _text(params, "id")
    if not task_id:
        raise InvalidParamsError("params.id is missing: the id of the task")
    return task_id


def _text(fields: Params, name: str) -> str:
    value = fields.get(name)
    if value is not None and not isinstance(value, str):
        raise InvalidParamsError(f"{name} must be a text")
    return value or ""


def _object(fields: Params, name: str) -> dict[str, Any] | None:
    value = fields.get(name)
    if value is not None and not isinstance(value, dict):
        raise InvalidParamsError(f"{name} must be an object")
    return cast("dict[str, Any] | None", value)


def _flag(fields: Params, name: str, *, default: bool) -> bool:
    value = fields.get(name)
    if value is not None and not isinstance(value, bool):
        raise InvalidParamsError(f"{name} must be true or false")
    return default if value is None else value


def _number(fields: Params, name: str) -> int | None:
    value = fields.get(name)
    if value is not None and (not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 2**31):
        raise InvalidParamsError(f"{name} must be a whole number of 0 or more")
    return value
