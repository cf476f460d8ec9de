"""A call as a model writes it: one JSON object, and what it may look like."""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, cast

_FENCED = re.compile(r"\s*`{3,8}[\w+.-]*\s*(\{.*\})\s*`{3,8}\s*", re.DOTALL)

KEYS = ("tool_calls", "name", "arguments", "parameters", "function", "type", "id")
"""The keys that an object may have at its top to be a call."""

MAX_DEPTH = 100
"""Levels of objects and lists in a call; what is deeper cannot be passed on safely."""


@dataclass(frozen=True)
class Call:
    """One call; that a tool of this name exists is for the framework to find out."""

    name: str
    arguments: dict[str, Any]


@dataclass(frozen=True)
class Malformed:
    """What began as a call and is none.

    Args:
        text: The text of it, as far as it was read.
        problem: What is wrong, as a sentence for the model. It quotes nothing of the text but names of keys that
            calls have, so that it may also be on a span.
    """

    text: str
    problem: str


Piece = str | Call | Malformed
"""What an answer consists of: text, calls, and what was meant as a call."""


def read_calls(text: str, names: Collection[str]) -> list[Call] | Malformed | None:
    """Read one JSON object that was found in an answer; its braces match.

    Args:
        text: The object.
        names: The tools that are offered: the shorthand, without `tool_calls`, is a call only for these.

    Returns:
        None for an object that is no call: another name in the shorthand, or an empty list of calls.
    """
    try:
        data = cast("dict[str, Any]", json.loads(text, strict=False, parse_constant=_refuse_constant))
        if not text.isascii() or "\\u" in text:
            data = _encodable(data)
    except json.JSONDecodeError as error:
        return Malformed(text, f"It is not valid JSON: {error.msg}, at character {error.pos + 1} of the object.")
    except _NotJsonError as error:
        return Malformed(text, f"It is not valid JSON: there is no {error}.")
    except (ValueError, RecursionError):
        return Malformed(text, "It holds a number that is too long, or is nested too deeply.")
    if "tool_calls" not in data:
        return _entry(data, text) if _is_shorthand(data, names) else None
    entries: object = data["tool_calls"]
    if entries is None or entries == []:
        return None
    if isinstance(entries, dict):
        entries = [cast("object", entries)]
    if not isinstance(entries, list):
        return Malformed(text, "`tool_calls` must be a list of objects.")
    calls: list[Call] = []
    for entry in cast("list[object]", entries):
        read = _entry(entry, text)
        if isinstance(read, Malformed):
            return read
        calls += read
    return calls


def read_object(text: str) -> dict[str, Any] | None:
    """Return the one JSON object that a text consists of, in a fence or not; None where it is anything else."""
    fenced = _FENCED.fullmatch(text)
    try:
        data = json.loads(fenced[1] if fenced else text, strict=False, parse_constant=_refuse_constant)
        if not isinstance(data, dict) or _is_deep(cast("dict[str, Any]", data)):
            return None
        return _encodable(cast("dict[str, Any]", data))
    except (ValueError, RecursionError, _NotJsonError):
        return None


def _is_shorthand(data: dict[str, Any], names: Collection[str]) -> bool:
    """Return whether an object is one call; with `id` or `type` it may be anything, unless it has arguments, too."""
    fields = _function(data)
    name: object = fields.get("name")
    if not isinstance(name, str) or name not in names:
        return False
    if "id" not in data and "type" not in data:
        return True
    return data.get("type", "function") == "function" and ("arguments" in fields or "parameters" in fields)


def _function(data: dict[str, Any]) -> dict[str, Any]:
    """Return `{"name", "arguments"}`; as OpenAI's API words it, this is below `function`."""
    function: object = data.get("function")
    return cast("dict[str, Any]", function) if isinstance(function, dict) else data


def _entry(entry: object, text: str) -> list[Call] | Malformed:
    if not isinstance(entry, dict):
        return Malformed(text, "Each call in `tool_calls` must be an object.")
    fields = _function(cast("dict[str, Any]", entry))
    name: object = fields.get("name")
    if not isinstance(name, str) or not name:
        return Malformed(text, "Each call needs the name of a tool as its `name`.")
    key = "arguments" if "arguments" in fields else "parameters"
    arguments: object = fields.get(key)
    if isinstance(arguments, str) and arguments.strip():
        try:
            arguments = _encodable(json.loads(arguments, strict=False, parse_constant=_refuse_constant))
        except (ValueError, RecursionError, _NotJsonError):
            return Malformed(text, f"`{key}` is a text that is not valid JSON; write an object.")
    if arguments is None or isinstance(arguments, str):
        arguments = {}
    if not isinstance(arguments, dict):
        return Malformed(text, f"`{key}` must be an object.")
    if _is_deep(cast("dict[str, Any]", arguments)):
        return Malformed(text, f"`{key}` is nested more than {MAX_DEPTH} levels deep.")
    return [Call(name, cast("dict[str, Any]", arguments))]


def _is_deep(value: object) -> bool:
    level = [value]
    for _ in range(MAX_DEPTH + 1):
        below: list[object] = []
        for item in level:
            if isinstance(item, dict):
                below += cast("dict[str, object]", item).values()
            elif isinstance(item, list):
                below += cast("list[object]", item)
        if not below:
            return False
        level = below
    return True


class _NotJsonError(Exception):
    """A word that Python's reader takes, and JSON does not have."""


def _refuse_constant(word: str) -> Any:
    raise _NotJsonError(word)


def _encodable(value: Any) -> Any:
    """Return a JSON value with each lone surrogate replaced: no request and no store could take it."""
    text = json.dumps(value, ensure_ascii=False)
    try:
        text.encode()
    except UnicodeEncodeError:
        return json.loads(text.encode("utf-8", "replace"))
    return value


def json_line(value: Any) -> str:
    """Return JSON in one line; a lone surrogate, which no request could take, is replaced."""
    return json.dumps(value, ensure_ascii=False).encode("utf-8", "replace").decode()
