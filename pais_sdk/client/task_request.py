"""What a remote agent is asked to do."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class TaskRequest:
    """A task, whatever it is sent over."""

    text: str
    context: str | None
    """What the agent should know beside."""

    session_id: str | None
    progress: bool
    """Whether the caller wants to hear what happens before the answer."""

    store: bool
    """Whether the agent may keep it."""
