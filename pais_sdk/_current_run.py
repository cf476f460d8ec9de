"""The run that code is a part of, as far as tools need to know it."""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class CurrentRun:
    """What a runtime says of the run that it carries out, in that run's task."""

    scope: str | None
    """The namespace of its session."""

    agent: str = "agent"
    """The name of its agent."""

    streaming: bool = True
    """Whether somebody may listen to its events."""

    store: bool = True
    """Whether it is kept."""

    chain: tuple[str, ...] = ()
    """The ids of the agents that delegated to each other until this run, that of its own agent last."""

    deadline: float | None = None
    """When its time is over, by `time.monotonic()`; None where it has no limit."""

    tool_timeout_s: float | None = None
    """Seconds that one tool call may take; None for any time."""


_current: ContextVar[CurrentRun | None] = ContextVar("pais_sdk_current_run", default=None)


def current_run() -> CurrentRun | None:
    """Return the run that this code is a part of; None where no runtime carries it out."""
    return _current.get()


def set_current_run(run: CurrentRun) -> None:
    """Say which run the current task carries out.

    A context variable and not the deps, because agents have deps of their own.
    """
    _current.set(run)
