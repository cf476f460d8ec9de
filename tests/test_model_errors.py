"""What a client hears when the model's endpoint fails, over real sockets: one row of the table of errors each."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncGenerator
from contextlib import ExitStack, asynccontextmanager

import pytest
from anyio import fail_after
from pydantic_ai import Agent
from pydantic_ai.settings import ModelSettings
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from pais_sdk import Settings
from pais_sdk._listen import listening
from pais_sdk.testing.mock_llm import MockLLM

from .http_agents import CHAT, SECRET, Served, body, error_of, lines_of, served

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def asking(url: str, model_name: str = "m", timeout_s: float = 3) -> AsyncGenerator[Served]:
    """Serve an agent with a model of an endpoint, whose requests have a timeout."""
    agent = Agent(model_settings=ModelSettings(timeout=timeout_s))
    async with served(agent, settings=Settings(model_api_url=url, model_name=model_name)) as here:
        yield here


class Endpoint:
    """An endpoint that has one answer for all, until it is given another."""

    def __init__(self) -> None:
        self.answer = Response()

    def says(self, status: int, kind: str, text: str) -> None:
        self.answer = Response(text, status, headers={"content-type": kind})

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[str]:
        """Listen while the block runs; gives the URL."""

        async def chat(request: Request) -> Response:
            return self.answer

        async with listening(Starlette(routes=[Route("/v1/chat/completions", chat, methods=["POST"])])) as url:
            yield url


async def refused(here: Served, *, stream: bool, case: object = None) -> str:
    """Return what is told of a run that fails before it says anything, which is a 502 that nobody sends again."""
    answer = await here.ask("x", stream=stream)
    assert answer.status_code == 502, (case, answer.text)
    assert answer.headers["x-should-retry"] == "false", case
    assert answer.headers["x-session-id"], case
    assert SECRET not in answer.text, case
    error = error_of(answer)
    assert (error["type"], error["code"]) == ("upstream_error", "upstream_error"), case
    return error["message"]


both = pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])


REFUSALS = {
    400: "refused the request",
    401: "refused this server's credentials",
    403: "refused this server's credentials",
    404: "does not know the model",
    408: "refused the request",
    413: "refused the request",
    422: "refused the request",
    500: "provider failed",
    502: "provider failed",
    503: "provider failed",
    529: "provider failed",
}


@both
async def test_what_the_provider_refuses_is_a_bad_gateway(stream: bool) -> None:
    endpoint = Endpoint()
    message = f'{{"error": {{"message": "{SECRET}", "type": "x", "param": null, "code": null}}}}'
    with fail_after(5):
        async with endpoint.running() as url, asking(url) as here:
            for status, text in REFUSALS.items():
                endpoint.says(status, "application/json", message)
                here.runtime.model_status = "unknown"
                assert text in await refused(here, stream=stream, case=status), status
                assert here.runtime.model_status == "degraded", status


TOO_LONG = [
    (400, '{"message": "Too long.", "code": "context_length_exceeded"}'),
    (400, '{"message": "This model\'s maximum context length is 8 tokens.", "code": 400}'),
    (413, '{"message": "Please reduce the length of the messages.", "code": null}'),
]


@both
async def test_a_conversation_that_is_too_long_is_told_as_that(stream: bool) -> None:
    endpoint = Endpoint()
    with fail_after(5):
        async with endpoint.running() as url, asking(url) as here:
            for status, error in TOO_LONG:
                endpoint.says(status, "application/json", f'{{"error": {error}}}')
                assert "too long for the model" in await refused(here, stream=stream, case=error), error


NO_ANSWERS = [
    ("text/html", f"<html>{SECRET}</html>"),
    ("application/json", f"{{ {SECRET}"),
    ("application/json", ""),
    ("application/json", '{"choices": []}'),
    ("application/json", '{"choices": [{"message": {"content": "", "tool_calls": [5]}}]}'),
    ("application/json", f'["{SECRET}"]'),
    ("text/event-stream", f"data: {{ {SECRET}\n\n"),
    ("text/event-stream", "data: [DONE]\n\n"),
]


@both
async def test_an_answer_that_is_none_is_an_error_without_its_text(stream: bool) -> None:
    endpoint = Endpoint()
    with fail_after(5):
        async with endpoint.running() as url, asking(url) as here:
            for kind, text in NO_ANSWERS:
                endpoint.says(200, kind, text)
                assert "could not be read" in await refused(here, stream=stream, case=(kind, text)), (kind, text)


@both
async def test_a_model_that_takes_too_long_is_a_bad_gateway(stream: bool) -> None:
    mock = MockLLM()
    with fail_after(5):
        async with mock.running() as url, asking(url, "hang", timeout_s=0.3) as here:
            if not stream:
                assert "did not answer in time" in await refused(here, stream=False)
            else:
                async with here.http.stream("POST", CHAT, json=body("x", stream=True)) as answer:
                    lines = [line async for line in lines_of(answer)]
                assert '"Wait"' in "".join(lines)
                assert "did not answer in time" in lines[-1]
            await mock.record.wait(disconnected=1)


@both
async def test_an_answer_that_goes_on_for_too_long_is_over_its_request_timeout(stream: bool) -> None:
    async def drip() -> AsyncGenerator[str]:
        while True:
            await asyncio.sleep(0.05)
            yield chunk if stream else " "

    async def chat(request: Request) -> Response:
        return StreamingResponse(drip(), media_type="text/event-stream" if stream else "application/json")

    choice = {"index": 0, "delta": {"role": "assistant", "content": "on "}, "finish_reason": None}
    data = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}
    chunk = f"data: {json.dumps(data)}\n\n"
    agent = Agent(model_settings=ModelSettings(timeout=5, request_timeout=0.4))
    app = Starlette(routes=[Route("/v1/chat/completions", chat, methods=["POST"])])
    with fail_after(5):
        async with (
            listening(app) as url,
            served(agent, settings=Settings(model_api_url=url, model_name="m")) as here,
        ):
            answer = await here.ask("x", stream=stream)
            assert "did not answer in time" in answer.text
            assert ("on " in answer.text, answer.status_code) == ((True, 200) if stream else (False, 502))


@both
async def test_a_model_that_nobody_can_connect_to_in_time_is_a_bad_gateway(stream: bool) -> None:
    with fail_after(5), ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)  # and nobody accepts
        for _ in range(2):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listener.getsockname())
        async with asking(f"http://127.0.0.1:{listener.getsockname()[1]}", timeout_s=0.3) as here:
            assert "did not answer in time" in await refused(here, stream=stream)


@both
async def test_a_model_that_hangs_up_is_a_bad_gateway(stream: bool) -> None:
    mock = MockLLM()
    with fail_after(5):
        async with mock.running() as url, asking(url, "echo") as here:
            mock.fail_next(0)
            assert "could not be reached" in await refused(here, stream=stream)


async def test_a_plain_answer_that_breaks_off_is_a_bad_gateway() -> None:
    mock = MockLLM()
    with fail_after(5):
        async with mock.running() as url, asking(url, "midstream-error") as here:
            assert "broke off" in await refused(here, stream=False)
