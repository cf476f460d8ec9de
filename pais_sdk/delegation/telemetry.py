"""A delegation as spans and metrics."""

from __future__ import annotations

import time
from collections.abc import Generator
from contextlib import contextmanager

from opentelemetry import metrics, trace
from opentelemetry.trace import StatusCode

from .failure import DelegationFailedError

_tracer = trace.get_tracer("pais_sdk.delegation")
_meter = metrics.get_meter("pais_sdk.delegation")
_delegations = _meter.create_counter("kaos.delegations", description="Tasks given to other agents")
_durations = _meter.create_histogram("kaos.delegation.duration", unit="ms", description="Time that they took")


@contextmanager
def traced(agent: str) -> Generator[None]:
    """Record what the block does as one delegation; trace headers that are made in it belong to its span.

    Of a failure it has the reason, never a text, which may quote what was said.

    Source:
        Names of span, attribute and metrics are KAOS's.
    """
    began = time.perf_counter()
    success = False
    attributes = {"agent.delegation.target": agent}
    span_of = _tracer.start_as_current_span
    with span_of(
        f"delegate.{agent}", attributes=attributes, record_exception=False, set_status_on_exception=False
    ) as span:
        try:
            yield
            success = True
        except DelegationFailedError as failure:
            span.set_attribute("error.type", failure.reason)
            span.set_status(StatusCode.ERROR, failure.reason)
            raise
        finally:
            labels = {"target": agent, "success": "true" if success else "false"}
            _delegations.add(1, labels)
            _durations.record((time.perf_counter() - began) * 1000, labels)
