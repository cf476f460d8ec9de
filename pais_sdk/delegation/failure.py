"""A delegation that came to nothing, in words for the model that delegated."""

from __future__ import annotations

from typing import Literal, TypeAlias

from ..errors import RemoteFailure

FailureReason: TypeAlias = RemoteFailure | Literal["loop", "depth"]


class DelegationFailedError(Exception):
    """A delegate did not do its task.

    Args:
        message: Which agent, what happened, and what to do; nothing inner.
        reason: The same in one word: those of RemoteAgentError; `loop` and `depth` where agents would delegate to each
            other without an end.
    """

    def __init__(self, message: str, reason: FailureReason) -> None:
        super().__init__(message)
        self.message = message
        self.reason: FailureReason = reason


def too_slow(agent: str, timeout_s: float) -> DelegationFailedError:
    """Return the failure of a delegate whose time was over."""
    return DelegationFailedError(
        f"The agent {agent!r} did not finish within {timeout_s:.3g} s and was told to stop. "
        "Give it a smaller task, or go on without it.",
        "timeout",
    )


def no_time(agent: str) -> DelegationFailedError:
    """Return the failure of a task that nobody began, for there was no time left."""
    return DelegationFailedError(
        f"The agent {agent!r} was not asked, because the time is nearly over. Answer with what you have.", "timeout"
    )


def too_deep(agent: str, agents: int) -> DelegationFailedError:
    """Return the failure of a task that was handed on too often."""
    handed = "1 agent has" if agents == 1 else f"{agents} agents have"
    return DelegationFailedError(
        f"The agent {agent!r} was not asked: {handed} handed on this task, and no more may. "
        "Do the work yourself, or say what is missing.",
        "depth",
    )
