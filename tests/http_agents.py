"""Agents behind real sockets, for the tests of the HTTP surface: `async with served(agent) as here`."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx
from openai import AsyncOpenAI, DefaultAsyncHttpxClient
from pydantic_ai import Agent, RunContext
from pydantic_ai.messages import ModelMessage, ModelResponse
from pydantic_ai.models import ModelRequestParameters, StreamedResponse
from pydantic_ai.models.function import AgentInfo, DeltaToolCall
from pydantic_ai.models.wrapper import WrapperModel
from pydantic_ai.settings import ModelSettings

from pais_sdk import AgentRuntime, AgentServer, serve

from .agents import Pieces, calls_then, model_of

SECRET = "the-secret-of-the-house"  # what no client may ever read
CHAT = "/v1/chat/completions"
PLAIN_HTTP = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""For clients that need no certificates, which take longer to load than most tests."""


@dataclass(frozen=True)
class Served:
    """A server in this event loop, and clients for it that are closed with it."""

    server: AgentServer
    url: str
    http: httpx.AsyncClient
    openai: AsyncOpenAI

    @property
    def runtime(self) -> AgentRuntime[Any]:
        return self.server.runtime

    async def ask(self, text: str, *, session_id: str | None = None, **fields: Any) -> httpx.Response:
        """Send one user message; `fields` go into the body."""
        headers = {} if session_id is None else {"X-Session-ID": session_id}
        return await self.http.post(CHAT, json=body(text, **fields), headers=headers)

    async def events(self, session_id: str) -> list[tuple[str, Any]]:
        """Return what the memory says happened in a session, as types and contents."""
        return [(event.event_type, event.content) for event in await self.runtime.memory.get_events(session_id)]


@asynccontextmanager
async def served(agent: Agent[Any, Any] | AgentRuntime[Any], **options: Any) -> AsyncGenerator[Served]:
    """Serve an agent while the block runs; `options` are those of `serve`."""
    server = serve(agent, **options)
    async with (
        server.running(port=0) as url,
        httpx.AsyncClient(base_url=url, timeout=5, verify=PLAIN_HTTP) as http,
        DefaultAsyncHttpxClient(verify=PLAIN_HTTP) as of_openai,
        AsyncOpenAI(base_url=f"{url}/v1", api_key="x", max_retries=0, timeout=5, http_client=of_openai) as openai,
    ):
        yield Served(server, url, http, openai)


def user(text: Any) -> Any:
    return [{"role": "user", "content": text}]


def body(text: Any, **fields: Any) -> dict[str, Any]:
    """Return a chat request of one user message."""
    return {"model": "any-name", "messages": user(text), **fields}


def content_of(answer: httpx.Response) -> str:
    assert answer.status_code == 200, answer.text
    return answer.json()["choices"][0]["message"]["content"]


def error_of(answer: httpx.Response) -> dict[str, Any]:
    """Return the error of an answer, which must be OpenAI's object with all four keys."""
    assert answer.headers["content-type"] == "application/json"
    told = answer.json()
    assert list(told) == ["error"]
    assert sorted(told["error"]) == ["code", "message", "param", "type"]
    assert told["error"]["message"]
    return told["error"]


async def lines_of(answer: httpx.Response) -> AsyncIterator[str]:
    async for line in answer.aiter_lines():
        if line:
            yield line


async def chunks_of(here: Served, request: dict[str, Any]) -> list[dict[str, Any]]:
    """Send a request with `stream` and return the data of its events, `[DONE]` left out."""
    async with here.http.stream("POST", CHAT, json={**request, "stream": True}) as answer:
        assert answer.status_code == 200, await answer.aread()
        lines = [line async for line in lines_of(answer)]
    return [json.loads(line[6:]) for line in lines if line.startswith("data: {")]


def text_of(chunks: Sequence[dict[str, Any]]) -> str:
    deltas = (chunk["choices"][0]["delta"] for chunk in chunks if chunk.get("choices"))
    return "".join(delta.get("content") or "" for delta in deltas)


def adding_agent() -> Agent[Any, str]:
    """Return an agent that says something, uses a tool, and answers: two model requests, one run."""
    agent = Agent(calls_then("The sum is 3.", ("add", '{"a": 1, "b": 2}'), preamble="Let me add."), name="adder")

    @agent.tool_plain
    def add(a: int, b: int) -> int:  # pyright: ignore[reportUnusedFunction]
        """Add two numbers."""
        return a + b

    return agent


SUM = "Let me add.\n\nThe sum is 3."


def looping_agent() -> Agent[Any, str]:
    """Return an agent that calls a tool for ever."""

    async def stream(messages: list[ModelMessage], info: AgentInfo) -> Pieces:
        yield {0: DeltaToolCall("again", "{}", tool_call_id=f"call_{len(messages)}")}

    agent = Agent(model_of(stream), name="looper")

    @agent.tool_plain
    def again() -> str:  # pyright: ignore[reportUnusedFunction]
        """Do it again."""
        return "again"

    return agent


class RecordingModel:
    """Answers `ok`, and keeps what each request brought."""

    def __init__(self) -> None:
        self.requests: list[tuple[list[ModelMessage], AgentInfo]] = []
        self.model = model_of(self._stream)

    async def _stream(self, messages: list[ModelMessage], info: AgentInfo) -> Pieces:
        self.requests.append((list(messages), info))
        yield "ok"

    @property
    def messages(self) -> list[ModelMessage]:
        """The messages of the newest request."""
        return self.requests[-1][0]

    @property
    def info(self) -> AgentInfo:
        """What else the newest request brought."""
        return self.requests[-1][1]


class FailingModel:
    """Raises in every request, after what it is to say first; counts its requests."""

    def __init__(self, error: Callable[[], Exception], *words: str) -> None:
        self.requests = 0
        self._error = error
        self._words = words
        self.model = model_of(self._stream)

    async def _stream(self, messages: list[ModelMessage], info: AgentInfo) -> Pieces:
        self.requests += 1
        for word in self._words:
            yield word
        raise self._error()


class CutOffModel(WrapperModel):
    """Says that its answer was cut off by the limit of tokens."""

    async def request(
        self,
        messages: list[ModelMessage],
        model_settings: ModelSettings | None,
        model_request_parameters: ModelRequestParameters,
    ) -> ModelResponse:
        response = await super().request(messages, model_settings, model_request_parameters)
        response.finish_reason = "length"
        return response

    @asynccontextmanager
    async def request_stream(
        self,
        messages: list[ModelMessage],
        model_settings: ModelSettings | None,
        model_request_parameters: ModelRequestParameters,
        run_context: RunContext[Any] | None = None,
    ) -> AsyncGenerator[StreamedResponse]:
        async with super().request_stream(messages, model_settings, model_request_parameters, run_context) as stream:
            stream.finish_reason = "length"
            yield stream


def cut_off_agent() -> Agent[Any, str]:
    async def stream(messages: list[ModelMessage], info: AgentInfo) -> Pieces:
        yield "So far "
        yield "and no"

    return Agent(CutOffModel(model_of(stream)), name="cut")


async def until(condition: Callable[[], bool]) -> None:
    """Let the event loop go on until something is so; belongs into a `fail_after`."""
    while not condition():
        await asyncio.sleep(0)
