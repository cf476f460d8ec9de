"""The API describes itself: completely, truly, and to people too."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, get_args

import httpx
import pytest
import schemathesis
from anyio import fail_after
from fastapi import FastAPI
from pydantic_ai import Agent
from pydantic_ai.exceptions import ModelHTTPError
from schemathesis.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

import pais_sdk
from pais_sdk import AgentRuntime, LocalMemory, MemoryUnavailableError, Settings, serve
from pais_sdk._listen import listening
from pais_sdk.mcp import MCPServers
from pais_sdk.server.chat_request import ChatMessage, Role
from pais_sdk.server.openapi.content import MESSAGE_KINDS

from .agents import GatedModel, echo_agent, echo_model
from .http_agents import (
    CHAT,
    FailingModel,
    Served,
    adding_agent,
    body,
    cut_off_agent,
    looping_agent,
    served,
)

pytestmark = pytest.mark.anyio

KEYS = Settings(agent_api_keys="alice=key-of-alice")
OPEN = {
    "/health",
    "/ready",
    "/.well-known/agent.json",
    "/.well-known/agent-card.json",
    "/openapi.json",
    "/docs",
}
CHECKS = [
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    response_headers_conformance,
]


async def document_of(here: Served) -> dict[str, Any]:
    answer = await here.http.get("/openapi.json")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    return answer.json()


def operations_of(document: dict[str, Any]) -> dict[tuple[str, str], dict[str, Any]]:
    return {
        (path, method.upper()): operation
        for path, item in document["paths"].items()
        for method, operation in item.items()
    }


async def check(here: Served, *answers: httpx.Response, path: str | None = None) -> None:
    """Compare answers with what the server's own description says of them."""
    schema: Any = schemathesis.openapi.from_dict(await document_of(here))
    for answer in answers:
        operation = schema[path or answer.url.path][answer.request.method]
        case = operation.Case(path_parameters={"model_id": "any", "session_id": "any"})
        case.validate_response(answer, checks=CHECKS)


@pytest.mark.parametrize("settings", [Settings(), KEYS], ids=["open", "with keys"])
async def test_the_document_keeps_to_the_specification(settings: Settings) -> None:
    with fail_after(5):
        async with served(adding_agent(), settings=settings, description="adds", efforts={"low": echo_model()}) as here:
            document = await document_of(here)
    schemathesis.openapi.from_dict(document).validate()
    assert document["openapi"] == "3.1.0"
    assert (document["info"]["title"], document["info"]["version"]) == ("adder", pais_sdk.__version__)
    assert document["info"]["description"].startswith("adds\n\n")
    named = set(re.findall(r'"#/components/(\w+)/([\w-]+)"', str(document).replace("'", '"')))
    assert all(name in document["components"][kind] for kind, name in named)
    unused = {("schemas", name) for name in document["components"]["schemas"]} - named
    assert unused == set()


async def test_every_route_is_described_and_every_description_has_a_route() -> None:
    with fail_after(5):
        async with served(echo_agent()) as here:
            operations = operations_of(await document_of(here))
            routes: Any = here.server._app.routes
    served_ones = {(route.path.replace(":path", ""), method) for route in routes for method in route.methods}
    assert {(path, "HEAD") for path, method in operations if method == "GET"} | set(operations) == served_ones
    assert len({operation["operationId"] for operation in operations.values()}) == len(operations)


async def test_the_page_on_http_names_every_parameter_of_a_route() -> None:
    text = (Path(__file__).parent.parent / "docs/http.md").read_text()
    with fail_after(5):
        async with served(echo_agent()) as here:
            operations = operations_of(await document_of(here))
    for (path, _), operation in operations.items():
        for parameter in operation.get("parameters", ()):
            form = rf"{re.escape(path)}\?\S*\b{parameter['name']}=" if parameter["in"] == "query" else parameter["name"]
            assert re.search(form, text), f"{path} takes {parameter['name']}"


def test_the_kinds_of_messages_are_those_that_are_read() -> None:
    assert sorted(role for kind in MESSAGE_KINDS for role in kind.roles) == sorted(get_args(Role))
    assert {field for kind in MESSAGE_KINDS for field in kind.required} < set(ChatMessage.model_fields)


async def test_what_the_settings_say_is_in_the_document() -> None:
    runtime = AgentRuntime(echo_agent(), efforts={"low": echo_model(), "high": echo_model()})
    with fail_after(5):
        async with served(runtime, settings=Settings(agent_max_messages=7)) as here:
            fields = (await document_of(here))["components"]["schemas"]["ChatRequest"]["properties"]
    assert fields["messages"]["maxItems"] == 7
    assert fields["effort"]["anyOf"][0]["enum"] == ["high", "low"]
    assert fields["tools"]["enum"] == [[], None]
    assert "unsupported_parameter" in fields["tools"]["description"]


