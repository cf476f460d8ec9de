"""Traces: what a run did, as the spans that this process keeps; needs no OpenTelemetry SDK."""

from .recent import RecentTraces, keep_traces, recent_traces
from .run_trace import RunTrace
from .span import TraceSpan

__all__ = ["RecentTraces", "RunTrace", "TraceSpan", "keep_traces", "recent_traces"]
