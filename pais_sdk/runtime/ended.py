"""How a run ended, as an outcome or as the error that stands for it."""

from __future__ import annotations

from typing import Any, TypeVar, cast

from pydantic_ai.exceptions import ModelAPIError

from ..errors import MaxStepsError, RunCancelledError, RunError, RunFailedError, RunTimeoutError
from ..events import RunOutcome

OutputT = TypeVar("OutputT")


def successful(outcome: RunOutcome[OutputT]) -> RunOutcome[OutputT]:
    """Return an outcome of `end_turn`; raise the error that stands for another."""
    if outcome.stop_reason == "end_turn":
        return outcome
    raise error_of(outcome) from outcome.error


def error_of(outcome: RunOutcome[Any]) -> RunError:
    """Return the error that stands for an outcome other than `end_turn`."""
    if outcome.stop_reason == "max_steps":
        return MaxStepsError(f"no answer after {outcome.usage.requests} model requests", outcome)
    if outcome.stop_reason == "timeout":
        return RunTimeoutError(f"no answer after {outcome.duration_s:.1f} s", outcome)
    if outcome.stop_reason == "cancelled":
        return RunCancelledError("the run was cancelled", outcome)
    return RunFailedError(f"the run failed: {outcome.error!r}", outcome)


def model_error_in(error: BaseException | None) -> ModelAPIError | None:
    """Return the model's own error in what ended a run, also where several models failed; None where it was none."""
    if isinstance(error, BaseExceptionGroup):
        group = cast("BaseExceptionGroup[BaseException]", error)
        return next((found for found in map(model_error_in, group.exceptions) if found is not None), None)
    return error if isinstance(error, ModelAPIError) else None
