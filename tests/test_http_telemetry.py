"""HTTP requests as metrics and spans, and the traces that they continue."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Generator, Iterable
from typing import Any

import httpx
import pytest
from anyio import fail_after
from opentelemetry import baggage, propagate, trace
from opentelemetry.context import Context
from opentelemetry.propagators.textmap import TextMapPropagator
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import SpanKind, StatusCode
from pydantic_ai import Agent
from starlette.applications import Starlette
from starlette.requests import HTTPConnection
from starlette.routing import Mount
from starlette.types import Receive, Scope, Send

from pais_sdk import AgentRuntime, AgentServer, ConfigurationError, Settings
from pais_sdk.server.trace_context import continued_trace

from .agents import GatedModel, echo_agent
from .http_agents import CHAT, FailingModel, body, served, until
from .telemetry import Recorded, recorded

pytestmark = pytest.mark.anyio

DURATION, ACTIVE = "http.server.request.duration", "http.server.active_requests"
TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
TRACEPARENT = f"00-{TRACE}-{PARENT}-01"
SPANS = Settings(otel_include_http_server=True)


@pytest.fixture
def seen() -> Generator[Recorded]:
    with recorded() as seen:
        yield seen


def http_spans(seen: Recorded) -> list[ReadableSpan]:
    scopes = ((span, span.instrumentation_scope) for span in seen.spans)
    return [span for span, scope in scopes if scope is not None and scope.name == "pais_sdk.server"]


def active(seen: Recorded) -> dict[str, int]:
    return {labels["http.request.method"]: point.value for labels, point in seen.metrics().get(ACTIVE, [])}


@pytest.mark.parametrize(
    ("method", "path", "status", "route"),
    [
        ("POST", CHAT, 400, CHAT),
        ("GET", CHAT, 405, CHAT),
        ("GET", "/v1/models", 200, "/v1/models"),
        ("GET", "/v1/models/one/of/many", 404, "/v1/models/{model_id}"),
        ("DELETE", "/memory/sessions/s-1?api_key=secret", 404, "/memory/sessions/{session_id}"),
        ("GET", "/.well-known/agent.json", 200, "/.well-known/agent.json"),
        ("GET", "/nowhere/12345", 404, None),
        ("BREW", "/v1/models", 405, "/v1/models"),
    ],
)
async def test_a_request_is_measured_by_its_route_and_has_no_span(
    method: str, path: str, status: int, route: str | None, seen: Recorded
) -> None:
    async with served(echo_agent()) as here:
        answer = await here.http.request(method, path, content=b"{")
    assert answer.status_code == status
    ((labels, point),) = seen.metrics()[DURATION]
    expected = {
        "http.request.method": "_OTHER" if method == "BREW" else method,
        "url.scheme": "http",
        "http.response.status_code": status,
    }
    assert labels == (expected if route is None else {**expected, "http.route": route})
    assert point.count == 1
    assert http_spans(seen) == []


async def test_a_preflight_is_measured_too(seen: Recorded) -> None:
    origin = "http://page.example"
    headers = {"Origin": origin, "Access-Control-Request-Method": "POST"}
    async with served(echo_agent(), settings=Settings(agent_cors_origins=origin)) as here:
        answer = await here.http.options(CHAT, headers=headers)
    assert answer.status_code == 200
    ((labels, _),) = seen.metrics()[DURATION]
    assert (labels["http.request.method"], labels["http.route"]) == ("OPTIONS", CHAT)


async def test_a_stream_lasts_until_its_last_byte(seen: Recorded) -> None:
    model = GatedModel()
    with fail_after(5):
        async with (
            served(Agent(model.model), settings=SPANS) as here,
            here.http.stream("POST", CHAT, json=body("hi", stream=True)) as answer,
        ):
            await model.said_first.wait()
            assert active(seen)["POST"] == 1
            assert DURATION not in seen.metrics()
            assert http_spans(seen) == []
            model.gate.set()
            await answer.aread()
            await until(lambda: bool(http_spans(seen)))
    now = seen.metrics()
    ((labels, point),) = now[DURATION]
    assert (labels["http.response.status_code"], labels["http.route"], point.count) == (200, CHAT, 1)
    assert "error.type" not in labels
    assert [point.value for labels, point in now[ACTIVE] if labels["http.request.method"] == "POST"] == [0]


@pytest.mark.parametrize(("stream", "status"), [(True, 200), (False, 499)])
async def test_a_client_that_is_gone_is_told_from_one_that_was_answered(
    stream: bool, status: int, seen: Recorded
) -> None:
    model = GatedModel()
    with fail_after(5):
        async with served(Agent(model.model), settings=SPANS) as here:
            async with httpx.AsyncClient(base_url=here.url) as http:
                asking = asyncio.create_task(http.post(CHAT, json=body("hi", stream=stream)))
                await model.said_first.wait()
                asking.cancel()
                await asyncio.wait([asking])
            await model.cancelled.wait()
            await until(lambda: bool(http_spans(seen)))
    ((labels, _),) = seen.metrics()[DURATION]
    assert (labels["http.response.status_code"], labels["error.type"]) == (status, "ClientDisconnect")
    (span,) = http_spans(seen)
    assert span.status.status_code is StatusCode.UNSET
    assert (span.attributes or {})["error.type"] == "ClientDisconnect"


def broken(request: HTTPConnection) -> str:
    raise RuntimeError("the secret of the house")


async def test_what_fails_here_is_an_error_without_its_text(seen: Recorded) -> None:
    def down() -> Exception:
        return ConnectionError("secret")

    async with served(Agent(FailingModel(down).model), settings=SPANS) as here:
        status = (await here.ask("hi")).status_code
    runtime = AgentRuntime(echo_agent())
    async with served(runtime, settings=SPANS, authenticate=broken) as here:
        assert (await here.http.get("/v1/models")).status_code == 500
    assert status >= 500
    failed, crashed = http_spans(seen)
    for span, kind in ((failed, str(status)), (crashed, "RuntimeError")):
        assert (span.status.status_code, span.status.description) == (StatusCode.ERROR, kind)
        assert (span.attributes or {})["error.type"] == kind
        assert "secret" not in span.to_json()
    assert {labels["error.type"] for labels, _ in seen.metrics()[DURATION]} == {str(status), "RuntimeError"}


@pytest.mark.parametrize(
    ("excluded", "path", "counts"),
    [
        (None, "/health", False),
        (None, "/ready", False),
        (None, "/v1/models", True),
        ("^/health$, ^/ready$", "/health", False),
        ("models|tools", "/v1/models", False),
        ("models|tools", "/health", True),
        ("", "/health", True),
        (" , ", "/health", True),
    ],
)
async def test_excluded_urls_have_neither_metrics_nor_spans(
    excluded: str | None, path: str, counts: bool, seen: Recorded
) -> None:
    settings = SPANS if excluded is None else SPANS.model_copy(update={"otel_excluded_urls": excluded})
    async with served(echo_agent(), settings=settings) as here:
        await here.http.get(f"{path}?and=health,ready,models")
    assert len(seen.metrics().get(DURATION, ())) == len(http_spans(seen)) == int(counts)


def test_an_expression_that_is_none_is_refused_at_the_start() -> None:
    settings = Settings(otel_excluded_urls="/health,[")
    with pytest.raises(ConfigurationError, match=r"OTEL_PYTHON_FASTAPI_EXCLUDED_URLS: '\['"):
        AgentServer(AgentRuntime(echo_agent()), settings=settings)


async def test_a_span_says_what_was_asked_and_nothing_that_may_be_a_secret(seen: Recorded) -> None:
    headers = {"traceparent": TRACEPARENT, "tracestate": "vendor=1", "user-agent": "test/1", "x-api-key": "secret"}
    async with served(echo_agent(), settings=SPANS) as here:
        await here.http.get("/memory/events?session_id=s&key=secret", headers=headers)
        port = httpx.URL(here.url).port
    (span,) = http_spans(seen)
    assert (span.name, span.kind) == ("GET /memory/events", SpanKind.SERVER)
    assert span.attributes == {
        "http.request.method": "GET",
        "http.route": "/memory/events",
        "http.response.status_code": 200,
        "url.path": "/memory/events",
        "url.scheme": "http",
        "server.address": "127.0.0.1",
        "server.port": port,
        "user_agent.original": "test/1",
        "network.protocol.version": "1.1",
    }
    assert span.parent is not None
    assert (f"{span.parent.trace_id:032x}", f"{span.parent.span_id:016x}") == (TRACE, PARENT)
    assert span.context is not None
    assert span.context.trace_state.to_header() == "vendor=1"
    assert "secret" not in span.to_json()


async def test_a_run_is_below_the_span_of_its_request(seen: Recorded) -> None:
    async with served(echo_agent(), settings=SPANS) as here:
        await here.ask("hi")
    (span,) = http_spans(seen)
    (run,) = seen.named("server-run")
    assert span.context is not None
    assert run.parent == span.context
    assert span.name == f"POST {CHAT}"


async def test_an_unknown_method_and_an_unknown_path_make_no_names(seen: Recorded) -> None:
    async with served(echo_agent(), settings=SPANS) as here:
        await here.http.request("BREW", "/pots/17")
    (span,) = http_spans(seen)
    assert span.name == "HTTP"
    assert (span.attributes or {})["http.request.method_original"] == "BREW"
    assert (span.attributes or {})["url.path"] == "/pots/17"


async def test_a_mounted_app_names_its_own_routes_and_its_spans_are_below_those_of_the_app_around_it(
    seen: Recorded,
) -> None:
    server = AgentServer(AgentRuntime(echo_agent()), settings=SPANS)
    inner = Starlette(routes=[Mount("/agents/echo", server)])

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        parent = propagate.extract({name.decode(): value.decode() for name, value in scope["headers"]})
        with trace.get_tracer("outer").start_as_current_span("outer", context=parent):
            await inner(scope, receive, send)

    transport = httpx.ASGITransport(app)
    async with server.runtime, httpx.AsyncClient(transport=transport, base_url="http://agent") as http:
        for headers in ({}, {"traceparent": TRACEPARENT}):
            answer = await http.post(f"/agents/echo{CHAT}", json=body("hi"), headers=headers)
            assert answer.status_code == 200
    spans, outers = http_spans(seen), seen.named("outer")
    assert [span.name for span in spans] == [f"POST {CHAT}"] * 2
    assert [span.parent for span in spans] == [outer.context for outer in outers]
    assert outers[1].parent is not None
    assert f"{outers[1].parent.trace_id:032x}" == TRACE


def continued(*headers: tuple[str, str]) -> tuple[str, dict[str, Any]]:
    """Return the trace and its state, and the baggage, that these headers make."""
    with continued_trace([(name.encode(), value.encode("utf-8")) for name, value in headers]):
        carrier: dict[str, str] = {}
        propagate.inject(carrier)
        found = dict(baggage.get_all())
    return " ".join(carrier.get(name, "") for name in ("traceparent", "tracestate")).strip(), found


GOOD = ("traceparent", TRACEPARENT)


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ([GOOD], (TRACEPARENT, {})),
        ([GOOD, ("tracestate", "a=1"), ("tracestate", "b=2, c@d=x y")], (f"{TRACEPARENT} a=1,b=2,c@d=x y", {})),
        ([GOOD, ("tracestate", "A secret")], (TRACEPARENT, {})),
        ([GOOD, ("tracestate", ",".join(f"k{n}=1" for n in range(33)))], (TRACEPARENT, {})),
        ([GOOD, ("tracestate", f"k={'x' * 9000}")], (TRACEPARENT, {})),
        ([("traceparent", f"ff-{TRACE}-{PARENT}-01")], ("", {})),
        ([("traceparent", f"00-{'0' * 32}-{PARENT}-01")], ("", {})),
        ([("traceparent", "the secret")], ("", {})),
        ([("traceparent", f"{TRACEPARENT}-{'x' * 600}")], ("", {})),
        ([GOOD, GOOD], ("", {})),
        ([("tracestate", "a=1")], ("", {})),
        ([("baggage", "team=blue,user = J%C3%BCrgen;secret=1")], ("", {"team": "blue", "user": "Jürgen;secret=1"})),
        ([("baggage", "team=blue"), ("baggage", "a=1")], ("", {"team": "blue", "a": "1"})),
        ([("baggage", 'the secret,=x,a b=1,"=1,ä=1,a="1",team=blue,%20=1')], ("", {"team": "blue"})),
        ([("baggage", f"a={'x' * 5000},team=blue")], ("", {"team": "blue"})),
        ([("baggage", f"a={'x' * 9000},team=blue")], ("", {})),
        ([("baggage", f"a={'/' * 2000},team=blue")], ("", {"team": "blue"})),  # three times as long when it goes on
        ([("baggage", ",".join(f"k{n}=1" for n in range(200)))], ("", {f"k{n}": "1" for n in range(180)})),
    ],
)
def test_what_headers_say_of_a_trace_is_continued_and_the_rest_is_dropped_without_a_word(
    headers: list[tuple[str, str]], expected: tuple[str, dict[str, Any]], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    assert continued(*headers) == expected
    assert caplog.records == []


def test_headers_of_other_propagators_are_read_as_well(caplog: pytest.LogCaptureFixture) -> None:
    class Shouted(TextMapPropagator):
        def extract(self, carrier: Any, context: Context | None = None, getter: Any = None) -> Context:
            return baggage.set_baggage("shouted", carrier.get("X-Shout"), context=context)

        def inject(self, carrier: Any, context: Context | None = None, setter: Any = None) -> None: ...

        @property
        def fields(self) -> set[str]:
            return {"X-Shout"}

    before = propagate.get_global_textmap()
    propagate.set_global_textmap(Shouted())
    try:
        assert continued(("x-shout", "hey"), GOOD) == ("", {"shouted": "hey"})
        assert continued(("x-shout", "x" * 600)) == ("", {})
    finally:
        propagate.set_global_textmap(before)


def test_a_request_without_a_trace_leaves_the_one_that_is_there() -> None:
    with trace.get_tracer("test").start_as_current_span("around") as around:
        here: Iterable[tuple[bytes, bytes]] = [(b"accept", b"*/*")]
        with continued_trace(here):
            assert trace.get_current_span() is around


async def test_what_a_server_answers_is_no_part_of_the_trace_in_which_it_was_started(seen: Recorded) -> None:
    with trace.get_tracer("test").start_as_current_span("cell") as cell:
        async with served(echo_agent(), settings=SPANS) as here:
            await here.http.get("/v1/models")
            await here.http.get("/v1/models", headers={"traceparent": TRACEPARENT})
    alone, continued_one = http_spans(seen)
    assert alone.parent is None
    assert continued_one.parent is not None
    assert trace.format_span_id(continued_one.parent.span_id) == PARENT
    assert cell.get_span_context().trace_id not in {span.context.trace_id for span in http_spans(seen) if span.context}
