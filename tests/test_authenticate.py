"""The hook of an embedding app, which says who calls."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from anyio import fail_after
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection

from pais_sdk import Settings

from .agents import echo_agent
from .http_agents import CHAT, SECRET, Served, body, content_of, error_of, served

pytestmark = pytest.mark.anyio


def of_cookie(request: HTTPConnection) -> str | None:
    return request.cookies.get("user")


async def of_cookie_async(request: HTTPConnection) -> str | None:
    return request.cookies.get("user")


async def sessions_of(here: Served, user: str) -> list[str]:
    answer = await here.http.get("/memory/sessions", headers={"Cookie": f"user={user}"})
    return answer.json()["sessions"]


@pytest.mark.parametrize("authenticate", [of_cookie, of_cookie_async], ids=["sync", "async"])
async def test_a_hook_says_whose_sessions_a_request_sees(authenticate: Any) -> None:
    with fail_after(5):
        async with served(echo_agent(), authenticate=authenticate) as here:
            for user in ("alice", "bob/of the team"):
                asked = await here.http.post(CHAT, json=body("hi", session_id="s"), headers={"Cookie": f"user={user}"})
                assert content_of(asked) == "hi (1)"
                assert await sessions_of(here, user) == ["s"]
            assert await sessions_of(here, "bob") == []
            refused = await here.http.post(CHAT, json=body("hi"))
            assert (await here.http.get("/health")).status_code == 200
    assert (refused.status_code, refused.headers["www-authenticate"]) == (401, "Bearer")
    assert error_of(refused)["type"] == "authentication_error"
    assert "key" not in error_of(refused)["message"].lower()


def raising(request: HTTPConnection) -> str:
    raise RuntimeError(SECRET)


@pytest.mark.parametrize(
    "authenticate",
    [
        raising,
        lambda request: "",  # pyright: ignore[reportUnknownLambdaType]
        lambda request: "a\nb",
        lambda request: "x" * 257,
        lambda request: True,
        lambda request: b"bytes",
    ],
    ids=["raises", "empty", "a line break", "too long", "no text", "bytes"],
)
@pytest.mark.filterwarnings("default")
async def test_a_hook_that_does_not_work_is_a_fault_of_the_server(
    authenticate: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with fail_after(5):
        async with served(echo_agent(), authenticate=authenticate) as here:
            answers = [await here.http.post(CHAT, json=body("hi")), await here.http.get("/memory/sessions")]
            assert (await here.http.get("/health")).status_code == 200
            assert here.runtime.model_status == "unknown"
    for answer in answers:
        assert (answer.status_code, error_of(answer)["code"]) == (500, "server_error")
        assert SECRET not in answer.text
    assert any(record.levelno >= logging.ERROR for record in caplog.records)  # somebody must be told


@pytest.mark.parametrize("status", [401, 403])
async def test_a_hook_may_refuse_as_handlers_of_fastapi_do(status: int) -> None:
    def authenticate(request: HTTPConnection) -> str:
        raise HTTPException(status, detail=SECRET)

    with fail_after(5):
        async with served(echo_agent(), authenticate=authenticate) as here:
            answer = await here.http.post(CHAT, json=body("hi"))
    assert (answer.status_code, error_of(answer)["type"]) == (401, "authentication_error")
    assert SECRET not in answer.text


async def test_a_hook_takes_the_place_of_the_keys_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    settings = Settings(agent_api_keys="alice=key", agent_api_keys_file="there is none")
    with fail_after(5):
        async with served(echo_agent(), settings=settings, authenticate=of_cookie) as here:
            assert (await here.http.get("/memory/sessions", headers={"X-API-Key": "key"})).status_code == 401
            assert await sessions_of(here, "alice") == []
    assert "AGENT_API_KEYS and AGENT_API_KEYS_FILE of the environment have no effect" in caplog.text


async def test_a_hook_sees_the_request_and_not_its_body() -> None:
    seen: list[HTTPConnection] = []

    def authenticate(request: HTTPConnection) -> str:
        seen.append(request)
        return "anyone"

    with fail_after(5):
        async with served(echo_agent(), authenticate=authenticate) as here:
            assert content_of(await here.http.post(f"{CHAT}?a=b", json=body("hi"), headers={"X-Who": "me"})) == "hi (1)"
    (request,) = seen
    assert (request.url.path, request.query_params["a"], request.headers["x-who"]) == (CHAT, "b", "me")
    assert not hasattr(request, "body")
    assert not hasattr(request, "stream")


async def test_a_refused_request_with_a_large_body_gets_its_answer() -> None:
    with fail_after(10):
        for authenticate, status in ((of_cookie, 401), (raising, 500), (lambda request: "", 500)):  # pyright: ignore
            async with served(echo_agent(), authenticate=authenticate) as here:
                answer = await here.http.post(CHAT, content=b"x" * 20_000_000)
                assert answer.status_code == status
