"""Every error that this package raises of its own; Pydantic AI's errors pass through as they are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from .events import RunOutcome


class PaisError(Exception):
    """Base of all errors of this package."""


class ConfigurationError(PaisError, ValueError):
    """Something that was set up, in code or in the environment, cannot work; the text says what to change."""


class MissingExtraError(PaisError, ImportError):
    """A feature needs an optional dependency that is not installed.

    Args:
        what: The feature, as the start of a sentence.
        extra: The extra of `pais-sdk` that brings it.
    """

    def __init__(self, what: str, *, extra: str) -> None:
        super().__init__(f"{what} needs the extra {extra!r}: pip install 'pais-sdk[{extra}]'")
        self.what = what
        self.extra = extra


class InvalidRequestError(PaisError, ValueError):
    """An argument of a call is wrong.

    Args:
        message: What is wrong and what to do, without anything secret: clients see it.
        param: The argument, by its name in the call.
    """

    def __init__(self, message: str, *, param: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.param = param


class InvalidSessionIdError(InvalidRequestError):
    """A session id is not 1 to 128 characters of letters, digits and `._:-`."""

    def __init__(self, session_id: object) -> None:
        super().__init__(
            f"session id {_shortened(session_id)} is not valid; use 1 to 128 characters of A-Z a-z 0-9 . _ : -",
            param="session_id",
        )
        self.session_id = session_id


class DelegationLoopError(InvalidRequestError):
    """An agent was asked by agents that work for it: the chain of delegations has come back to it."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"{name!r} is one of the agents that this task comes from: do the work without it, or say what is missing",
            param="chain",
        )
        self.name = name


RemoteFailure = Literal["unreachable", "refused", "busy", "timeout", "failed", "unreadable"]


class RemoteAgentError(PaisError):
    """A remote agent did not do its task.

    Args:
        message: What happened and what to do, fit for a model and a user: it quotes no key and nothing of the remote's
            own texts but what it wrote for its caller.
        reason: `unreachable`: nothing was sent, or nobody answered; `refused`: it does not take the task, or not from
            us; `busy`: it has no place for it now; `timeout`: its time was over; `failed`: it tried; `unreadable`: its
            card or its answer makes no sense.
        url: Where the agent is.
    """

    def __init__(self, message: str, *, reason: RemoteFailure, url: str) -> None:
        super().__init__(message)
        self.message = message
        self.reason: RemoteFailure = reason
        self.url = url


class SessionBusyError(PaisError):
    """Another run holds the session.

    Args:
        session_id: The session.
        waited_s: Seconds that this call waited for it; 0 where it was refused at once.
    """

    def __init__(self, session_id: str, *, waited_s: float = 0) -> None:
        waited = f" after a wait of {waited_s:g} s" if waited_s else ""
        super().__init__(f"session {session_id!r} is busy with another run{waited}; send the request again later")
        self.session_id = session_id
        self.waited_s = waited_s


class OverloadedError(PaisError):
    """A limit of active runs is reached and the queue is full, or the wait in it was too long.

    Args:
        max_active_runs: The limit that was reached.
        retry_after_s: When to try again, in whole seconds.
        of_scope: Whether it is the limit of the run's own scope; then others may still be served.
    """

    def __init__(self, *, max_active_runs: int, retry_after_s: int = 1, of_scope: bool = False) -> None:
        whose = "of this scope " if of_scope else ""
        super().__init__(f"all {max_active_runs} places {whose}for runs are taken; try again in {retry_after_s} s")
        self.max_active_runs = max_active_runs
        self.retry_after_s = retry_after_s
        self.of_scope = of_scope


class MemoryUnavailableError(PaisError):
    """The memory did not answer or refused to store; the cause is attached."""


class RunError(PaisError):
    """A run ended otherwise than with `end_turn`; `outcome` holds what it did until then."""

    def __init__(self, message: str, outcome: RunOutcome[Any]) -> None:
        super().__init__(message)
        self.outcome = outcome


class RunFailedError(RunError):
    """The model, the output or the memory failed; `outcome.error` is the error itself."""


class MaxStepsError(RunError):
    """The run reached its limit of model requests before it had an answer."""


class RunCancelledError(RunError):
    """The run was cancelled."""


class RunTimeoutError(RunError):
    """The run took longer than its `timeout_s`."""


def _shortened(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:76]}...'"