async def test_answers_are_as_described() -> None:
    with fail_after(10):
        async with served(adding_agent()) as here:
            plain = await here.ask("add", session_id="s")
            paths = ["/v1/models", "/memory/sessions", "/memory/events", "/memory/events?limit=2", "/tools"]
            answers = [await here.http.get(path) for path in [*paths, *sorted(OPEN)]]
            refused = await here.ask("add", session_id="not one", tools=[{}])
            not_found = await here.http.get("/v1/models/other")
            deleted = [await here.http.delete("/memory/sessions/s") for _ in range(2)]
            wrong = await here.http.delete("/memory/sessions/a%20b")
            page = await here.http.get("/memory/events?limit=0")
            too_much = await here.http.delete("/v1/models")
            assert (plain.status_code, {answer.status_code for answer in answers}) == (200, {200})
            statuses = [answer.status_code for answer in (refused, not_found, *deleted, wrong, page, too_much)]
            assert statuses == [400, 404, 200, 404, 400, 400, 405]
            await check(here, plain, *answers, refused, page)
            await check(here, await here.http.get("/v1/models/adder"), not_found, path="/v1/models/{model_id}")
            await check(here, *deleted, wrong, path="/memory/sessions/{session_id}")


async def test_what_json_takes_for_a_whole_number_is_one() -> None:
    fields: dict[str, Any] = {"max_tokens": 5.0, "seed": 1.0, "logit_bias": {"7": -2.0}, "n": 1.0, "top_logprobs": 0.0}
    with fail_after(5):
        async with served(echo_agent()) as here:
            assert (await here.ask("hi", **fields)).status_code == 200
            for field, value in (("max_tokens", 5.5), ("n", True), ("logprobs", 0), ("max_tokens", 0.0)):
                answer = await here.http.post(CHAT, json=body("hi", **{field: value}))
                assert (answer.status_code, answer.json()["error"]["param"]) == (400, field)


async def test_a_wrong_method_is_answered_as_described() -> None:
    with fail_after(5):
        async with served(echo_agent()) as here:
            for path, method in operations_of(await document_of(here)):
                answer = await here.http.request("PATCH", path)
                assert answer.status_code == 405
                answer.request.method = method  # the path's own methods tell what comes with others
                await check(here, answer, path=path)


async def test_an_unknown_path_is_answered_with_the_same_error() -> None:
    with fail_after(5):
        async with served(echo_agent()) as here:
            answer = await here.http.get("/nothing")
            assert answer.status_code == 404
            await check(here, answer, path="/v1/models/{model_id}")


def failing(error: Callable[[], Exception], *words: str) -> Callable[[], Agent[Any, str]]:
    return lambda: Agent(FailingModel(error, *words).model)


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
@pytest.mark.parametrize(
    ("status", "word", "agent", "settings"),
    [
        (413, "invalid_request_error", echo_agent, {"agent_max_body_bytes": 10}),
        (422, "max_steps", looping_agent, {"agent_progress": "off"}),
        (429, "rate_limit_exceeded", failing(lambda: ModelHTTPError(429, "m", headers={"retry-after": "7"})), {}),
        (500, "server_error", failing(lambda: RuntimeError("no")), {}),
        (502, "upstream_error", failing(lambda: ModelHTTPError(401, "m")), {}),
        (502, "upstream_error", failing(lambda: ModelHTTPError(401, "m"), "first a word"), {}),
        (504, "timeout", lambda: Agent(GatedModel().model), {"run_timeout_s": 0.05}),
    ],
)
async def test_a_failed_run_is_answered_as_described(
    status: int, word: str, agent: Callable[[], Any], settings: dict[str, Any], stream: bool
) -> None:
    with fail_after(5):
        async with served(agent(), settings=Settings(**settings)) as here:
            answer = await here.ask("hi", session_id="s", stream=stream)
            began = stream and answer.text.startswith("data: ")
            assert answer.status_code == (200 if began else status)
            assert f'"{word}"' in answer.text.rpartition('"error"')[2]
            await check(here, answer)


async def test_a_busy_session_and_a_cancelled_run_are_answered_as_described() -> None:
    gated = GatedModel()
    with fail_after(5):
        async with served(Agent(gated.model), settings=Settings(on_busy="reject")) as here:
            first = asyncio.create_task(here.ask("hi", session_id="s"))
            await gated.said_first.wait()
            busy = await here.ask("hi", session_id="s")
            await here.runtime.cancel("s")
            cancelled = await first
            assert (busy.json()["error"]["code"], cancelled.json()["error"]["code"]) == ("session_busy", "cancelled")
            await check(here, busy, cancelled)


