"""Web pages that call: none of another origin, unless it is allowed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import httpx
import pytest
from anyio import fail_after
from pydantic_ai import Agent

from pais_sdk import ConfigurationError, Settings, serve

from .agents import echo_agent
from .http_agents import CHAT, FailingModel, body, content_of, error_of, served

pytestmark = pytest.mark.anyio

PAGE = "https://page.example"
ALLOWED = Settings(agent_cors_origins=f"{PAGE}, http://localhost:3000")


def cors_of(answer: httpx.Response) -> dict[str, str]:
    return {name: value for name, value in answer.headers.items() if name.startswith("access-control-")}


async def test_without_origins_a_page_of_another_origin_can_neither_send_nor_read() -> None:
    with fail_after(5):
        async with served(echo_agent()) as here:
            await here.ask("hi", session_id="s")
            foreign = {"Origin": PAGE}
            refused = [
                await here.http.post(CHAT, json=body("hi", session_id="s"), headers=foreign),
                await here.http.post(CHAT, content=b"no JSON", headers={**foreign, "Content-Type": "text/plain"}),
                await here.http.post(CHAT, json=body("hi", stream=True), headers=foreign),
                await here.http.delete("/memory/sessions/s", headers=foreign),
            ]
            read = await here.http.get("/memory/events", headers=foreign)
            preflight = await here.http.options(CHAT, headers={**foreign, "Access-Control-Request-Method": "POST"})
            assert len(await here.events("s")) == 2
    for answer in refused:
        assert (answer.status_code, error_of(answer)["code"]) == (403, "origin_not_allowed")
    assert (read.status_code, preflight.status_code) == (200, 405)
    assert not any(cors_of(answer) for answer in (*refused, read, preflight))


@pytest.mark.parametrize(
    ("origin", "headers", "settings", "status"),
    [
        (None, {}, {}, 200),
        ("{url}", {}, {}, 200),
        ("http://LOCALHOST:81", {"Host": "localhost:81"}, {}, 200),
        ("http://localhost:82", {"Host": "localhost:81"}, {}, 403),
        ("null", {}, {}, 403),
        ("", {}, {}, 403),
        ("127.0.0.1", {}, {}, 403),
        ("http://[", {}, {}, 403),
        ("http://", {"Host": ""}, {}, 403),
        ("{url}.evil.example", {}, {}, 403),
        (PAGE, {"X-Forwarded-Host": "page.example"}, {}, 403),
        (PAGE, {"X-Forwarded-Host": "page.example"}, {"agent_trust_forwarded": True}, 200),
        (PAGE, {"X-Forwarded-Host": "page.example, inner"}, {"agent_trust_forwarded": True}, 200),
        (PAGE, {"X-Forwarded-Host": "other.example"}, {"agent_trust_forwarded": True}, 403),
        ("{url}", {"X-Forwarded-Host": "other.example"}, {"agent_trust_forwarded": True}, 403),
        (PAGE, {}, {"agent_public_url": "https://Page.example/agents/x"}, 200),
        ("https://other.example", {}, {"agent_public_url": "https://page.example/agents/x"}, 403),
        (PAGE, {}, {"agent_cors_origins": "*"}, 200),
        ("null", {}, {"agent_cors_origins": "*"}, 200),
        ("null", {}, {"agent_cors_origins": "null"}, 200),
        (PAGE, {}, {"agent_cors_origins": PAGE}, 200),
        (PAGE, {}, {"agent_cors_origins": "https://PAGE.example"}, 200),
        ("http://page.example", {}, {"agent_cors_origins": PAGE}, 403),
        (f"{PAGE}:444", {}, {"agent_cors_origins": PAGE}, 403),
    ],
)
async def test_a_page_may_send_from_the_servers_own_origin_and_from_those_allowed(
    origin: str | None, headers: Mapping[str, str], settings: Any, status: int
) -> None:
    with fail_after(5):
        async with served(echo_agent(), settings=Settings(**settings)) as here:
            from_page = {} if origin is None else {"Origin": origin.format(url=here.url)}
            answer = await here.http.post(CHAT, json=body("hi"), headers={**headers, **from_page})
    assert answer.status_code == status, answer.text


async def test_a_page_that_is_allowed_reads_every_answer_also_streams_and_errors() -> None:
    page = {"Origin": PAGE}
    with fail_after(5):
        async with served(echo_agent(), settings=ALLOWED) as here:
            answers = {
                "plain": await here.http.post(CHAT, json=body("hi"), headers=page),
                "streamed": await here.http.post(CHAT, json=body("hi", stream=True), headers=page),
                "get": await here.http.get("/memory/sessions", headers=page),
                "bad": await here.http.post(CHAT, content=b"{", headers=page),
                "nothing": await here.http.get("/nothing", headers=page),
                "method": await here.http.put(CHAT, headers=page),
                "large": await here.http.post(CHAT, content=b" " * 17_000_000, headers=page),
            }
            other = await here.http.get("/memory/sessions", headers={"Origin": "https://other.example"})
        async with served(Agent(FailingModel(RuntimeError).model), settings=ALLOWED) as here:
            answers["failed"] = await here.http.post(CHAT, json=body("hi"), headers=page)
        keys = Settings(agent_cors_origins=PAGE, agent_api_keys="key")
        async with served(echo_agent(), settings=keys) as here:
            answers["no key"] = await here.http.get("/tools", headers=page)
    statuses = {name: answer.status_code for name, answer in answers.items()}
    assert statuses == {
        "plain": 200,
        "streamed": 200,
        "get": 200,
        "bad": 400,
        "nothing": 404,
        "method": 405,
        "large": 413,
        "failed": 500,
        "no key": 401,
    }
    assert answers["streamed"].text.endswith("data: [DONE]\n\n")
    for answer in answers.values():
        assert cors_of(answer)["access-control-allow-origin"] == PAGE
        assert "Origin" in answer.headers["vary"]
        readable = answer.headers["access-control-expose-headers"].split(", ")
        assert {"X-Session-ID", "Retry-After", "x-should-retry"} <= set(readable)
        assert "access-control-allow-credentials" not in answer.headers
    assert "access-control-allow-origin" not in other.headers


@pytest.mark.parametrize(
    ("origins", "origin", "allowed"),
    [(PAGE, PAGE, PAGE), ("*", PAGE, "*"), ("*", "null", "*"), (PAGE, "https://other.example", None)],
)
@pytest.mark.parametrize("keys", [None, "key"], ids=["no keys", "keys"])
async def test_a_preflight_says_what_a_page_may_send(
    origins: str, origin: str, allowed: str | None, keys: str | None
) -> None:
    asks = {"Access-Control-Request-Headers": "authorization,content-type,x-session-id,x-api-key"}
    with fail_after(5):
        async with served(echo_agent(), settings=Settings(agent_cors_origins=origins, agent_api_keys=keys)) as here:
            for method, path in (("POST", CHAT), ("DELETE", "/memory/sessions/s"), ("GET", "/tools")):
                headers = {"Origin": origin, "Access-Control-Request-Method": method, **asks}
                answer = await here.http.options(path, headers=headers)
                assert answer.headers.get("access-control-allow-origin") == allowed
                assert answer.status_code == (200 if allowed else 400)
                if allowed:
                    assert method in answer.headers["access-control-allow-methods"]
                    sent = answer.headers["access-control-allow-headers"]
                    assert set(asks["Access-Control-Request-Headers"].split(",")) <= set(sent.lower().split(","))


async def test_a_page_that_has_the_key_needs_no_origin() -> None:
    with fail_after(5):
        async with served(echo_agent(), settings=Settings(agent_api_keys="key")) as here:
            page = {"Origin": PAGE, "Authorization": "Bearer key"}
            answer = await here.http.post(CHAT, json=body("hi"), headers=page)
            assert content_of(answer) == "hi (1)"
            assert not cors_of(answer)
            assert (await here.http.post(CHAT, json=body("hi"), headers={"Origin": PAGE})).status_code == 401


async def test_with_a_hook_the_origin_is_looked_at_before_it() -> None:
    asked: list[str] = []

    def authenticate(request: Any) -> str:
        asked.append(request.method if hasattr(request, "method") else request.scope["method"])
        return "whoever has the cookie"

    with fail_after(5):
        async with served(echo_agent(), authenticate=authenticate) as here:
            assert (await here.http.post(CHAT, json=body("hi"), headers={"Origin": PAGE})).status_code == 403
            assert asked == []
            assert (await here.http.post(CHAT, json=body("hi"), headers={"Origin": here.url})).status_code == 200
            assert asked == ["POST"]


@pytest.mark.parametrize(
    "origins", ["page.example", "https://page.example/", "https://page.example/x", "https://", "http://[", "a, *"]
)
def test_what_is_no_origin_stops_the_start(origins: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AGENT_CORS_ORIGINS", origins)
    with pytest.raises(ConfigurationError, match=r"AGENT_CORS_ORIGINS cannot be used: '.*' is no origin"):
        serve(echo_agent())


@pytest.mark.parametrize(
    ("host", "settings", "status"),
    [
        ("localhost", {}, 200),
        ("LocalHost:8000", {}, 200),
        ("127.0.0.1:1", {}, 200),
        ("[::1]:8000", {}, 200),
        ("10.0.0.7", {}, 200),
        ("", {}, 200),
        ("rebound.example", {}, 403),
        ("localhost.rebound.example", {}, 403),
        ("127.0.0.1.rebound.example", {}, 403),
        ("rebound.example:8000", {"agent_public_url": "https://page.example"}, 403),
        ("page.example", {"agent_public_url": "https://page.example:444/x"}, 200),
        ("inner.example", {"agent_trust_forwarded": True}, 200),
        ("rebound.example", {"agent_api_keys": "key"}, 401),
    ],
)
async def test_a_server_for_its_own_machine_answers_to_its_own_names(host: str, settings: Any, status: int) -> None:
    with fail_after(5):
        async with served(echo_agent(), settings=Settings(**settings)) as here:
            for method, path in (("GET", "/memory/sessions"), ("POST", CHAT)):
                answer = await here.http.request(method, path, json=body("hi"), headers={"Host": host})
                assert answer.status_code == status, answer.text
            assert (await here.http.get("/health", headers={"Host": host})).status_code == 200
    if status == 403:
        assert error_of(answer)["code"] == "host_not_allowed"
