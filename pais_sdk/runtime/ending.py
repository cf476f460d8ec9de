"""How the agent's part of a run ended."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

from pydantic_ai.exceptions import AgentRunError, ModelHTTPError
from pydantic_ai.messages import ModelMessage

from ..events import StopReason
from .ended import model_error_in

_log = logging.getLogger("pais_sdk.runtime")


@dataclass
class Ending:
    """What the agent left, before it is stored."""

    stop_reason: StopReason
    messages: list[ModelMessage]
    output: Any = None
    error: Exception | None = None
    interrupt: BaseException | None = None
    """The cancellation of the task itself; it goes on when everything is stored."""


def exception_of(error: BaseException) -> Exception:
    """Return an error as one that ends only the run: a tool, for one, may want to end the process."""
    if isinstance(error, Exception):
        return error
    return RuntimeError(f"something in the agent raised {type(error).__name__}").with_traceback(error.__traceback__)


def log_failure(error: Exception, run_id: str, session_id: str) -> None:
    """Log what ended a run."""
    # Of the model's or the output's failure the text is not logged: it may quote what was said.
    expected = isinstance(error, AgentRunError)
    model_error = model_error_in(error)
    status = f" ({model_error.status_code})" if isinstance(model_error, ModelHTTPError) else ""
    _log.warning(
        "run %s of session %r failed: %s%s",
        *(run_id, session_id, type(model_error or error).__name__, status),
        exc_info=None if expected else error,
    )
    _log.debug("run %s failed: %r", run_id, error)
