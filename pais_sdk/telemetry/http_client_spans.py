"""Spans of the requests that go out over HTTPX, both of its generations."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from typing import Any


def instrument_http_clients() -> Callable[[], None]:
    """Instrument all clients where nobody has, without the queries of URLs; return what undoes that."""
    from opentelemetry.instrumentation.httpx import HTTPX2ClientInstrumentor, HTTPXClientInstrumentor

    instrumentors: list[Any] = [HTTPX2ClientInstrumentor()]
    if find_spec("httpx") is not None:
        instrumentors.append(HTTPXClientInstrumentor())
    ours = [instrumentor for instrumentor in instrumentors if not instrumentor.is_instrumented_by_opentelemetry]
    for instrumentor in ours:
        instrumentor.instrument(request_hook=_leave_query_out, async_request_hook=_leave_query_out_async)

    def undo() -> None:
        for instrumentor in ours:
            if instrumentor.is_instrumented_by_opentelemetry:
                instrumentor.uninstrument()

    return undo


def _leave_query_out(span: Any, request: Any) -> None:
    """Keep what may hold a key out of the span."""
    attributes: dict[str, Any] = getattr(span, "attributes", None) or {}
    for name in ("http.url", "url.full"):
        url, mark, _ = str(attributes.get(name, "")).partition("?")
        if mark:
            span.set_attribute(name, url)


async def _leave_query_out_async(span: Any, request: Any) -> None:
    _leave_query_out(span, request)
