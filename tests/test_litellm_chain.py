"""The whole chain: OpenAI client -> our server -> a real LiteLLM proxy -> the mock model endpoint."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import anyio
import httpx
import openai
import pytest
from openai import AsyncOpenAI
from pydantic_ai import Agent

from pais_sdk import Settings, serve

if TYPE_CHECKING:
    from .litellm_proxy import LiteLLMProxy

pytest_plugins = ["tests.litellm_proxy"]
pytestmark = [pytest.mark.anyio, pytest.mark.litellm]


@pytest.fixture
async def upstream(litellm_proxy: LiteLLMProxy) -> AsyncGenerator[httpx.AsyncClient]:
    """The routes of the mock endpoint at the far end; it has forgotten the tests before."""
    async with httpx.AsyncClient(base_url=litellm_proxy.mock_url, timeout=10) as client:
        await client.post("/_reset")
        yield client


@asynccontextmanager
async def served(proxy: LiteLLMProxy, model_name: str) -> AsyncGenerator[AsyncOpenAI]:
    """Serve an agent whose model is one of the proxy's; gives a client of the agent."""
    agent = Agent(name="greeter")

    @agent.tool_plain
    def add(a: int, b: int) -> int:  # pyright: ignore[reportUnusedFunction]
        """Add two numbers."""
        return a + b

    settings = Settings(model_api_url=proxy.url, model_name=model_name, model_api_key="x")
    async with (
        serve(agent, settings=settings).running(port=0) as url,
        AsyncOpenAI(base_url=f"{url}/v1", api_key="x", max_retries=0) as client,
    ):
        yield client


def user(text: str) -> Any:
    return [{"role": "user", "content": text}]


async def test_the_proxy_reaches_the_mock_endpoint(litellm_proxy: LiteLLMProxy, upstream: httpx.AsyncClient) -> None:
    with anyio.fail_after(20):
        async with AsyncOpenAI(base_url=f"{litellm_proxy.url}/v1", api_key="x", max_retries=0) as client:
            mocked = await client.chat.completions.create(model="mock", messages=user("hi"))
            echoed = await client.chat.completions.create(model="up-echo", messages=user("say this"))
        stats = (await upstream.get("/_stats")).json()
    assert mocked.choices[0].message.content == "Hello from LiteLLM."
    assert echoed.choices[0].message.content == "say this"
    assert stats["started"] == 1


@pytest.mark.parametrize(("model", "text"), [("mock", "Hello from LiteLLM."), ("up-echo", "say this")])
async def test_a_plain_run_brings_text_and_usage(
    litellm_proxy: LiteLLMProxy, upstream: httpx.AsyncClient, model: str, text: str
) -> None:
    with anyio.fail_after(20):
        async with served(litellm_proxy, model) as client:
            answer = await client.chat.completions.with_raw_response.create(model="greeter", messages=user("say this"))
    whole = answer.parse()
    assert whole.choices[0].message.content == text
    assert whole.choices[0].finish_reason == "stop"
    assert whole.usage is not None
    assert min(whole.usage.prompt_tokens, whole.usage.completion_tokens) > 0
    assert answer.headers["x-session-id"]


async def test_a_streamed_run_comes_in_pieces_with_usage(
    litellm_proxy: LiteLLMProxy, upstream: httpx.AsyncClient
) -> None:
    with anyio.fail_after(20):
        async with served(litellm_proxy, "up-echo") as client:
            stream = await client.chat.completions.create(
                model="greeter",
                messages=user("every word on its own"),
                stream=True,
                stream_options={"include_usage": True},
            )
            chunks = [chunk async for chunk in stream]
    pieces = [chunk.choices[0].delta.content for chunk in chunks if chunk.choices and chunk.choices[0].delta.content]
    assert len(pieces) > 1
    assert "".join(pieces) == "every word on its own"
    assert chunks[-1].usage is not None
    assert min(chunks[-1].usage.prompt_tokens, chunks[-1].usage.completion_tokens) > 0


async def test_the_first_word_is_here_before_the_upstream_says_the_rest(
    litellm_proxy: LiteLLMProxy, upstream: httpx.AsyncClient
) -> None:
    text = ""
    with anyio.fail_after(20):
        async with served(litellm_proxy, "up-gate") as client:
            stream = await client.chat.completions.create(model="greeter", messages=user("hi"), stream=True)
            async for chunk in stream:
                text += chunk.choices[0].delta.content or ""
                if text == "The":
                    await upstream.post("/_gate/open")
    assert text == "The gate is open."


