"""What went wrong in a tool call, in words for the developer who made it."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any

from pydantic import ValidationError
from pydantic_ai.exceptions import ApprovalRequired, CallDeferred, ModelRetry, ToolFailed
from pydantic_ai.tools import ToolDefinition

_NAMES_TOLD = 20
_LONGEST_VALUE = 80


def unknown_tool(name: object, known: Iterable[str]) -> str:
    """Return the text for a name that no tool has."""
    names = sorted(known)
    if not names:
        return f"there is no tool {name!r}: none is registered"
    near = get_close_matches(name, names, n=3) if isinstance(name, str) else []
    hint = f"did you mean {' or '.join(repr(each) for each in near)}? Known" if near else "known"
    more = f" and {len(names) - _NAMES_TOLD} more" if len(names) > _NAMES_TOLD else ""
    return f"there is no tool {name!r}; {hint} tools: {', '.join(names[:_NAMES_TOLD])}{more}"


def ambiguous_tool(name: str, candidates: Iterable[str]) -> str:
    """Return the text for a name that several tools have."""
    others = [candidate for candidate in candidates if candidate != name]
    remedy = f"use one of {', '.join(others)}" if others else "rename all but one"
    return f"several tools are named {name!r}; {remedy}"


def no_mapping(name: str, arguments: object) -> str:
    """Return the text for arguments that are no mapping of names to values."""
    kind = type(arguments).__name__
    return f"the arguments of {name!r} must be a dict of names and values, such as {{'path': '/tmp'}}, not {kind}"


def misfit(tool: ToolDefinition, error: ValidationError) -> str:
    """Return the text for arguments that the tool's schema refuses."""
    problems: list[str] = []
    for problem in error.errors(include_url=False, include_context=False):
        where = ".".join(str(part) for part in problem["loc"])
        what = problem["msg"]
        if problem["type"] not in ("missing", "missing_argument"):
            what += f" (got {_shortened(problem['input'])})"
        problems.append(f"{where}: {what}" if where else what)
    takes = ", ".join(tool.parameters_json_schema.get("properties", {})) or "no arguments"
    return f"the arguments of {tool.name!r} do not fit: {'; '.join(problems)}. It takes {takes}"


def no_json(name: str, error: Exception) -> str:
    """Return the text for arguments that cannot be sent to a server."""
    return f"the arguments of {name!r} cannot be sent as JSON: {error}"


def deferred(name: str, *, needs_approval: bool) -> str:
    """Return the text for a call that somebody else must approve or carry out."""
    if needs_approval:
        return f"{name!r} needs an approval, and nobody gives one here; run it by an agent that asks for approvals"
    return f"{name!r} is executed elsewhere, so there is no result here; run it by an agent that hands such calls on"


def too_slow(name: str, timeout_s: float) -> str:
    """Return the text for a call that took too long."""
    return f"{name!r} took longer than {timeout_s:g} s; allow it more with timeout_s"


def raised(name: str, error: BaseException) -> str:
    """Return the text for what a tool raised."""
    if isinstance(error, ModelRetry):
        return f"{name!r} wants to be called in another way: {error.message}"
    if isinstance(error, ToolFailed):
        return f"{name!r} failed: {error.message}"
    if isinstance(error, (ApprovalRequired, CallDeferred)):
        return deferred(name, needs_approval=isinstance(error, ApprovalRequired))
    text = str(error)
    return f"{name!r} raised {type(error).__name__}{f': {text}' if text else ''}"


def _shortened(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _LONGEST_VALUE else f"{text[:_LONGEST_VALUE]}..."