async def test_a_full_server_and_one_that_stops_answer_as_described() -> None:
    gated = GatedModel()
    settings = Settings(max_active_runs=1, max_queued_runs=0)
    with fail_after(5):
        async with served(Agent(gated.model), settings=settings) as here:
            first = asyncio.create_task(here.ask("hi"))
            await gated.said_first.wait()
            full = await here.ask("hi")
            here.server.stopping = True
            answers = [full, await here.ask("hi"), await here.http.get("/ready")]
            assert [answer.status_code for answer in answers] == [429, 503, 503]
            gated.gate.set()
            await check(here, *answers, await first)


async def test_a_memory_that_does_not_answer_is_told_as_described() -> None:
    class Broken(LocalMemory):
        async def check(self) -> None:
            raise MemoryUnavailableError

        async def read_page(self, **options: Any) -> Any:
            raise MemoryUnavailableError

        def open_session(self, session_id: str, **options: Any) -> Any:
            raise MemoryUnavailableError

        async def read_log(self, session_id: str, *, limit: int | None = None) -> Any:
            raise MemoryUnavailableError

        async def read_record(self, conversation_id: str) -> Any:
            raise MemoryUnavailableError

    with fail_after(5):
        async with served(echo_agent(), memory=Broken()) as here:
            paths = ["/ready", "/memory/sessions", "/memory/events", "/memory/events?session_id=s"]
            answers = [await here.http.get(path) for path in paths] + [await here.ask("hi")]
            deleted = await here.http.delete("/memory/sessions/s")
            assert {answer.status_code for answer in [*answers, deleted]} == {503}
            await check(here, *answers)
            await check(here, deleted, path="/memory/sessions/{session_id}")


async def test_mcp_servers_are_told_as_described() -> None:
    with fail_after(20):
        for required in ([], ["none"]):
            servers = MCPServers({"none": {"command": "there-is-no-such-command"}}, required=required)
            async with served(adding_agent(), toolsets=[servers]) as here:
                answers = [await here.http.get(path) for path in ("/tools", "/ready")]
                assert [answer.status_code for answer in answers] == [200, 503 if required else 200]
                assert all(answer.json()["mcp_servers"] for answer in answers)
                await check(here, *answers)


