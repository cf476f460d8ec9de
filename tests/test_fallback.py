"""The fallback of the environment: asked where the first model fails before its first word, and never after it."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from anyio import fail_after
from pydantic_ai import Agent
from pydantic_ai.models.fallback import FallbackModel
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from pais_sdk import ConfigurationError, Settings, TextDelta, mock_model, serve
from pais_sdk._listen import listening
from pais_sdk.compose import create_runtime
from pais_sdk.models import endpoint_model, resolve_models
from pais_sdk.testing.mock_llm import MockLLM

from .agents import GatedModel
from .http_agents import Served, body, chunks_of, content_of, error_of, lines_of, served, text_of

pytestmark = pytest.mark.anyio

FIRST, SECOND = "http://first.test", "http://second.test"


@asynccontextmanager
async def two_endpoints(first: str = "echo", second: str = "hello") -> AsyncGenerator[tuple[MockLLM, MockLLM, Served]]:
    """Serve an agent whose model is one of a first endpoint's, with a fallback at a second."""
    one, two = MockLLM(), MockLLM()
    async with one.running() as url, two.running() as fallback_url:
        settings = Settings(
            model_api_url=url,
            model_name=first,
            model_api_key="key-of-first",
            fallback_model_name=second,
            fallback_model_api_url=fallback_url,
            fallback_model_api_key="key-of-second",
        )
        async with served(Agent(name="greeter"), settings=settings) as here:
            yield one, two, here


HELLO = "Hello! How can I help you today?"


async def text(here: Served, *, streaming: bool, **fields: Any) -> str:
    if streaming:
        return text_of(await chunks_of(here, body("one two three", **fields)))
    return content_of(await here.ask("one two three", **fields))


@pytest.mark.parametrize("streaming", [False, True], ids=["plain", "stream"])
@pytest.mark.parametrize("status", [0, 400, 401, 403, 404, 413, 422, 429, 500, 503])
async def test_a_model_that_fails_before_its_first_word_is_replaced(status: int, streaming: bool) -> None:
    with fail_after(5):
        async with two_endpoints() as (one, two, here):
            one.fail_next(status, retry_after_s=None if status in (0, 400, 404, 413, 422) else 5)
            assert await text(here, streaming=streaming) == HELLO
            assert await text(here, streaming=streaming) == "one two three"
            assert (one.record.started, two.record.started) == (2, 1)
            keys = [mock.record.requests[-1]["headers"]["authorization"] for mock in (one, two)]
            assert keys == ["Bearer key-of-first", "Bearer key-of-second"]


@pytest.mark.parametrize("effort", ["quick", "determined"])
async def test_each_effort_has_the_fallback_too(effort: str) -> None:
    one, two = MockLLM(), MockLLM()
    with fail_after(5):
        async with one.running() as url, two.running() as fallback_url:
            settings = Settings(
                model_api_url=url,
                model_name="echo",
                effort_quick_model="error-500",
                fallback_model_name="hello",
                fallback_model_api_url=fallback_url,
            )
            async with create_runtime(Agent(), settings=settings) as runtime:
                if effort == "determined":
                    one.fail_next(500)
                assert (await runtime.run("x", effort=effort)).text == HELLO
            assert two.record.requests[0]["body"]["max_tokens"] == {"quick": 2048, "determined": 8192}[effort]


async def test_an_error_event_before_the_first_word_of_a_stream_falls_back() -> None:
    with fail_after(5):
        async with two_endpoints() as (one, _, here):
            one.fail_next(503, after_words=0)
            assert await text(here, streaming=True) == HELLO


@pytest.mark.parametrize("streaming", [False, True], ids=["plain", "stream"])
@pytest.mark.parametrize("answer", ["<html>", '{"choices": []}'])
async def test_an_answer_that_is_none_falls_back(answer: str, streaming: bool) -> None:
    async def chat(request: Request) -> Response:
        return Response(answer, headers={"content-type": "application/json"})

    first, two = Starlette(routes=[Route("/v1/chat/completions", chat, methods=["POST"])]), MockLLM()
    with fail_after(5):
        async with listening(first) as url, two.running() as fallback_url:
            settings = Settings(
                model_api_url=url, model_name="m", fallback_model_name="hello", fallback_model_api_url=fallback_url
            )
            async with served(Agent(), settings=settings) as here:
                assert await text(here, streaming=streaming) == HELLO


@pytest.mark.parametrize("status", [0, 503])
async def test_a_failure_after_the_first_word_is_an_error_and_no_word_comes_twice(status: int) -> None:
    with fail_after(5):
        async with two_endpoints() as (one, two, here):
            one.fail_next(status, after_words=2)
            async with here.http.stream(
                "POST", "/v1/chat/completions", json=body("one two three", stream=True)
            ) as answer:
                lines = [line async for line in lines_of(answer)]
            assert '"upstream_error"' in lines[-1] or '"upstream_error"' in lines[-2]
            said = "".join(lines)
            assert (said.count("one"), said.count(" two"), said.count("three"), said.count("Hello")) == (1, 1, 0, 0)
            assert two.record.started == 0


async def test_where_both_fail_the_first_error_is_told() -> None:
    with fail_after(5):
        async with two_endpoints() as (one, two, here):
            one.fail_next(401)
            two.fail_next(500)
            refused = await here.ask("x")
            assert (refused.status_code, error_of(refused)["code"]) == (502, "upstream_error")
            assert "credentials" in error_of(refused)["message"]
            assert refused.headers["x-should-retry"] == "false"
            one.fail_next(429, retry_after_s=9)
            two.fail_next(500)
            refused = await here.ask("x")
            assert (refused.status_code, refused.headers["retry-after"]) == (429, "9")


