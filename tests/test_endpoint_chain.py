"""The everyday chain over real sockets: OpenAI client -> our server -> an OpenAI-compatible model endpoint."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import openai
import pytest
from anyio import fail_after
from openai import AsyncOpenAI
from pydantic_ai import Agent

from pais_sdk import AgentServer, Settings, serve
from pais_sdk.testing.mock_llm import MockLLM

pytestmark = pytest.mark.anyio


def user(text: str) -> Any:
    return [{"role": "user", "content": text}]


@asynccontextmanager
async def chain(model_name: str) -> AsyncGenerator[tuple[MockLLM, AgentServer, AsyncOpenAI]]:
    """Serve an agent whose model is one of the mock endpoint's; gives the endpoint, the server and a client."""
    mock, agent = MockLLM(), Agent(name="greeter")

    @agent.tool_plain
    def add(a: int, b: int) -> int:  # pyright: ignore[reportUnusedFunction]
        """Add two numbers."""
        return a + b

    async with mock.running() as upstream:
        server = serve(agent, settings=Settings(model_api_url=upstream, model_name=model_name, model_api_key="key"))
        async with (
            server.running(port=0) as url,
            AsyncOpenAI(base_url=f"{url}/v1", api_key="x", max_retries=0) as client,
        ):
            yield mock, server, client


async def test_a_plain_and_a_streamed_run_say_the_same_and_count_the_same() -> None:
    with fail_after(5):
        async with chain("tool") as (mock, _, client):
            plain = await client.chat.completions.create(model="m", messages=user('{"a": 1, "b": 2}'))
            pieces: list[str] = []
            usage: Any = None
            stream = await client.chat.completions.create(
                model="m", messages=user('{"a": 1, "b": 2}'), stream=True, stream_options={"include_usage": True}
            )
            async for chunk in stream:
                pieces.extend(choice.delta.content or "" for choice in chunk.choices)
                usage = chunk.usage or usage
            requests = list(mock.record.requests)
    assert plain.choices[0].message.content == "".join(pieces)
    assert "3" in "".join(pieces)
    assert usage == plain.usage
    assert usage.completion_tokens > 0
    assert len(requests) == 4  # two runs of two model requests
    assert {request["headers"]["authorization"] for request in requests} == {"Bearer key"}


async def test_the_models_first_word_is_at_the_client_before_its_second_is_said() -> None:
    with fail_after(5):
        async with chain("gate") as (mock, _, client):
            stream = await client.chat.completions.create(model="m", messages=user("go"), stream=True)
            texts = [chunk.choices[0].delta.content async for chunk in _until_text(stream)]
            assert texts[-1] == "The"
            mock.record.gate.set()
            rest = [chunk.choices[0].delta.content or "" async for chunk in stream]
    assert "".join(rest) == " gate is open."


async def _until_text(stream: Any) -> AsyncGenerator[Any]:
    while True:
        chunk = await anext(stream)
        yield chunk
        if chunk.choices[0].delta.content:
            return


@pytest.mark.parametrize(
    ("model_name", "error", "status", "code", "retry_after"),
    [
        ("error-429", openai.RateLimitError, 429, "rate_limit_exceeded", "7"),
        ("error-500", openai.InternalServerError, 502, "upstream_error", None),
        ("error-503", openai.InternalServerError, 502, "upstream_error", None),
        ("error-401", openai.InternalServerError, 502, "upstream_error", None),
        ("error-404", openai.InternalServerError, 502, "upstream_error", None),
    ],
)
@pytest.mark.parametrize("streaming", [False, True], ids=["plain", "stream"])
async def test_errors_of_the_model_have_a_status_of_their_own(
    model_name: str,
    error: type[openai.APIStatusError],
    status: int,
    code: str,
    retry_after: str | None,
    streaming: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("pais_sdk.models.retry_after.LONGEST_WAIT_S", 6)  # the model asks for 7
    with fail_after(5):
        async with chain(model_name) as (mock, _, client):
            with pytest.raises(error) as raised:
                await client.chat.completions.create(model="m", messages=user("go"), stream=streaming)
            assert mock.record.started == 1
    assert (raised.value.status_code, raised.value.code) == (status, code)
    assert raised.value.response.headers.get("retry-after") == retry_after
    assert raised.value.response.headers.get("x-session-id")


async def test_a_model_that_breaks_off_is_an_error_after_what_it_said() -> None:
    with fail_after(5):
        async with chain("midstream-error") as (_, _, client):
            stream = await client.chat.completions.create(model="m", messages=user("one two three"), stream=True)
            said: list[str] = []
            with pytest.raises(openai.APIError) as raised:
                async for chunk in stream:
                    said.append(chunk.choices[0].delta.content or "")
    assert "".join(said) == "This answer"
    assert raised.value.code == "upstream_error"


async def test_a_model_that_is_not_there_is_a_bad_gateway() -> None:
    settings = Settings(model_api_url="http://127.0.0.1:1", model_name="m")
    with fail_after(5):
        async with serve(Agent(), settings=settings).running(port=0) as url, httpx.AsyncClient() as client:
            answer = await client.post(f"{url}/v1/chat/completions", json={"messages": user("go")})
    assert (answer.status_code, answer.json()["error"]["code"]) == (502, "upstream_error")
    assert answer.headers["x-should-retry"] == "false"


async def _hang_up(client: httpx.AsyncClient, mock: MockLLM, number: int, *, streaming: bool) -> None:
    """Send a request whose model hangs, and leave when the model has it."""
    body = {"messages": user("go"), "stream": streaming, "session_id": f"s{number}"}
    if streaming:
        async with client.stream("POST", "/v1/chat/completions", json=body) as answer:
            async for line in answer.aiter_lines():
                if '"content": "' in line and '"content": ""' not in line:
                    return
    else:
        request = asyncio.create_task(client.post("/v1/chat/completions", json=body))
        await mock.record.wait(started=number + 1)
        request.cancel()
        await asyncio.gather(request, return_exceptions=True)


@pytest.mark.parametrize("streaming", [True, False], ids=["stream", "plain"])
async def test_twenty_clients_that_hang_up_leave_nothing_behind(streaming: bool) -> None:
    with fail_after(15):
        async with chain("hang") as (mock, server, openai_client):
            runtime, url = server.runtime, str(openai_client.base_url).removesuffix("/v1/")
            before = await _left(client=openai_client)
            for number in range(20):
                async with httpx.AsyncClient(base_url=url, timeout=10) as client:
                    await _hang_up(client, mock, number, streaming=streaming)
                await mock.record.wait(disconnected=number + 1)
            while runtime.admission.active or _more(await _left(), before):
                await asyncio.sleep(0.01)
            assert mock.record.stats["active"] == 0
            for number in range(20):
                async with runtime.memory.open_session(f"s{number}", on_busy="reject") as session:
                    assert session.exists


async def _left(client: AsyncOpenAI | None = None) -> tuple[int, int]:
    """Return how many tasks and open files there are; with a client, after it has asked once."""
    if client is not None:
        await client.models.list()
    return len(asyncio.all_tasks()), len(os.listdir("/proc/self/fd"))  # noqa: PTH208


def _more(now: tuple[int, int], before: tuple[int, int]) -> bool:
    return now[0] > before[0] or now[1] > before[1]
