"""RecentSpans: keeps the newest traces in this process, for `outcome.trace`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor
from opentelemetry.trace import INVALID_SPAN_CONTEXT, StatusCode

from .._whole_text import whole_text
from ..traces import TraceSpan, keep_traces

_MAX_TEXT = 1000


class RecentSpans(SpanProcessor):
    """Hands the spans of this process to `pais_sdk.traces`, where they can be looked at.

    A span that ended is copied at once, and its long texts are cut: that costs microseconds, and a `chat` span that is
    held as it is holds the whole conversation.

    Args:
        max_traces: Traces that are kept; of the process, so the newest of these objects decides.
    """

    def __init__(self, max_traces: int) -> None:
        self._traces = keep_traces(max_traces)
        self._shut_down = False

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        """Keep a span that begins, as it is."""
        if not self._shut_down:
            context = span.get_span_context()
            self._traces.begin(_trace_id(context.trace_id), _span_id(context.span_id), _reader(span))

    def on_end(self, span: ReadableSpan) -> None:
        """Keep a copy of a span that ended, also after the shutdown: what was begun is brought to its end."""
        self._traces.end(_copy(span))

    def shutdown(self) -> None:
        """Keep no more; what is kept can still be looked at."""
        self._shut_down = True

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        """Return True: nothing is held back."""
        return True


def _reader(span: ReadableSpan) -> Callable[[], TraceSpan]:
    return lambda: _copy(span)


def _copy(span: ReadableSpan) -> TraceSpan:
    context, parent, scope = span.context or INVALID_SPAN_CONTEXT, span.parent, span.instrumentation_scope
    failed = span.status.status_code is StatusCode.ERROR
    return TraceSpan(
        name=span.name,
        trace_id=_trace_id(context.trace_id),
        span_id=_span_id(context.span_id),
        parent_id=None if parent is None else _span_id(parent.span_id),
        start_ns=span.start_time or 0,
        end_ns=span.end_time,
        attributes={name: _cut(value) for name, value in _attributes(span).items()},
        failed=failed,
        scope="" if scope is None else scope.name,
        kind=span.kind.name.lower(),
        error=_error(span) if failed else None,
    )


def _attributes(span: ReadableSpan) -> Mapping[str, Any]:
    attributes = span.attributes or {}
    # In one step, for the thread of a span that lasts may be setting more of them.
    return attributes.copy() if isinstance(attributes, MappingProxyType) else attributes


def _error(span: ReadableSpan) -> str | None:
    if span.status.description:
        return _cut(span.status.description)
    for event in reversed(span.events):
        if event.name == "exception":
            said: Mapping[str, Any] = event.attributes or {}
            parts = (said.get("exception.type"), said.get("exception.message"))
            return _cut(": ".join(str(part) for part in parts if part)) or None
    return None


def _cut(value: Any) -> Any:
    if isinstance(value, str):
        text = value = whole_text(value)
    elif isinstance(value, (int, float)):
        return value
    else:
        text = str(value)
    return value if len(text) <= _MAX_TEXT else f"{text[:_MAX_TEXT]}… ({len(text)} characters)"


def _trace_id(value: int) -> str:
    return f"{value:032x}"


def _span_id(value: int) -> str:
    return f"{value:016x}"
