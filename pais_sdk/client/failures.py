"""What a remote agent's failures are called, and the sentences about them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import RemoteAgentError, RemoteFailure
from .json_values import mapping_in, text_in

_MAX_QUOTE = 300
_SHORTEST_SECRET = 6  # a shorter one would blot out common words
_GO_ON = "Go on without it, or delegate again later."
_OTHERWISE = "Do the work without it, or say what is missing."


@dataclass(frozen=True)
class _Case:
    reason: RemoteFailure
    what: str
    advice: str
    quotes: bool = True


_BUSY = _Case("busy", "has no place for the task now", _GO_ON)
_SESSION_BUSY = _Case("busy", "still works on an earlier task of this conversation", _GO_ON)
_CANCELLED = _Case("failed", "broke the task off", _GO_ON)
_FAILED = _Case("failed", "took the task and failed", _GO_ON)
_MAX_STEPS = _Case("failed", "gave up: the task takes more steps than it may make", "Delegate a smaller task.")
_NO_KEY = _Case("refused", "does not let us in: our key is missing or not valid", _OTHERWISE, quotes=False)
_NOT_THERE = _Case("refused", "takes no tasks there: nothing answers at its URL", _OTHERWISE)
_REFUSED = _Case("refused", "does not take the task", _OTHERWISE)
_TIMEOUT = _Case("timeout", "needed more time than the task may take", "Delegate a smaller task, or go on without it.")

_BY_TYPE: Mapping[str, _Case] = {
    "authentication_error": _NO_KEY,
    "cancelled": _CANCELLED,
    "invalid_request_error": _REFUSED,
    "max_steps": _MAX_STEPS,
    "memory_unavailable": _FAILED,
    "rate_limit_exceeded": _BUSY,
    "session_busy": _SESSION_BUSY,
    "timeout": _TIMEOUT,
    "upstream_error": _FAILED,
}
_BY_STATUS: Mapping[int, _Case] = {
    401: _NO_KEY,
    403: _NO_KEY,
    404: _NOT_THERE,
    405: _NOT_THERE,
    408: _TIMEOUT,
    409: _BUSY,
    429: _BUSY,
    503: _BUSY,
    504: _TIMEOUT,
}
_BY_STATE: Mapping[str, _Case] = {
    "auth-required": _NO_KEY,
    "canceled": _CANCELLED,
    "rejected": _REFUSED,
}
_INTERNAL_ERROR = -32603  # of JSON-RPC; its text may be anything
_BY_CODE: Mapping[int, _Case] = {
    _INTERNAL_ERROR: _Case("failed", "took the task and failed", _GO_ON, quotes=False),
    -32006: _FAILED,  # the agent's answer was not one
    -32001: _Case("failed", "does not know the task any more, as after a restart", _GO_ON, quotes=False),
}


class Failures:
    """Words what goes wrong with one agent, as errors to raise.

    Args:
        url: Where the agent is.
        label: How the sentences name it.
        secrets: What no sentence may hold, though the remote may have said it.
    """

    def __init__(self, url: str, label: str, secrets: Iterable[str]) -> None:
        self._url = url
        self.label = label
        # The longest first, as one may hold another.
        self._secrets = [secret for secret in sorted(secrets, key=len, reverse=True) if len(secret) >= _SHORTEST_SECRET]

    def unreachable(self) -> RemoteAgentError:
        """Return the error for an agent that takes no connection."""
        return self._error("unreachable", "cannot be reached", _GO_ON)

    def no_card(self, reason: RemoteFailure) -> RemoteAgentError:
        """Return the error for an agent that does not say how it is spoken to."""
        return self._error(reason, "does not give its card, so the task was not sent", _GO_ON)

    def silent(self, seconds: float) -> RemoteAgentError:
        """Return the error for an agent that says nothing."""
        return self._error("timeout", f"said nothing for {seconds:g} s", _GO_ON)

    def late(self, seconds: float) -> RemoteAgentError:
        """Return the error for an exchange whose time is over."""
        return self._error("timeout", f"did not answer within {seconds:g} s", _TIMEOUT.advice)

    def broken_off(self) -> RemoteAgentError:
        """Return the error for an answer that ended before its end."""
        what = "ended the connection before its answer was complete; it may have done some of the task"
        return self._error("failed", what, _GO_ON)

    def lost(self) -> RemoteAgentError:
        """Return the error for an agent that cannot be asked any more what became of the task."""
        what = "ended the connection, and cannot be reached since; it may have done some of the task"
        return self._error("failed", what, _GO_ON)

    def unreadable(self) -> RemoteAgentError:
        """Return the error for an answer that makes no sense."""
        return self._error("unreadable", "gave an answer that cannot be read", _OTHERWISE)

    def too_long(self) -> RemoteAgentError:
        """Return the error for an answer that nobody wants to hold."""
        return self._error("unreadable", "gave an answer that is too long", "Delegate a smaller task.")

    def redirected(self) -> RemoteAgentError:
        """Return the error for an agent that sends its callers elsewhere."""
        return self._error("refused", "sends its callers to another address, which is not followed", _OTHERWISE)

    def of_status(self, status: int, body: Any) -> RemoteAgentError:
        """Return the error for an HTTP status; the words of the body are quoted where they are meant for callers."""
        error = mapping_in(mapping_in(body).get("error"))
        case = _BY_STATUS.get(status) or (_FAILED if status >= 500 else _REFUSED)
        message = None if error.get("code") == _INTERNAL_ERROR else error.get("message")
        return self._case(_BY_TYPE.get(text_in(error.get("type")), case), message)

    def of_error(self, error: Any) -> RemoteAgentError:
        """Return the error for an error object within a chat completion."""
        error = mapping_in(error)
        return self._case(_BY_TYPE.get(text_in(error.get("type")), _FAILED), error.get("message"))

    def of_code(self, error: Any) -> RemoteAgentError:
        """Return the error for a JSON-RPC error object."""
        error = mapping_in(error)
        code = error.get("code")
        return self._case(_BY_CODE.get(code, _REFUSED) if isinstance(code, int) else _FAILED, error.get("message"))

    def of_state(self, state: str, words: str, error_type: str) -> RemoteAgentError:
        """Return the error for a task that ended in another state than the one that all hope for."""
        return self._case(_BY_TYPE.get(error_type) or _BY_STATE.get(state, _FAILED), words)

    def again(self, error: RemoteAgentError) -> RemoteAgentError:
        """Return an error once more, to be raised anew."""
        return RemoteAgentError(error.message, reason=error.reason, url=error.url)

    def _case(self, case: _Case, message: Any) -> RemoteAgentError:
        said = self._quoted(text_in(message)) if case.quotes else ""
        return self._error(case.reason, case.what, case.advice, said)

    def _error(self, reason: RemoteFailure, what: str, advice: str, said: str = "") -> RemoteAgentError:
        message = " ".join(filter(None, [f"The agent at {self.label} {what}.", said, advice]))
        return RemoteAgentError(message, reason=reason, url=self._url)

    def _quoted(self, message: str) -> str:
        for secret in self._secrets:
            message = message.replace(secret, "***")
        message = message[: 10 * _MAX_QUOTE]
        words = "".join(character if character.isprintable() else " " for character in message)
        words = " ".join(words.split())
        if not words:
            return ""
        return f'It says: "{words if len(words) <= _MAX_QUOTE else words[: _MAX_QUOTE - 3] + "..."}"'