async def test_only_the_fallback_is_waited_for() -> None:
    with fail_after(5):
        async with two_endpoints() as (one, two, here):
            one.fail_next(429, retry_after_s=25)
            two.fail_next(429, retry_after_s=0)
            assert content_of(await here.ask("x")) == HELLO
            assert (one.record.started, two.record.started) == (1, 2)


async def test_a_timeout_or_a_cancel_of_the_run_asks_no_fallback() -> None:
    with fail_after(5):
        async with two_endpoints("hang") as (one, two, here):
            async with here.runtime.stream("x", session_id="t", timeout_s=0.3) as run:
                async for _ in run:
                    pass
            assert run.outcome is not None
            assert run.outcome.stop_reason == "timeout"
            async with here.runtime.stream("x", session_id="c") as run:
                await one.record.wait(started=2)
                assert await here.runtime.cancel("c")
                async for _ in run:
                    pass
            assert run.outcome is not None
            assert run.outcome.stop_reason == "cancelled"
            assert two.record.started == 0


async def test_a_fallback_stands_behind_the_agents_own_model_and_a_given_one() -> None:
    mock, own = MockLLM(), MockLLM()
    with fail_after(5):
        async with mock.running() as url, own.running() as own_url:
            settings = Settings(fallback_model_name="hello", fallback_model_api_url=url)
            agent = Agent(endpoint_model(own_url, "error-500"))
            for given in (None, endpoint_model(own_url, "error-404")):
                async with create_runtime(agent, settings=settings, model=given) as runtime:
                    assert (await runtime.run("x")).text == HELLO
            async with create_runtime(agent, settings=settings, model=mock_model(["given"])) as runtime:
                assert (await runtime.run("x")).text == "given"
            async with create_runtime(agent, settings=Settings()) as runtime:
                assert runtime.arguments.models() == [agent.model]


async def test_the_tools_of_an_agent_with_a_fallback_can_be_listed() -> None:
    settings = Settings(model_api_url=FIRST, model_name="m", fallback_model_name="n")
    agent = Agent()

    @agent.tool_plain
    def add(a: int, b: int) -> int:  # pyright: ignore[reportUnusedFunction]
        return a + b

    with fail_after(5):
        async with create_runtime(agent, settings=settings) as runtime:
            assert [tool.name for tool in await runtime.list_tools()] == ["add"]


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"fallback_model_name": "m"}, "FALLBACK_MODEL_NAME is set without an endpoint"),
        ({"fallback_model_api_url": SECOND}, "FALLBACK_MODEL_API_URL is set without FALLBACK_MODEL_NAME"),
        ({"fallback_model_api_key": "k"}, "FALLBACK_MODEL_API_KEY is set without FALLBACK_MODEL_NAME"),
        (
            {"fallback_model_name": "m", "fallback_model_api_key": "k", "model_api_url": FIRST, "model_name": "m"},
            "FALLBACK_MODEL_API_KEY is the key for FALLBACK_MODEL_API_URL",
        ),
        (
            {"fallback_model_name": "m", "fallback_model_api_url": "http://"},
            "FALLBACK_MODEL_API_URL cannot be used: an endpoint's URL must have a host",
        ),
    ],
)
def test_half_a_fallback_stops_the_start(values: Any, text: str) -> None:
    with pytest.raises(ConfigurationError, match=text):
        serve(Agent("test"), settings=Settings(**values))


@pytest.mark.parametrize(("given", "own"), [("no-such:model", None), (None, "no-such:model")])
def test_a_model_by_name_that_is_none_stops_the_start_with_a_fallback(given: str | None, own: str | None) -> None:
    settings = Settings(fallback_model_name="n", fallback_model_api_url=SECOND)
    with pytest.raises(ConfigurationError, match="model 'no-such:model' cannot be used: "):
        serve(Agent(own, defer_model_check=True), settings=settings, model=given)


def test_a_key_is_sent_to_its_own_url_alone() -> None:
    values: Any = {"model_api_url": FIRST, "model_name": "m", "model_api_key": "first", "fallback_model_name": "n"}
    for fallback, keys in (
        ({}, ["first", "first"]),
        ({"fallback_model_api_url": f"{FIRST}/v1/"}, ["first", "first"]),
        ({"fallback_model_api_url": f"{FIRST}/v1/", "fallback_model_api_key": "other"}, ["first", "other"]),
        ({"fallback_model_api_url": SECOND}, ["first", "not-needed"]),
        ({"fallback_model_api_url": SECOND, "fallback_model_api_key": "second"}, ["first", "second"]),
    ):
        model = resolve_models(Settings(**values, **fallback)).model
        assert isinstance(model, FallbackModel)
        clients: list[Any] = [getattr(one.provider, "client", None) for one in model.models]
        assert [client.api_key for client in clients] == keys
        assert (clients[0] is clients[1]) == (keys == ["first", "first"])


async def test_a_gated_first_model_streams_as_it_would_alone() -> None:
    gated = GatedModel()
    settings = Settings(fallback_model_name="n", fallback_model_api_url=SECOND)
    with fail_after(5):
        runtime = create_runtime(Agent(), settings=settings, model=gated.model)
        async with runtime, runtime.stream("x") as run:
            texts: list[str] = []
            async for event in run:
                if isinstance(event, TextDelta):
                    texts.append(event.text)
                    gated.gate.set()
    assert texts == ["one ", "two"]
