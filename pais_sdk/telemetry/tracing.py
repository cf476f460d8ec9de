"""Spans on their way to where they are kept and exported."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from typing import Any
from weakref import WeakKeyDictionary

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter

from .recent_spans import RecentSpans
from .switched_tracers import SwitchedTracerProvider

_log = logging.getLogger("pais_sdk.telemetry")

QUOTING = ("a2a-python-sdk", "fastmcp", "mcp-python-sdk")
"""Libraries that carry messages, and describe the status of their spans with others' words, without a switch for it."""


def global_tracer_provider() -> SwitchedTracerProvider | None:
    """Return the global tracer provider, which is made where there is none; None where it is somebody else's."""
    if isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):
        trace.set_tracer_provider(SwitchedTracerProvider())
    provider = trace.get_tracer_provider()
    return provider if isinstance(provider, SwitchedTracerProvider) else None


class Tracing:
    """Spans that are kept and exported until `shutdown`.

    A tracer provider that is there already stays what it is; the spans are taken from it.

    Args:
        resource: What the spans belong to, where the tracer provider is ours.
        exporters: Each gets all spans that are sampled.
        keep_traces: How many traces can be looked at in this process.
        content: Whether spans may hold what was said.
    """

    def __init__(
        self, resource: Resource, exporters: Sequence[SpanExporter], keep_traces: int, *, content: bool
    ) -> None:
        self._switched = global_tracer_provider()
        self._provider: TracerProvider | None = None
        if self._switched is not None:  # first, for what it does not take is found before threads are started
            self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._batches = [_Batches(exporter) for exporter in exporters]
        self._kept = [RecentSpans(keep_traces)] if keep_traces else []
        self._processors: tuple[SpanProcessor, ...] = (*self._kept, *self._batches)
        self._tap: _Tap | None = None
        if self._switched is not None and self._provider is not None:
            for processor in self._processors:
                self._provider.add_span_processor(processor)
            self._switched.switch(self._provider, without=() if content else QUOTING)
        elif self._processors:
            self._tap = _tap_of(trace.get_tracer_provider())
        if self._tap is not None:
            self._tap.processors = self._processors

    def let_go(self) -> None:
        """Take no spans any more."""
        for kept in self._kept:
            kept.shutdown()
        if self._switched is not None:
            self._switched.switch(None)
        if self._tap is not None:
            self._tap.processors = ()

    def force_flush(self, timeout_s: float) -> bool:
        """Export what is waiting; False where that takes longer."""
        if self._provider is not None:
            return self._provider.force_flush(int(timeout_s * 1000))
        flushed = [batches.force_flush() for batches in self._batches]
        return all(flushed)

    def shutdown(self, timeout_s: float) -> None:
        """Export what is waiting within this time, and nothing afterwards."""
        until = time.monotonic() + timeout_s
        for batches in self._batches:
            batches.end(max(0.0, until - time.monotonic()))
        if self._provider is not None:
            self._provider.shutdown()


class _Batches(BatchSpanProcessor):
    def end(self, timeout_s: float) -> None:
        self._batch_processor.shutdown(timeout_millis=int(timeout_s * 1000))  # its own shutdown() may take 30 s


class _Tap(SpanProcessor):
    """Hands over the spans of a provider that is not ours: what was added to that cannot be taken away again."""

    def __init__(self) -> None:
        self.processors: tuple[SpanProcessor, ...] = ()

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        for processor in self.processors:
            processor.on_start(span, parent_context)

    def on_end(self, span: ReadableSpan) -> None:
        for processor in self.processors:
            processor.on_end(span)

    def shutdown(self) -> None:
        for processor in self.processors:
            processor.shutdown()

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        flushed = [processor.force_flush(timeout_millis) for processor in self.processors]
        return all(flushed)


_taps: WeakKeyDictionary[Any, _Tap] = WeakKeyDictionary()


def _tap_of(provider: Any) -> _Tap | None:
    tap = _taps.get(provider)
    if tap is None and hasattr(provider, "add_span_processor"):
        tap = _taps[provider] = _Tap()
        provider.add_span_processor(tap)
    if tap is None:
        _log.warning("no spans are kept or exported here: %s takes no span processors", type(provider).__name__)
    return tap
