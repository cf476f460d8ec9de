"""A2A: the agent as other agents call it."""

from __future__ import annotations

from importlib.util import find_spec

from ...settings import Settings


def a2a_is_on(settings: Settings) -> bool:
    """Return whether a server with these settings serves A2A: unless they say so, where the extra is installed."""
    return find_spec("a2a") is not None if settings.a2a is None else settings.a2a
