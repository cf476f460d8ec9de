"""RunSpan: one run as a span, `server-run`."""

from __future__ import annotations

import traceback
from typing import TYPE_CHECKING, Any

from opentelemetry import context, trace
from opentelemetry.trace import SpanKind, StatusCode

from ..traces import RunTrace
from .ended import model_error_in

if TYPE_CHECKING:
    from ..events import RunOutcome

_WIRE = frozenset({"chat_completions", "a2a"})
_FAILED = frozenset({"error", "timeout", "max_steps"})

_tracer = trace.get_tracer("pais_sdk.runtime")


class RunSpan:
    """Begins when it is made, and is a part of what is traced there.

    Of an error it has the type and the stack, never the text, which may quote what was said.

    Args:
        agent: The name of the agent.
        surface: What the call came through.
        session_id: The session of the run, where it is known.
    """

    def __init__(self, agent: str, surface: str, session_id: str | None) -> None:
        attributes = {"agent.name": agent, "pais_sdk.surface": surface}
        if session_id is not None:
            attributes["session.id"] = session_id
        kind = SpanKind.SERVER if surface in _WIRE else SpanKind.INTERNAL
        around = trace.get_current_span().get_span_context()
        self._span = _tracer.start_span("server-run", kind=kind, attributes=attributes)
        self._is_recorded = self._span.is_recording()
        # Where nothing is traced it is the span around it, or only looks like that one.
        self._is_own = self._span.get_span_context().span_id != around.span_id

    @property
    def trace(self) -> RunTrace | None:
        """The trace that the run belongs to; None where there is none."""
        ids = self._span.get_span_context()
        if not ids.is_valid:
            return None
        span_id = trace.format_span_id(ids.span_id) if self._is_recorded else None
        return RunTrace(trace.format_trace_id(ids.trace_id), span_id)

    def make_current(self) -> None:
        """Let what this task does from here on be a part of it."""
        if self._is_own:
            context.attach(trace.set_span_in_context(self._span))

    def has_id(self, run_id: str) -> None:
        """Say which run it is."""
        if self._is_recorded:
            self._span.set_attribute("pais_sdk.run.id", run_id)

    def tell(self, stop_reason: str, outcome: RunOutcome[Any] | None, error: BaseException | None) -> None:
        """Say how the run ended.

        Args:
            stop_reason: Those of outcomes, and `refused`.
            outcome: What it left; None where it did not come to that.
            error: What ended it, or kept it from beginning.
        """
        if not self._is_recorded:
            return
        attributes: dict[str, str | int] = {"pais_sdk.stop_reason": stop_reason}
        if outcome is not None:
            usage = outcome.usage
            attributes["pais_sdk.usage.input_tokens"] = usage.input_tokens
            attributes["pais_sdk.usage.output_tokens"] = usage.output_tokens
            attributes["pais_sdk.usage.requests"] = usage.requests
            attributes["pais_sdk.usage.tool_calls"] = usage.tool_calls
        if stop_reason == "refused" or stop_reason in _FAILED:
            kind = stop_reason if error is None else type(model_error_in(error) or error).__name__
            attributes["error.type"] = kind
            self._span.set_status(StatusCode.ERROR, kind)
        self._span.set_attributes(attributes)
        if stop_reason == "error" and error is not None:
            self._span.add_event("exception", {"exception.type": _name(error), "exception.stacktrace": _stack(error)})

    def end(self) -> None:
        """End it."""
        self._span.end()


def _name(error: BaseException) -> str:
    kind = type(error)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def _stack(error: BaseException) -> str:
    """Return where an error and its causes were raised, without their texts; the first cause comes first."""
    found: list[BaseException] = []
    cause: BaseException | None = error
    while cause is not None and cause not in found:
        found.append(cause)
        cause = cause.__cause__ or (None if cause.__suppress_context__ else cause.__context__)
    stacks = ("".join([*traceback.format_tb(each.__traceback__), _name(each), "\n"]) for each in reversed(found))
    return "\n".join(stacks)
