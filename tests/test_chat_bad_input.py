"""Whatever is sent: the answer is an error object that says what is wrong, no model is asked, the server goes on."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from anyio import fail_after
from pydantic_ai import Agent

from pais_sdk import Settings

from .http_agents import CHAT, RecordingModel, Served, body, content_of, error_of, served, user

pytestmark = pytest.mark.anyio

INNER = ("Traceback", "pydantic", "pais_sdk", ".py", "/work", "instance of", "ChatMessage", "Error(")


@asynccontextmanager
async def unharmed(**options: Any) -> AsyncGenerator[Served]:
    """Serve an agent that must be asked nothing in the block, and must still answer after it."""
    model = RecordingModel()
    with fail_after(5):
        async with served(Agent(model.model, name="solid"), **options) as here:
            yield here
            assert model.requests == []
            assert content_of(await here.ask("are you well?")) == "ok"
            assert here.runtime.admission.active == 0


def refused(answer: httpx.Response, status: int = 400, param: str | None = None, code: str | None = None) -> str:
    """Check an answer and return its message."""
    error = error_of(answer)
    assert (answer.status_code, error["param"], error["code"]) == (status, param, code), error
    assert error["type"] == "invalid_request_error"
    assert [word for word in INNER if word in answer.text] == []
    return error["message"]


async def post(here: Served, content: Any, **options: Any) -> httpx.Response:
    return await here.http.post(CHAT, content=content, **options)


NESTED = b"[" * 100_000 + b"]" * 100_000


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b" \n",
        b"{",
        b'{"messages": [}',
        b"null",
        b"[]",
        b'"text"',
        b"12",
        b"not json",
        b'{"messages": [{"role": "user", "content": "\xff\xfe"}]}',
        b'{"messages": "\x00"}',
        b"\x1f\x8b\x08\x00",
        NESTED,
        b'{"messages": [{"role": "user", "content": "hi"}], "x": ' + NESTED + b"}",
        b'{"messages": [{"role": "user", "content": "hi"}], "seed": ' + b"9" * 10_000 + b"}",
    ],
    ids=lambda content: repr(content[:40]),
)
async def test_a_body_that_is_no_json_object_is_refused(content: bytes) -> None:
    async with unharmed() as here:
        refused(await post(here, content))


WRONG_TYPES: dict[str, list[Any]] = {
    "messages": [None, "hi", {}, 5, []],
    "model": [5, ["m"], {}],
    "stream": ["yes", 1, []],
    "stream_options": [5, "x", []],
    "session_id": [5, ["s"]],
    "effort": [5, {}],
    "store": ["no", 0],
    "metadata": ["x", []],
    "user": [5, {}],
    "temperature": ["hot", True, [], -0.1, 2.1, float("nan"), float("inf")],
    "top_p": ["x", -0.1, 1.1],
    "max_tokens": ["9", 1.5, 0, -1, True],
    "max_completion_tokens": ["9", 0],
    "seed": ["x", 1.5],
    "presence_penalty": ["x", -2.1, 2.1],
    "frequency_penalty": ["x", -2.1, 2.1],
    "logit_bias": ["x", []],
    "parallel_tool_calls": ["yes", 1],
    "reasoning_effort": [5, "huge"],
    "stop": [5, {}],
}


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
@pytest.mark.parametrize("field", WRONG_TYPES)
async def test_a_field_of_the_wrong_type_or_out_of_range_is_named(field: str, stream: bool) -> None:
    async with unharmed() as here:
        for value in WRONG_TYPES[field]:
            request = {**body("hi"), "stream": stream, field: value}
            message = refused(await post(here, json.dumps(request)), param=field)
            assert message.startswith(field)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"messages": ["hi"]}, "messages[0]"),
        ({"messages": [None]}, "messages[0]"),
        ({"messages": [{"content": "hi"}]}, "messages[0].role"),
        ({"messages": [{"role": "king", "content": "hi"}]}, "messages[0].role"),
        ({"messages": [{"role": 5, "content": "hi"}]}, "messages[0].role"),
        ({"messages": user(5)}, "messages[0].content"),
        ({"messages": user({"type": "text"})}, "messages[0].content"),
        ({"messages": [*user("hi"), {"role": "assistant", "tool_calls": [{}]}]}, "messages[1].tool_calls[0].id"),
        ({"stream_options": {"include_usage": "yes"}}, "stream_options.include_usage"),
        ({"metadata": {"a": 1}}, "metadata.a"),
        ({"logit_bias": {"50256": "x"}}, "logit_bias.50256"),
        ({"stop": [5]}, "stop"),
        ({"effort": "any"}, "effort"),
    ],
)
async def test_a_wrong_value_inside_a_field_is_named_with_its_place(fields: dict[str, Any], param: str) -> None:
    async with unharmed() as here:
        refused(await post(here, json.dumps({**body("hi"), **fields})), param=param)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("tools", [{"type": "function", "function": {"name": "x"}}]),
        ("functions", [{"name": "x"}]),
        ("tool_choice", "required"),
        ("tool_choice", {"type": "function", "function": {"name": "x"}}),
        ("function_call", {"name": "x"}),
        ("response_format", {"type": "json_object"}),
        ("response_format", {"type": "json_schema", "json_schema": {}}),
        ("modalities", ["text", "audio"]),
        ("audio", {"voice": "x"}),
        ("n", 2),
        ("n", True),
        ("logprobs", True),
        ("top_logprobs", 3),
        ("web_search_options", {}),
    ],
)
async def test_a_parameter_that_would_change_the_answer_is_refused_by_name(field: str, value: Any) -> None:
    async with unharmed() as here:
        for stream in (False, True):
            answer = await post(here, json.dumps(body("hi", stream=stream, **{field: value})))
            assert field in refused(answer, param=field, code="unsupported_parameter")


ASSISTANT = {"role": "assistant", "content": "said"}
CALL = {"role": "assistant", "tool_calls": [{"id": "c", "function": {"name": "f", "arguments": "{}"}}]}
RESULT = {"role": "tool", "content": "3", "tool_call_id": "c"}


@pytest.mark.parametrize(
    ("messages", "param"),
    [
        ([{"role": "system", "content": "hi"}], "messages"),
        ([ASSISTANT], "messages"),
        ([*user("hi"), ASSISTANT], "messages"),
        ([*user("hi"), RESULT], "messages[1].tool_call_id"),
        ([*user("hi"), CALL, {**RESULT, "tool_call_id": "d"}], "messages[2].tool_call_id"),
        ([*user("hi"), CALL, {"role": "tool", "content": "3"}], "messages[2].tool_call_id"),
        ([{**CALL, "role": "user", "content": "hi"}, RESULT], "messages[1].tool_call_id"),
        (user(None), "messages[0].content"),
        (user(""), "messages[0].content"),
        (user([]), "messages[0].content"),
        (user([{"type": "text", "text": ""}]), "messages[0].content"),
        (user([{}]), "messages[0].content[0]"),
        (user([{"type": "text"}]), "messages[0].content[0]"),
        (user([{"type": "video_url", "video_url": {"url": "x"}}]), "messages[0].content[0]"),
        (user([{"type": "image_url", "image_url": {}}]), "messages[0].content[0]"),
        (user([{"type": "image_url", "image_url": {"url": "file:///etc/passwd"}}]), "messages[0].content[0]"),
        (user([{"type": "image_url", "image_url": {"url": "data:image/png;base64,%%"}}]), "messages[0].content[0]"),
        (user([{"type": "image_url", "image_url": {"url": "data:image/png,raw"}}]), "messages[0].content[0]"),
        (user([{"type": "input_audio", "input_audio": {"format": "ogg", "data": ""}}]), "messages[0].content[0]"),
        (user([{"type": "file", "file": {"file_id": "f-1"}}]), "messages[0].content[0]"),
        ([{"role": "system", "content": [{"type": "image_url"}]}, *user("hi")], "messages[0].content[0]"),
    ],
)
async def test_messages_that_make_no_sense_are_named(messages: Any, param: str) -> None:
    async with unharmed() as here:
        refused(await post(here, json.dumps({"messages": messages})), param=param)


LONE = '"\\ud800"'


@pytest.mark.parametrize(
    "text",
    [
        f'{{"messages": [{{"role": "user", "content": {LONE}}}]}}',
        f'{{"messages": [{{"role": "user", "content": [{{"type": "text", "text": {LONE}}}]}}]}}',
        f'{{"messages": [{{"role": "user", "content": "hi"}}], "model": {LONE}}}',
        f'{{"messages": [{{"role": "user", "content": "hi"}}], "user": {LONE}}}',
        f'{{"messages": [{{"role": "user", "content": "hi"}}], "metadata": {{{LONE}: "x"}}}}',
    ],
)
async def test_half_of_a_surrogate_pair_is_no_text(text: str) -> None:
    async with unharmed() as here:
        answer = await post(here, text)
        assert (answer.status_code, error_of(answer)["type"]) == (400, "invalid_request_error")


async def test_unusual_text_is_text() -> None:
    text = "nul \x00, line\u2028end, \U0001f600, \ufeff, \x7f, \u202e, ]]>"
    model = RecordingModel()
    with fail_after(5):
        async with served(Agent(model.model)) as here:
            await here.ask(text, session_id="s")
            await post(here, b"\xef\xbb\xbf" + json.dumps(body("with a byte order mark", session_id="s")).encode())
            assert (await here.events("s"))[0] == ("user_message", text)
    assert text in repr(model.messages) or repr(text)[1:-1] in repr(model.messages)


BAD_IDS = ["a b", "a/b", "é", "x" * 129, "a%00", "<script>"]


@pytest.mark.parametrize("session_id", BAD_IDS, ids=lambda session_id: session_id[:9])
async def test_an_invalid_session_id_is_refused_wherever_it_is_sent(session_id: str) -> None:
    async with unharmed() as here:
        header = [(b"X-Session-ID", session_id.encode("latin-1"))]
        for stream in (False, True):
            refused(await here.http.post(CHAT, json=body("hi", stream=stream), headers=header), param="session_id")
        refused(await here.http.post(CHAT, json=body("hi", session_id=session_id)), param="session_id")
        refused(await here.http.get("/memory/events", params={"session_id": session_id}), param="session_id")
        if "/" not in session_id:
            path = httpx.URL(here.url).copy_with(path=f"/memory/sessions/{session_id}")
            refused(await here.http.delete(path), param="session_id")
        assert await here.runtime.memory.list_sessions() == []


@pytest.mark.parametrize("path", ["/memory/sessions", "/memory/events"])
@pytest.mark.parametrize(
    ("query", "param"),
    [
        *(
            (f"limit={limit}", "limit")
            for limit in ("0", "-1", "abc", "1.5", "", "99999999999", "%00", "%D9%A1", "1e2")
        ),
        ("cursor=nothing-like-one", "cursor"),
        ("cursor=%00", "cursor"),
    ],
)
async def test_a_bad_page_is_refused(path: str, query: str, param: str) -> None:
    async with unharmed() as here:
        await here.runtime.memory.add_event("s", "user_message", "hi")
        refused(await here.http.get(f"{path}?{query}"), param=param)


ROUTES = {
    "/v1/chat/completions": {"POST"},
    "/v1/models": {"GET", "HEAD"},
    "/v1/models/solid": {"GET", "HEAD"},
    "/memory/sessions": {"GET", "HEAD"},
    "/memory/sessions/s": {"DELETE"},
    "/memory/events": {"GET", "HEAD"},
    "/tools": {"GET", "HEAD"},
    "/.well-known/agent.json": {"GET", "HEAD"},
    "/.well-known/agent-card.json": {"GET", "HEAD"},
    "/health": {"GET", "HEAD"},
    "/ready": {"GET", "HEAD"},
    "/": {"POST"},
}


@pytest.mark.parametrize("path", ROUTES)
async def test_a_wrong_method_is_told_the_right_ones(path: str) -> None:
    async with unharmed() as here:
        for method in {"GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "BREW"} - ROUTES[path]:
            answer = await here.http.request(method, path)
            refused(answer, 405)
            assert set(answer.headers["allow"].split(", ")) == ROUTES[path]


@pytest.mark.parametrize("path", ["/v1", "/v1/completions", "/%00", "/%ff", "/health/", "/v1/chat/completions/"])
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_an_unknown_path_is_an_error_object_and_no_redirect(method: str, path: str) -> None:
    async with unharmed() as here:
        refused(await here.http.request(method, path), 404)


async def pieces(size: int) -> AsyncIterator[bytes]:
    for _ in range(size // 1000):
        yield b"x" * 1000


@pytest.mark.parametrize("size", [2_000, 4_000_000])
@pytest.mark.parametrize("chunked", [False, True], ids=["with its length", "chunked"])
async def test_a_body_that_is_too_large_is_told_so(size: int, chunked: bool) -> None:
    async with unharmed(settings=Settings(agent_max_body_bytes=1000)) as here:
        answer = await post(here, pieces(size) if chunked else b"x" * size)
        assert "1000" in refused(answer, 413)
