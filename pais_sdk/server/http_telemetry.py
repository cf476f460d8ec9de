"""HTTP requests as metrics, and as spans where the settings ask for them."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from typing import Any

from opentelemetry import context, metrics, trace
from opentelemetry.trace import Span, SpanKind, StatusCode
from starlette.routing import Match, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .._active_count import ActiveCount
from ..errors import ConfigurationError
from ..settings import Settings, variable_of

_tracer = trace.get_tracer("pais_sdk.server")
_meter = metrics.get_meter("pais_sdk.server")
_durations = _meter.create_histogram(
    "http.server.request.duration",
    unit="s",
    description="Time from a request to the last byte of its answer",
    explicit_bucket_boundaries_advisory=(
        *(0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10),
        *(30, 60, 120, 300),  # agents think
    ),
)
_active = ActiveCount(
    _meter, "http.server.active_requests", unit="{request}", description="Requests that are being answered"
)
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"})
_GONE, _FAILED = 499, 500
_CLIENT_GONE = "ClientDisconnect"
_LONGEST = 256


class HttpTelemetry:
    """An application whose requests are recorded.

    Args:
        app: The application.
        routes: Its routes.
        settings: Say which requests are not recorded, and whether there are spans.

    Raises:
        ConfigurationError: An expression for what is not recorded is none.

    Source:
        Names are those of OpenTelemetry's semantic conventions for HTTP servers.
    """

    def __init__(self, app: ASGIApp, routes: Sequence[Route], settings: Settings) -> None:
        self._app = app
        self._routes = routes
        self._has_spans = settings.otel_include_http_server
        self._excluded = _excluded(settings)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or (self._excluded is not None and self._excluded.search(scope["path"])):
            await self._app(scope, receive, send)
            return
        request = _Request(scope, self._route_of(scope), send, has_span=self._has_spans)
        try:
            await self._app(scope, receive, request.send)
        except BaseException as error:
            request.end(error)
            raise
        request.end()

    def _route_of(self, scope: Scope) -> str | None:
        for route in self._routes:
            if route.matches(scope)[0] is not Match.NONE:
                return route.path_format
        return None


class _Request:
    """One request, from when it is made until its end."""

    def __init__(self, scope: Scope, route: str | None, send: Send, *, has_span: bool) -> None:
        method = scope["method"] if scope["method"] in _METHODS else "_OTHER"
        self._active = {"http.request.method": method, "url.scheme": scope.get("scheme", "http")}
        self._labels: dict[str, Any] = {**self._active} if route is None else {**self._active, "http.route": route}
        self._send = send
        self._status: int | None = None
        self._is_complete = False
        self._span = _begin_span(scope, self._labels) if has_span else None
        self._attached = None if self._span is None else context.attach(trace.set_span_in_context(self._span))
        _active.add(1, self._active)
        self._began = time.perf_counter()

    async def send(self, message: Message) -> None:
        """Send a part of the answer, and take note of it."""
        if message["type"] == "http.response.start":
            self._status = message["status"]
        await self._send(message)
        if message["type"] == "http.response.body" and not message.get("more_body", False):
            self._is_complete = True

    def end(self, error: BaseException | None = None) -> None:
        """Record how it ended."""
        took_s = time.perf_counter() - self._began
        status = self._status or (_FAILED if isinstance(error, Exception) else _GONE)
        told: dict[str, Any] = {"http.response.status_code": status}
        if isinstance(error, Exception):
            told["error.type"] = type(error).__name__
        elif status == _GONE or not self._is_complete:
            told["error.type"] = _CLIENT_GONE
        elif status >= _FAILED:
            told["error.type"] = str(status)
        _active.add(-1, self._active)
        _durations.record(took_s, {**self._labels, **told})
        if self._span is None or self._attached is None:
            return
        context.detach(self._attached)
        self._span.set_attributes(told)
        if status >= _FAILED or isinstance(error, Exception):
            self._span.set_status(StatusCode.ERROR, told["error.type"])
        self._span.end()


def _begin_span(scope: Scope, labels: Mapping[str, Any]) -> Span:
    method, route = labels["http.request.method"], labels.get("http.route")
    attributes = {**labels, "url.path": scope["path"], "network.protocol.version": scope.get("http_version", "1.1")}
    if method == "_OTHER":
        attributes["http.request.method_original"] = scope["method"][:_LONGEST]
        method = "HTTP"
    if scope.get("server"):
        address, port = scope["server"]
        attributes["server.address"] = address
        if port is not None:
            attributes["server.port"] = port
    for name, value in scope["headers"]:
        if name == b"user-agent":
            attributes["user_agent.original"] = value.decode("latin-1")[:_LONGEST]
    return _tracer.start_span(
        method if route is None else f"{method} {route}", kind=SpanKind.SERVER, attributes=attributes
    )


def _excluded(settings: Settings) -> re.Pattern[str] | None:
    expressions = [text.strip() for text in settings.otel_excluded_urls.split(",") if text.strip()]
    for expression in expressions:
        try:
            re.compile(expression)
        except re.error as error:
            name = variable_of("otel_excluded_urls")
            raise ConfigurationError(
                f"{name}: {expression!r} is no regular expression ({error}); write some, separated by commas"
            ) from None
    return re.compile("|".join(f"(?:{expression})" for expression in expressions)) if expressions else None