async def test_an_answer_cut_by_the_upstream_says_length(
    litellm_proxy: LiteLLMProxy, upstream: httpx.AsyncClient
) -> None:
    with anyio.fail_after(20):
        async with served(litellm_proxy, "up-length") as client:
            whole = await client.chat.completions.create(model="greeter", messages=user("too long"))
    assert (whole.choices[0].message.content, whole.choices[0].finish_reason) == ("too", "length")


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("model", ["e429", "up-error-429"])
async def test_a_rate_limit_of_the_upstream_is_ours(
    litellm_proxy: LiteLLMProxy,
    upstream: httpx.AsyncClient,
    model: str,
    stream: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("pais_sdk.models.retry_after.LONGEST_WAIT_S", 6)  # the upstream asks for 7
    with anyio.fail_after(20):
        async with served(litellm_proxy, model) as client:
            with pytest.raises(openai.RateLimitError) as caught:
                await client.chat.completions.create(model="greeter", messages=user("hi"), stream=stream)
    assert caught.value.code == "rate_limit_exceeded"


@pytest.mark.parametrize("stream", [False, True])
async def test_a_rate_limit_that_says_when_to_come_again_is_asked_again_once(
    litellm_proxy: LiteLLMProxy, upstream: httpx.AsyncClient, stream: bool
) -> None:
    with anyio.fail_after(20):
        async with served(litellm_proxy, "up-echo") as client:
            await upstream.post("/_fail", params={"status": 429, "retry_after_s": 0})
            answer: Any = await client.chat.completions.create(model="greeter", messages=user("say"), stream=stream)
            if stream:
                assert "say" in [chunk.choices[0].delta.content async for chunk in answer if chunk.choices]
            else:
                assert answer.choices[0].message.content == "say"
        assert len((await upstream.get("/_requests")).json()) == 2


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("model", ["e500", "ctx", "no-such-model", "up-error-500", "up-error-503", "up-error-401"])
async def test_an_error_of_the_upstream_is_a_502_without_its_text(
    litellm_proxy: LiteLLMProxy, upstream: httpx.AsyncClient, model: str, stream: bool
) -> None:
    with anyio.fail_after(20):
        async with served(litellm_proxy, model) as client:
            with pytest.raises(openai.InternalServerError) as caught:
                await client.chat.completions.create(model="greeter", messages=user("hi"), stream=stream)
    assert (caught.value.status_code, caught.value.code) == (502, "upstream_error")
    assert "litellm" not in caught.value.response.text.lower()


@pytest.mark.parametrize("stream", [False, True])
async def test_a_tool_call_in_pieces_is_run_and_answered(
    litellm_proxy: LiteLLMProxy, upstream: httpx.AsyncClient, stream: bool
) -> None:
    with anyio.fail_after(20):
        async with served(litellm_proxy, "up-tool") as client:
            if stream:
                chunks = await client.chat.completions.create(
                    model="greeter", messages=user('{"a": 1, "b": 2}'), stream=True
                )
                text = "".join([chunk.choices[0].delta.content or "" async for chunk in chunks if chunk.choices])
            else:
                whole = await client.chat.completions.create(model="greeter", messages=user('{"a": 1, "b": 2}'))
                text = whole.choices[0].message.content
        requests = (await upstream.get("/_requests")).json()
    assert text == "The tool said: 3"
    assert [request["body"]["messages"][-1]["role"] for request in requests] == ["user", "tool"]


@pytest.mark.parametrize("stream", [False, True])
async def test_a_model_without_tools_behind_the_proxy_is_used_in_string_mode(
    litellm_proxy: LiteLLMProxy, upstream: httpx.AsyncClient, stream: bool
) -> None:
    with anyio.fail_after(20):
        async with served(litellm_proxy, "up-tool+no-tools") as client:
            for _ in range(2):
                answer: Any = await client.chat.completions.create(model="greeter", messages=user("hi"), stream=stream)
                if stream:
                    text = "".join([chunk.choices[0].delta.content or "" async for chunk in answer if chunk.choices])
                else:
                    text = answer.choices[0].message.content
                assert text == "hi"
        bodies = [request["body"] for request in (await upstream.get("/_requests")).json()]
    assert ["tools" in body for body in bodies] == [True, False, False]
    assert "Add two numbers." in str(bodies[1]["messages"])


async def test_a_client_that_leaves_a_stream_ends_the_request_upstream(
    litellm_proxy: LiteLLMProxy, upstream: httpx.AsyncClient
) -> None:
    with anyio.fail_after(20):
        async with served(litellm_proxy, "up-hang") as client:
            stream = await client.chat.completions.create(model="greeter", messages=user("hi"), stream=True)
            async for chunk in stream:
                if chunk.choices[0].delta.content:
                    break
            await stream.close()
            stats = await upstream.get("/_wait?disconnected=1")
    assert stats.json() == {"active": 0, "started": 1, "finished": 0, "disconnected": 1}


async def test_a_session_reaches_the_upstream_as_history(
    litellm_proxy: LiteLLMProxy, upstream: httpx.AsyncClient
) -> None:
    with anyio.fail_after(20):
        async with served(litellm_proxy, "up-hello") as client:
            for text in ("first", "second"):
                await client.chat.completions.create(
                    model="greeter", messages=user(text), extra_headers={"X-Session-ID": "s1"}
                )
        last = (await upstream.get("/_requests")).json()[-1]["body"]["messages"]
    assert [message["content"] for message in last] == ["first", "Hello! How can I help you today?", "second"]
