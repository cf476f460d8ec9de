"""Whose tasks a caller sees."""

from __future__ import annotations

from a2a.server.context import ServerCallContext

SCOPE = "scope"
"""The key of a call's state under which the caller's scope is, or None."""


def owner_of(context: ServerCallContext) -> str:
    """Return the owner of what a caller does; callers without a scope are one owner, whom no scope can name.

    Raises:
        KeyError: The call does not say who calls.
    """
    scope: str | None = context.state[SCOPE]
    return "everyone" if scope is None else f"scope {scope}"
