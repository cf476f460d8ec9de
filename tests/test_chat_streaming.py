"""Streams of chat completions: every token when it is said, progress, keepalives, and errors as errors."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import openai
import pytest
from anyio import Event, fail_after
from pydantic import BaseModel
from pydantic_ai import Agent
from pydantic_ai.exceptions import ModelAPIError, ModelHTTPError
from pydantic_ai.messages import ModelMessage
from pydantic_ai.models.function import AgentInfo, DeltaToolCall

from pais_sdk import Settings, mock_model

from .agents import GatedModel, Pieces, calls_then, model_of
from .http_agents import (
    CHAT,
    SECRET,
    SUM,
    FailingModel,
    adding_agent,
    body,
    chunks_of,
    content_of,
    error_of,
    lines_of,
    looping_agent,
    served,
    text_of,
    user,
)

pytestmark = pytest.mark.anyio

plain_and_streamed = pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])


async def test_the_first_word_is_at_the_client_before_the_model_says_the_second() -> None:
    gated, text = GatedModel(), ""
    with fail_after(5):
        async with served(Agent(gated.model)) as here:
            stream = await here.openai.chat.completions.create(model="m", messages=user("hi"), stream=True)
            async for chunk in stream:
                text += chunk.choices[0].delta.content or ""
                if text == "one ":
                    gated.gate.set()  # until now the model waits
    assert text == "one two"


async def test_streamed_and_plain_text_are_the_same_over_several_steps() -> None:
    with fail_after(5):
        async with served(adding_agent()) as here:
            plain = content_of(await here.ask("add"))
            streamed = text_of(await chunks_of(here, body("add")))
    assert plain == streamed == SUM


@plain_and_streamed
async def test_a_character_that_the_model_says_in_two_halves_does_not_lose_the_answer(stream: bool) -> None:
    async def halves(messages: list[ModelMessage], info: AgentInfo) -> Pieces:
        for piece in ("smile \ud83d", "\ude00."):
            yield piece

    with fail_after(5):
        async with served(Agent(model_of(halves))) as here:
            answer = await here.ask("smile", stream=stream)
    assert answer.status_code == 200
    assert '"error"' not in answer.text
    assert "smile" in answer.text


PROGRESS = {"type": "progress", "step": 1, "max_steps": 7, "action": "tool_call", "target": "add"}


@pytest.mark.parametrize(
    ("mode", "chunks_with_it", "lines_with_it", "text"),
    [
        (None, [PROGRESS], [], SUM),
        ("chunk", [PROGRESS], [], SUM),
        ("kaos-ui", [PROGRESS], [PROGRESS], SUM),
        ("kaos-cli", [], [], SUM.replace("\n\n", json.dumps(PROGRESS) + "\n\n")),
        ("off", [], [], SUM),
    ],
)
async def test_a_tool_call_shows_as_progress_and_not_as_text(
    mode: Any, chunks_with_it: list[Any], lines_with_it: list[Any], text: str
) -> None:
    settings = Settings(max_steps=7) if mode is None else Settings(max_steps=7, agent_progress=mode)
    with fail_after(5):
        async with served(adding_agent(), settings=settings) as here:
            lines = (await here.ask("add", stream=True)).text.splitlines()
            create = here.openai.chat.completions.create
            stream = await create(model="m", messages=user("add"), stream=True)
            seen = [chunk async for chunk in stream]
    assert "".join(chunk.choices[0].delta.content or "" for chunk in seen) == text
    extras = [extra["progress"] for chunk in seen if (extra := chunk.model_extra)]
    assert extras == chunks_with_it
    for_kaos = [json.loads(line[7:]) for line in lines if line.startswith(" data: ")]
    assert [json.loads(data["choices"][0]["delta"]["content"]) for data in for_kaos] == lines_with_it


async def test_progress_is_told_before_the_tool_runs() -> None:
    agent, told = Agent(calls_then("done", ("wait", "{}"))), Event()

    @agent.tool_plain
    async def wait() -> str:  # pyright: ignore[reportUnusedFunction]
        await told.wait()
        return "waited"

    with fail_after(5):
        async with (
            served(agent) as here,
            here.http.stream("POST", CHAT, json=body("go", stream=True)) as answer,
        ):
            lines: list[str] = []
            async for line in lines_of(answer):
                lines.append(line)
                if '"progress"' in line:
                    told.set()
    assert lines[-1] == "data: [DONE]"


class City(BaseModel):
    name: str
    people: int


@plain_and_streamed
async def test_structured_output_is_one_piece_of_valid_json(stream: bool) -> None:
    agent = Agent(mock_model(['{"name": "Ulm", "people": 126000}']), output_type=City)
    with fail_after(5):
        async with served(agent) as here:
            if stream:
                chunks = await chunks_of(here, body("a city"))
                pieces = [delta["content"] for c in chunks if (delta := c["choices"][0]["delta"]).get("content")]
            else:
                pieces = [content_of(await here.ask("a city"))]
    assert [City.model_validate_json(piece) for piece in pieces] == [City(name="Ulm", people=126000)]


@pytest.mark.parametrize("words", [("one ", "two"), ("", "one two")], ids=["after a word", "before any word"])
async def test_a_silent_model_does_not_make_a_silent_stream(words: tuple[str, str]) -> None:
    gated = GatedModel(words)
    with fail_after(5):
        async with (
            served(Agent(gated.model), settings=Settings(agent_keepalive_s=0.02)) as here,
            here.http.stream("POST", CHAT, json=body("hi", stream=True)) as answer,
        ):
            lines: list[str] = []
            async for line in lines_of(answer):
                lines.append(line)
                if gated.said_first.is_set() and lines.count(": keepalive") >= 3:
                    gated.gate.set()
    assert text_of([json.loads(line[6:]) for line in lines if line.startswith("data: {")]) == "one two"


async def test_after_a_keepalive_even_the_first_error_is_an_event() -> None:
    gate = Event()

    async def stream(messages: list[ModelMessage], info: AgentInfo) -> Pieces:
        await gate.wait()
        raise RuntimeError(SECRET)
        yield ""

    with fail_after(5):
        async with (
            served(Agent(model_of(stream)), settings=Settings(agent_keepalive_s=0.02)) as here,
            here.http.stream("POST", CHAT, json=body("hi", stream=True)) as answer,
        ):
            lines: list[str] = []
            async for line in lines_of(answer):
                lines.append(line)
                gate.set()
    assert answer.status_code == 200
    assert json.loads(lines[-1][6:])["error"]["code"] == "server_error"


@dataclass(frozen=True, kw_only=True)
class Case:
    """What goes wrong in a model, and what a client is told of it."""

    name: str
    error: Callable[[], Exception]
    status: int
    code: str
    retry_after: str | None = None
    may_retry: bool = False


def upstream(status: int, **options: Any) -> Callable[[], Exception]:
    return lambda: ModelHTTPError(status, SECRET, {"message": SECRET}, **options)


CASES = [
    Case(name="bug", error=lambda: RuntimeError(SECRET), status=500, code="server_error"),
    Case(name="group", error=lambda: ExceptionGroup(SECRET, [KeyError(SECRET)]), status=500, code="server_error"),
    Case(name="unreachable", error=lambda: ModelAPIError(SECRET, SECRET), status=502, code="upstream_error"),
    *(
        Case(name=f"upstream {status}", error=upstream(status), status=502, code="upstream_error")
        for status in (400, 401, 403, 404, 500, 503)
    ),
    Case(name="limited", error=upstream(429), status=429, code="rate_limit_exceeded", may_retry=True),
    Case(
        name="limited for a while",
        error=upstream(429, headers={"retry-after": "6"}, retry_after=6),
        status=429,
        code="rate_limit_exceeded",
        retry_after="6",
        may_retry=True,
    ),
]
every_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


@plain_and_streamed
@every_case
async def test_what_fails_before_the_first_word_has_a_status_of_its_own(case: Case, stream: bool) -> None:
    model = FailingModel(case.error, "")
    with fail_after(5):
        async with served(Agent(model.model)) as here:
            answer = await here.ask("hi", stream=stream, session_id="s")
            events = await here.events("s")
    error = error_of(answer)
    assert (answer.status_code, error["code"], error["type"]) == (case.status, case.code, case.code)
    assert answer.headers.get("retry-after") == case.retry_after
    assert answer.headers.get("x-should-retry", "true") == str(case.may_retry).lower()
    assert answer.headers["x-session-id"] == "s"
    assert SECRET not in answer.text
    assert [kind for kind, _ in events] == ["user_message", "error"]


@every_case
async def test_what_fails_after_the_first_word_is_an_error_event_that_clients_raise(case: Case) -> None:
    with fail_after(5):
        async with served(Agent(FailingModel(case.error, "one ").model)) as here:
            raw, text = await here.ask("hi", stream=True), ""
            stream = await here.openai.chat.completions.create(model="m", messages=user("hi"), stream=True)
            with pytest.raises(openai.APIError) as raised:
                async for chunk in stream:
                    text += chunk.choices[0].delta.content or ""
            assert text == "one "
    assert raw.status_code == 200
    *_, last = (json.loads(line[6:]) for line in raw.text.splitlines() if line.startswith("data: {"))
    assert list(last) == ["error"]
    assert last["error"] == {**last["error"], "type": case.code, "code": case.code, "param": None}
    assert raised.value.code == case.code
    assert raised.value.message == last["error"]["message"]
    assert '"finish_reason": "stop"' not in raw.text
    assert SECRET not in raw.text


@pytest.mark.parametrize("streamed", [False, True])
async def test_what_a_tool_raises_reaches_neither_the_client_nor_the_model(streamed: bool) -> None:
    seen: list[ModelMessage] = []

    async def stream(messages: list[ModelMessage], info: AgentInfo) -> Pieces:
        seen[:] = messages
        if len(messages) > 1:
            yield "I could not."
        else:
            yield {0: DeltaToolCall("break_it", "{}", tool_call_id="call")}

    agent = Agent(model_of(stream))

    @agent.tool_plain
    def break_it() -> str:  # pyright: ignore[reportUnusedFunction]
        raise RuntimeError(SECRET)

    with fail_after(5):
        async with served(agent) as here:
            answer = (await here.ask("go", stream=streamed, session_id="s")).text
            events = await here.http.get("/memory/events")
    assert "I could not." in answer
    assert len(seen) == 3
    assert SECRET not in answer + events.text + repr(seen)


async def test_the_step_limit_is_a_422_and_not_an_answer() -> None:
    with fail_after(5):
        async with served(looping_agent(), settings=Settings(max_steps=3)) as here:
            plain = await here.ask("go")
            streamed = await chunks_of(here, body("go"))
    assert (plain.status_code, error_of(plain)["code"]) == (422, "max_steps")
    assert plain.headers["x-should-retry"] == "false"
    assert [chunk["progress"]["step"] for chunk in streamed if "progress" in chunk] == [1, 2, 3]
    assert streamed[-1]["error"] == error_of(plain)


@plain_and_streamed
async def test_a_run_that_takes_too_long_is_a_504_and_its_model_is_stopped(stream: bool) -> None:
    gated = GatedModel(("", "late"))
    with fail_after(5):
        async with served(Agent(gated.model), settings=Settings(run_timeout_s=0.1)) as here:
            answer = await here.ask("hi", stream=stream)
            if gated.requests:  # a very slow machine may not have come so far
                await gated.cancelled.wait()
    assert (answer.status_code, error_of(answer)["code"]) == (504, "timeout")
    assert answer.headers["x-should-retry"] == "false"


@plain_and_streamed
@pytest.mark.parametrize("error", [upstream(500), upstream(401), lambda: RuntimeError(SECRET)])
async def test_a_client_that_retries_by_itself_pays_once(error: Callable[[], Exception], stream: bool) -> None:
    model = FailingModel(error, "")
    with fail_after(5):
        async with served(Agent(model.model)) as here:
            retrying = here.openai.with_options(max_retries=2)
            with pytest.raises(openai.InternalServerError):
                await retrying.chat.completions.create(model="m", messages=user("hi"), stream=stream)
    assert model.requests == 1