async def test_tools_that_are_not_listed_in_time_are_told_as_described(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pais_sdk.server.agent_card._TOOLS_WAIT_S", 0)
    with fail_after(5):
        async with served(adding_agent()) as here:
            answer = await here.http.get("/tools")
            assert answer.status_code == 503
            await check(here, answer)


@pytest.mark.parametrize("progress", ["chunk", "kaos-ui", "kaos-cli", "off"])
@pytest.mark.parametrize("include_usage", [False, True])
@pytest.mark.parametrize("agent", [adding_agent, cut_off_agent, lambda: failing(RuntimeError, "so ")()])
async def test_each_event_of_a_stream_is_as_described(
    agent: Callable[[], Any], include_usage: bool, progress: Any
) -> None:
    with fail_after(5):
        async with served(agent(), settings=Settings(agent_progress=progress)) as here:
            answer = await here.ask("hi", stream=True, stream_options={"include_usage": include_usage})
            assert answer.status_code == 200
            assert answer.text.count("\ndata: ") >= 2
            await check(here, answer)


@pytest.mark.parametrize(
    ("said", "false"),
    [("[DONE]", "[OVER]"), ('"finish_reason": "stop"', '"finish_reason": "whim"'), ('"index": 0, ', "")],
)
async def test_an_event_that_is_not_as_described_is_found(said: str, false: str) -> None:
    with fail_after(5):
        async with served(echo_agent()) as here:
            answer = await here.ask("hi", stream=True)
            assert said in answer.text
            text = answer.text.replace(said, false)
            spoilt = httpx.Response(200, headers=answer.headers, text=text, request=answer.request)
            spoilt.elapsed = answer.elapsed
            with pytest.raises(BaseExceptionGroup, match="SSE event violates schema"):
                await check(here, spoilt)


async def test_keys_are_described_where_they_are_asked_for() -> None:
    with fail_after(5):
        async with served(echo_agent(), settings=KEYS) as here:
            document = await document_of(here)
            assert document["security"] == [{"bearer": []}, {"apiKey": []}]
            assert set(document["components"]["securitySchemes"]) == {"bearer", "apiKey"}
            for (path, method), operation in operations_of(document).items():
                assert ("security" in operation) == ("401" not in operation["responses"]) == (path in OPEN), path
                answer = await here.http.request(method, path.replace("{", "").replace("}", ""))
                assert answer.status_code == (200 if path in OPEN else 401)
                await check(here, answer, path=path)


async def test_without_keys_none_are_described() -> None:
    with fail_after(5):
        async with served(echo_agent()) as here:
            document = await document_of(here)
    assert "security" not in document
    assert "securitySchemes" not in document["components"]
    assert not any({"401"} & set(operation["responses"]) for operation in operations_of(document).values())
    assert not any("security" in operation for operation in operations_of(document).values())


async def test_a_page_of_another_origin_is_refused_as_described() -> None:
    with fail_after(5):
        async with served(echo_agent()) as here:
            headers = {"Origin": "http://elsewhere.test"}
            await check(here, await here.http.post(CHAT, json=body("hi"), headers=headers))
            deleted = await here.http.delete("/memory/sessions/s", headers=headers)
            assert deleted.status_code == 403
            await check(here, deleted, path="/memory/sessions/{session_id}")


@pytest.mark.parametrize(
    ("settings", "headers", "url"),
    [
        ({}, {}, "{base}/agent"),
        ({}, {"Host": "other.test:81"}, "http://other.test:81/agent"),
        ({"agent_public_url": "https://public.test/x/"}, {}, "https://public.test/x"),
        ({"agent_trust_forwarded": True}, {"X-Forwarded-Prefix": "/ns"}, "{base}/ns/agent"),
    ],
)
async def test_the_description_says_where_a_mounted_agent_is(
    settings: dict[str, Any], headers: dict[str, str], url: str
) -> None:
    app: Any = serve(echo_agent(), settings=Settings(**settings))
    parent: Any = FastAPI()
    parent.mount("/agent", app)
    with fail_after(5):
        async with listening(parent) as base, httpx.AsyncClient(base_url=base) as client:
            for sent in ({}, headers, headers):  # what one client says must not be told to another
                document = (await client.get("/agent/openapi.json", headers=sent)).json()
                page = (await client.get("/agent/docs", headers=sent)).text
            expected = url.format(base=base)
            assert document["servers"] == [{"url": expected}]
            assert f"<code>{expected}</code>" in page
            own = (await client.get("/agent/openapi.json")).json()["servers"]
            assert own == [{"url": expected if "public" in expected else f"{base}/agent"}]
        await app.runtime.close()


class Page(HTMLParser):
    """What a page names and links to."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.ids: list[str] = []
        self.links: set[str] = set()
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        for name, value in attrs:
            assert name in {"id", "href", "class", "lang", "charset", "name", "content"}, name
            if name == "id":
                self.ids.append(value or "")
            if name == "href":
                self.links.add(value or "")

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.mark.parametrize("settings", [Settings(), KEYS], ids=["open", "with keys"])
async def test_the_page_tells_all_that_the_document_does(settings: Settings) -> None:
    with fail_after(5):
        async with served(adding_agent(), settings=settings) as here:
            document, answer = await document_of(here), await here.http.get("/docs")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
    page = Page(answer.text)
    assert len(page.ids) == len(set(page.ids))
    for (path, method), operation in operations_of(document).items():
        assert operation["operationId"] in page.ids
        assert f"{method} {path}" in page.text
        for parameter in operation.get("parameters", ()):
            assert parameter["name"] in page.text
        for response in operation["responses"].values():
            assert response["description"].replace("`", "") in page.text
    for name, schema in document["components"]["schemas"].items():
        assert f"schema-{name}" in page.ids
        assert all(field in page.text for field in schema["properties"])
    assert ("X-API-Key" in page.text) == (settings is KEYS)
    assert page.links == {"openapi.json", *(f"#{name}" for name in page.ids)}


async def test_the_page_loads_nothing() -> None:
    with fail_after(5):
        async with served(echo_agent()) as here:
            answer = await here.http.get("/docs")
    assert answer.headers["content-security-policy"].startswith("default-src 'none'; style-src 'unsafe-inline';")
    assert not Page(answer.text).tags & {"script", "link", "img", "iframe", "object", "embed", "base", "form"}
    assert not re.search(r"@import|url\(|src=|//(?!127\.0\.0\.1)[\w.]+/", answer.text.replace("https?://", ""))


EVIL = "<script>alert(1)</script>\"'&<img src=x onerror=alert(1)>`</code><b>`"


async def test_what_the_agent_is_called_is_text_on_the_page() -> None:
    runtime = AgentRuntime(echo_agent(), name=EVIL, description=f"{EVIL}\n\n{EVIL}", efforts={EVIL: echo_model()})
    with fail_after(5):
        async with served(runtime) as here:
            document, page = await document_of(here), await here.http.get("/docs", headers={"Host": "a.test"})
    assert document["info"]["title"] == EVIL
    assert not Page(page.text).tags & {"script", "img", "b"}
    assert page.text.count("&lt;script&gt;") >= 4


@pytest.mark.parametrize("path", ["/openapi.json", "/docs"])
async def test_a_request_with_head_has_no_body(path: str) -> None:
    with fail_after(5):
        async with served(echo_agent()) as here:
            answer = await here.http.head(path)
    assert (answer.status_code, answer.content) == (200, b"")
