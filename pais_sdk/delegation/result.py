"""The result of a delegation, as Pydantic AI takes it from a tool."""

from __future__ import annotations

from typing import Any

from pydantic_ai import RunContext
from pydantic_ai.exceptions import ToolFailed, ToolFailedError
from pydantic_ai.messages import ModelResponse, ToolCallPart, ToolReturn, ToolReturnPart

from .failure import DelegationFailedError
from .target import DelegateAnswer


def answered(agent: str, answer: DelegateAnswer) -> ToolReturn[str]:
    """Return the result of a task that was done."""
    told = {"protocol": answer.protocol, "session_id": answer.session_id, "task_id": answer.task_id}
    return ToolReturn(answer.text, metadata=_metadata(agent, **told))


def failed(
    agent: str, failure: DelegationFailedError, session_id: str | None, ctx: RunContext[Any]
) -> ToolFailedError | ToolFailed:
    """Return what is to be raised for one that was not; without metadata where no model has called the tool."""
    call = _call_of(ctx)
    if call is None:
        return ToolFailed(failure.message)
    return ToolFailedError(
        ToolReturnPart(
            call.tool_name,
            failure.message,
            call.tool_call_id,
            tool_kind=call.tool_kind,
            metadata=_metadata(agent, session_id=session_id, reason=failure.reason),
            outcome="failed",
        )
    )


def _call_of(ctx: RunContext[Any]) -> ToolCallPart | None:
    """Return the model's call, for it has the name that the model knows: prefixes and the like hide it from a tool."""
    newest = next((message for message in reversed(ctx.messages) if isinstance(message, ModelResponse)), None)
    for part in () if newest is None else newest.parts:
        if isinstance(part, ToolCallPart) and part.tool_call_id == ctx.tool_call_id:
            return part
    return None


def _metadata(agent: str, **told: str | None) -> dict[str, Any]:
    return {"delegation": {"agent": agent, **{name: value for name, value in told.items() if value is not None}}}
