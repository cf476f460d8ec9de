"""The guard around tools: what a tool raises neither ends the run nor reaches the client."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from opentelemetry import trace
from pydantic import ValidationError
from pydantic_ai import RunContext
from pydantic_ai.capabilities import AbstractCapability, CapabilityOrdering
from pydantic_ai.exceptions import ModelRetry, ToolFailed, UnexpectedModelBehavior
from pydantic_ai.messages import ModelResponse, ToolCallPart
from pydantic_ai.models import ModelRequestContext
from pydantic_ai.tools import DeferredToolRequests, DeferredToolResults, ToolDefinition, ToolDenied

from .tool_result import readable

_log = logging.getLogger("pais_sdk.tools")

NOBODY_APPROVES = "This tool needs an approval, and nobody can give one here. Go on without it, or say what is missing."
NOT_EXECUTED_HERE = "This tool is executed elsewhere, and nothing here can do that. Go on without it."


@dataclass
class ToolGuard(AbstractCapability[Any]):
    """Turns what goes wrong in a tool into a failed result that the model can act on.

    Args:
        timeout_s: Seconds that one call may take; a sync tool's thread goes on, but nobody waits for it.
        allowed: The names of the tools that the model may see and call; None for all.
    """

    timeout_s: float | None = None
    allowed: Collection[str] | None = None
    id: str | None = "pais_sdk.tool_guard"

    def get_ordering(self) -> CapabilityOrdering | None:
        return CapabilityOrdering(position="outermost")  # the agent's own hooks come first

    async def prepare_tools(self, ctx: RunContext[Any], tool_defs: list[ToolDefinition]) -> list[ToolDefinition]:
        if self.allowed is None:
            return tool_defs
        return [tool for tool in tool_defs if tool.name in self.allowed]

    async def after_model_request(
        self, ctx: RunContext[Any], *, request_context: ModelRequestContext, response: ModelResponse
    ) -> ModelResponse:
        # No hook hears of a call of a tool that there is not, or not yet. One more than its retries would end the run;
        # so one is always left, and the limit of steps is what bounds a model that goes on like this.
        if (manager := ctx.tool_manager) is not None and manager.ctx is not None:
            retries, tools = manager.ctx.retries, manager.tools or {}
            for name in {call.tool_name for call in response.tool_calls}:
                tool = tools.get(name)
                if tool is None or not ctx.is_tool_available(tool.tool_def):
                    limit = manager.default_max_retries if tool is None else tool.max_retries
                    retries[name] = min(retries.get(name, 0), limit - 1)
        return response

    async def wrap_tool_execute(
        self, ctx: RunContext[Any], *, call: ToolCallPart, tool_def: ToolDefinition, args: dict[str, Any], handler: Any
    ) -> Any:
        limit = asyncio.timeout(self.timeout_s)
        try:
            async with limit:
                result = await handler(args)
            return _told(result, call, ctx)
        except SystemExit:
            _log.exception("tool %r wanted to end the process, in run %s", call.tool_name, ctx.run_id)
            raise ToolFailed(f"The tool {call.tool_name!r} failed.") from None
        except TimeoutError:
            if not limit.expired():
                raise
            raise ToolFailed(f"The tool {call.tool_name!r} took longer than {self.timeout_s:g} s.") from None

    async def on_tool_validate_error(
        self,
        ctx: RunContext[Any],
        *,
        call: ToolCallPart,
        tool_def: ToolDefinition,
        args: Any,
        error: ValidationError | ModelRetry,
    ) -> dict[str, Any]:
        if not ctx.last_attempt:
            raise error
        # One more would end the run; the limit of steps is what bounds a model that never gets them right.
        text = error.message if isinstance(error, ModelRetry) else error.json(include_url=False)
        raise ToolFailed(text) from error

    async def on_tool_execute_error(
        self,
        ctx: RunContext[Any],
        *,
        call: ToolCallPart,
        tool_def: ToolDefinition,
        args: dict[str, Any],
        error: Exception,
    ) -> Any:
        if isinstance(error, UnexpectedModelBehavior) and isinstance(error.__cause__, ModelRetry):
            raise ToolFailed(error.__cause__.message) from error  # it asked once too often for another call
        _log.error("tool %r failed in run %s", call.tool_name, ctx.run_id, exc_info=error)
        _note(trace.get_current_span(), error, with_text=ctx.trace_include_content)
        raise ToolFailed(f"The tool {call.tool_name!r} failed with {type(error).__name__}.") from error


def _note(span: trace.Span, error: Exception, *, with_text: bool) -> None:
    """Say on the tool's span what it raised; the text may quote what was said, so it is under the same switch."""
    if with_text:
        span.record_exception(error)
    else:
        span.add_event("exception", {"exception.type": type(error).__name__})


@dataclass
class NobodyApproves(AbstractCapability[Any]):
    """Refuses, with a reason, calls that need an approval or are executed elsewhere, unless somebody else answers."""

    id: str | None = "pais_sdk.nobody_approves"

    def get_ordering(self) -> CapabilityOrdering | None:
        return CapabilityOrdering(position="innermost")  # the agent's own handlers are asked first

    async def handle_deferred_tool_calls(
        self, ctx: RunContext[Any], *, requests: DeferredToolRequests
    ) -> DeferredToolResults | None:
        return refused(requests)


@dataclass
class LoneGuard(ToolGuard):
    """Both in one, for agents without capabilities of their own: nobody else could be asked first.

    Each capability costs a run with tools about a twentieth of its time, whatever it does.
    """

    async def handle_deferred_tool_calls(
        self, ctx: RunContext[Any], *, requests: DeferredToolRequests
    ) -> DeferredToolResults | None:
        return refused(requests)


def _told(result: Any, call: ToolCallPart, ctx: RunContext[Any]) -> Any:
    try:
        return readable(result)
    except Exception:  # noqa: BLE001 - a class may refuse in any way to be written
        _log.exception("tool %r returned what JSON cannot hold, in run %s", call.tool_name, ctx.run_id)
        raise ToolFailed(f"The tool {call.tool_name!r} returned something that cannot be shown.") from None


def refused(requests: DeferredToolRequests) -> DeferredToolResults:
    """Return the answer to calls that nobody here can approve or carry out."""
    return requests.build_results(
        approvals={call.tool_call_id: ToolDenied(NOBODY_APPROVES) for call in requests.approvals},
        calls={call.tool_call_id: ToolFailed(NOT_EXECUTED_HERE) for call in requests.calls},
    )
