"""What goes wrong, as clients see it: one table of statuses, codes and fixed sentences."""

from __future__ import annotations

import math
from dataclasses import dataclass

from pydantic_ai.exceptions import (
    AgentRunError,
    ModelAPIError,
    ModelConnectionError,
    ModelContextWindowExceededError,
    ModelHTTPError,
    ModelRateLimitError,
    ModelRequestTimeout,
    ModelTimeoutError,
)
from starlette.responses import JSONResponse

from ..errors import (
    InvalidRequestError,
    MaxStepsError,
    MemoryUnavailableError,
    OverloadedError,
    RunCancelledError,
    RunError,
    RunTimeoutError,
    SessionBusyError,
)
from ..models import wait_asked_for
from ..runtime import model_error_in
from .answers.common import Error, ErrorType


@dataclass(kw_only=True, eq=False)
class WireError(Exception):
    """An error on its way to a client; also raised by handlers that find a request wrong."""

    status: int
    type: ErrorType
    message: str
    code: str | None = None
    param: str | None = None
    retry_after_s: int | None = None
    should_retry: bool = True
    """False where a client that tries again would pay for a second run, or wait in vain once more."""

    @property
    def body(self) -> Error:
        """The error object of OpenAI's API."""
        code = self.code or (None if self.type == "invalid_request_error" else self.type)
        return {"error": {"message": self.message, "type": self.type, "param": self.param, "code": code}}

    @property
    def headers(self) -> dict[str, str]:
        headers: dict[str, str] = {}
        if self.status == 401:
            headers["WWW-Authenticate"] = "Bearer"
        if self.retry_after_s is not None:
            headers["Retry-After"] = str(self.retry_after_s)
        if not self.should_retry:
            headers["x-should-retry"] = "false"
        return headers


def invalid(message: str, *, param: str | None = None, code: str | None = None, status: int = 400) -> WireError:
    """Return the error for a request that is wrong; the message says what and names the field."""
    return WireError(status=status, type="invalid_request_error", message=message, param=param, code=code)


def stopping() -> WireError:
    """Return the error for a run that comes when the server is about to end."""
    message = "The server is about to stop. Send the request again, and another one may take it."
    return WireError(status=503, type="server_error", message=message, retry_after_s=1)


def cut_off() -> WireError:
    """Return the error for a run that was cancelled because the server ends."""
    message = "The server stopped before the answer was complete. What was done until then is stored."
    return WireError(status=503, type="server_error", message=message, should_retry=False)


def error_response(error: BaseException, session_id: str | None = None) -> JSONResponse:
    """Return the answer for an error, from the table of errors."""
    told = wire_error(error)
    headers = told.headers if session_id is None else {**told.headers, "X-Session-ID": session_id}
    return JSONResponse(told.body, status_code=told.status, headers=headers)


def wire_error(error: BaseException) -> WireError:
    """Return what a client is told about an error; never the text of one that is not meant for it."""
    if isinstance(error, WireError):
        return error
    if isinstance(error, InvalidRequestError):
        return invalid(error.message, param=error.param)
    if isinstance(error, SessionBusyError):
        message = "The session is busy with another run. Send the request again when that has ended."
        return WireError(status=409, type="session_busy", message=message, should_retry=error.waited_s == 0)
    if isinstance(error, OverloadedError):
        whose = "You have too many active runs" if error.of_scope else "Too many runs are active"
        message = f"{whose}. Send the request again later."
        return WireError(status=429, type="rate_limit_exceeded", message=message, retry_after_s=error.retry_after_s)
    if isinstance(error, MemoryUnavailableError):
        return WireError(status=503, type="memory_unavailable", message="The memory of this agent does not answer.")
    if isinstance(error, RunError):
        return _ended(error)
    return _failed()


def _failed() -> WireError:
    return WireError(status=500, type="server_error", message="The agent failed to answer.", should_retry=False)


def _ended(error: RunError) -> WireError:
    cause = error.outcome.error
    if isinstance(error, MaxStepsError):
        message = "The agent reached its limit of model requests before it had an answer."
        return WireError(status=422, type="max_steps", message=message, should_retry=False)
    if isinstance(error, RunTimeoutError):
        message = "The run took longer than it may."
        return WireError(status=504, type="timeout", message=message, should_retry=False)
    if isinstance(error, RunCancelledError):
        return WireError(status=409, type="cancelled", message="The run was cancelled.", should_retry=False)
    if isinstance(cause, MemoryUnavailableError):
        message = "The agent answered, but its memory could not store the run."
        return WireError(status=503, type="memory_unavailable", message=message, should_retry=False)
    return _upstream(cause) or _failed()


def _upstream(error: BaseException | None) -> WireError | None:
    """Return the error for a model that did not answer, or None where it was not the model."""
    model_error = model_error_in(error)
    if model_error is None:
        if isinstance(error, AgentRunError):
            message = "The agent did not arrive at a valid answer."
            return WireError(status=500, type="server_error", message=message, should_retry=False)
        return None
    status = model_error.status_code if isinstance(model_error, ModelHTTPError) else None
    if status == 429 or isinstance(model_error, ModelRateLimitError):
        message = "The model's provider limits the rate of requests. Send the request again later."
        wait_s = wait_asked_for(model_error)
        retry_after_s = None if wait_s is None else math.ceil(wait_s)
        return WireError(status=429, type="rate_limit_exceeded", message=message, retry_after_s=retry_after_s)
    return WireError(status=502, type="upstream_error", message=_upstream_text(model_error, status), should_retry=False)


def _upstream_text(error: ModelAPIError, status: int | None) -> str:
    if isinstance(error, ModelContextWindowExceededError):
        return "The conversation is too long for the model."
    if isinstance(error, (ModelTimeoutError, ModelRequestTimeout)):
        return "The model did not answer in time."
    if isinstance(error, ModelConnectionError):
        return "The model could not be reached, or its answer broke off."
    if status is None:
        return "The model's answer could not be read."
    if status in (401, 403):
        return "The model's provider refused this server's credentials."
    if status == 404:
        return "The model's provider does not know the model or the path."
    return "The model's provider refused the request." if 400 <= status < 500 else "The model's provider failed."
