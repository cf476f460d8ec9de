"""JSON-RPC: the frame around every call of A2A and every answer."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any, cast

from a2a.utils.error_handlers import build_error_details
from a2a.utils.errors import (
    JSON_RPC_ERROR_CODE_MAP,
    A2AError,
    InternalError,
    InvalidParamsError,
    InvalidRequestError,
    JSONParseError,
)

RequestId = str | int | None

_MAX_VALUES = 10_000


@dataclass(frozen=True)
class Frame:
    """A request, as far as all methods have it in common."""

    id: RequestId
    method: str
    params: dict[str, Any]
    body: dict[str, Any]


class FrameError(Exception):
    """A request cannot be told as one; `answer` is what its client gets."""

    def __init__(self, error: A2AError, request_id: RequestId = None) -> None:
        super().__init__(error.message)
        self.answer = error_answer(request_id, error)


def read_frame(body: bytes) -> Frame:
    """Return the request in a body.

    Raises:
        FrameError: It is not JSON, or no request of JSON-RPC 2.0.
    """
    try:
        parsed: Any = json.loads(body, parse_constant=_finite, parse_float=_finite)
    except (ValueError, RecursionError):
        raise FrameError(JSONParseError("The body is not JSON in UTF-8.")) from None
    if isinstance(parsed, list):
        raise FrameError(InvalidRequestError("Send one request at a time: batches are not taken."))
    if not isinstance(parsed, dict):
        raise FrameError(InvalidRequestError("The body is not a JSON object."))
    request = cast("dict[str, Any]", parsed)
    request_id = request.get("id")
    if isinstance(request_id, bool) or not isinstance(request_id, (str, int, type(None))):
        raise FrameError(InvalidRequestError("id must be a text, a whole number or null."))
    if request.get("jsonrpc") != "2.0":
        raise FrameError(InvalidRequestError('jsonrpc must be "2.0".'), request_id)
    method = request.get("method")
    if not isinstance(method, str) or not method:
        raise FrameError(InvalidRequestError("method must be a text."), request_id)
    params = request.get("params")
    if not isinstance(params, (dict, type(None))):
        raise FrameError(InvalidParamsError("params must be an object."), request_id)
    if _has_too_many(params):
        message = f"params has more than {_MAX_VALUES} values. Send large data as a file: its type is application/json."
        raise FrameError(InvalidParamsError(message), request_id)
    return Frame(request_id, method, cast("dict[str, Any]", params or {}), request)


def _has_too_many(params: Any) -> bool:
    """Return whether there are more values than Protobuf, which reads and writes each one in Python, has time for."""
    found = 0
    rest = [params]
    while rest:
        value = rest.pop()
        if isinstance(value, (dict, list)):
            items = cast("dict[str, Any] | list[Any]", value)
            found += len(items)
            if found > _MAX_VALUES:
                return True
            rest.extend(items.values() if isinstance(items, dict) else items)
    return False


def _finite(number: str) -> float:
    """Return a number as it is written; JSON has no NaN and no Infinity, and no Protobuf could write them again."""
    value = float(number)
    if not math.isfinite(value):
        raise ValueError(number)
    return value


def result_answer(request_id: RequestId, result: Any) -> dict[str, Any]:
    """Return the answer that a call was meant to have."""
    return {"jsonrpc": "2.0", "id": request_id, "result": result}


def error_answer(request_id: RequestId, error: A2AError) -> dict[str, Any]:
    """Return the answer of a call that failed."""
    code = JSON_RPC_ERROR_CODE_MAP.get(type(error), -32603)
    details = build_error_details(error)
    info = details[0]
    if isinstance(error, JSONParseError):
        info["reason"] = "JSON_PARSE_ERROR"
    info["metadata"] = {name: value for name, value in info["metadata"].items() if isinstance(value, str)}
    told = {"code": code, "message": _message(error), "data": details}
    return {"jsonrpc": "2.0", "id": request_id, "error": told}


def failed() -> InternalError:
    """Return the error for what went wrong here, whatever it was."""
    return InternalError("The server failed to answer.")


def _message(error: A2AError) -> str:
    """Return the text of an error, with the fields that a2a-sdk found wrong."""
    data = cast("dict[str, Any]", error.data or {})  # pyright: ignore[reportUnknownMemberType]
    violations: list[dict[str, str]] = data.get("errors") or []
    if not violations:
        return error.message
    return "; ".join(f"{violation['field']}: {violation['message']}" for violation in violations)
