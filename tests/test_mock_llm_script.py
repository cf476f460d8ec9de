"""The mock model endpoint's script, and its failures on command, over a socket."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from contextlib import nullcontext
from typing import Any

import anyio
import httpx
import openai
import pytest
from openai import AsyncOpenAI

from pais_sdk.models.mock import NO_MORE
from pais_sdk.testing.mock_llm import MockLLM, script

from .mock_questions import ADD, user

pytestmark = pytest.mark.anyio


@pytest.fixture
async def http() -> AsyncGenerator[httpx.AsyncClient]:
    async with MockLLM().running() as url, httpx.AsyncClient(base_url=url, timeout=5) as client:
        yield client


@pytest.fixture
async def llm(http: httpx.AsyncClient) -> AsyncGenerator[AsyncOpenAI]:
    async with AsyncOpenAI(base_url=f"{http.base_url}/v1", api_key="x", max_retries=0) as client:
        yield client


TWO_CALLS: Any = {
    "content": "Two things.",
    "tool_calls": [
        {"name": "add", "arguments": {"a": 1, "b": 22222}},
        {"name": "shout", "arguments": '{"text": "not closed', "id": "mine"},
    ],
}


async def set_script(http: httpx.AsyncClient, *responses: Any) -> None:
    (await http.post("/_script", json=responses)).raise_for_status()


def said(answer: Any) -> tuple[str | None, list[tuple[str, str]]]:
    """Return the text and the calls of a plain answer."""
    message = answer.choices[0].message
    return message.content, [(call.function.name, call.function.arguments) for call in message.tool_calls or []]


async def test_scripted_calls_are_native_where_the_request_has_tools(http: httpx.AsyncClient, llm: AsyncOpenAI) -> None:
    with anyio.fail_after(5):
        await set_script(http, TWO_CALLS)
        answer = await llm.chat.completions.create(model="script", messages=user("go"), tools=[ADD])
    assert answer.choices[0].finish_reason == "tool_calls"
    assert said(answer) == ("Two things.", [("add", '{"a": 1, "b": 22222}'), ("shout", '{"text": "not closed')])
    first, second = answer.choices[0].message.tool_calls or []
    assert second.id == "mine" != first.id
    assert first.id


async def test_scripted_calls_are_text_where_the_request_has_none(http: httpx.AsyncClient, llm: AsyncOpenAI) -> None:
    with anyio.fail_after(5):
        await set_script(http, TWO_CALLS)
        answer = await llm.chat.completions.create(model="script", messages=user("go"))
    assert answer.choices[0].finish_reason == "stop"
    text, calls = said(answer)
    before, _, after = (text or "").partition("\n\n")
    assert (before, calls) == ("Two things.", [])
    assert json.loads(after) == {"tool_calls": TWO_CALLS["tool_calls"]}


@pytest.mark.parametrize(("options", "length"), [("", 10), ("+chars", 1)])
async def test_several_calls_stream_by_index_with_id_and_name_once(
    http: httpx.AsyncClient, llm: AsyncOpenAI, options: str, length: int
) -> None:
    with anyio.fail_after(5):
        await set_script(http, TWO_CALLS)
        stream = await llm.chat.completions.create(
            model=f"script{options}", messages=user("go"), tools=[ADD], stream=True
        )
        chunks = [chunk async for chunk in stream]
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == "Two things."
    assert chunks[-1].choices[0].finish_reason == "tool_calls"
    calls = [call for chunk in chunks for call in chunk.choices[0].delta.tool_calls or []]
    for index, (name, arguments) in enumerate([("add", '{"a": 1, "b": 22222}'), ("shout", '{"text": "not closed')]):
        head, *rest = [call for call in calls if call.index == index]
        assert head.id
        assert head.function is not None
        assert (head.type, head.function.name, head.function.arguments) == ("function", name, "")
        assert all(call.id is None and call.type is None for call in rest)
        assert all(call.function is not None and call.function.name is None for call in rest)
        pieces = [call.function.arguments or "" for call in rest if call.function]
        assert "".join(pieces) == arguments
        assert {len(piece) for piece in pieces[:-1]} == {length}


async def test_null_arguments_and_no_arguments_go_out_as_such(http: httpx.AsyncClient, llm: AsyncOpenAI) -> None:
    calls = [{"name": "", "arguments": None}, {"name": "add"}, {"name": "add", "arguments": [1]}]
    with anyio.fail_after(5):
        await set_script(http, {"tool_calls": calls})
        answer = await llm.chat.completions.create(model="script", messages=user("go"), tools=[ADD])
    assert said(answer) == (None, [("", None), ("add", "{}"), ("add", "[1]")])


async def test_a_run_gets_one_answer_after_the_other(http: httpx.AsyncClient, llm: AsyncOpenAI) -> None:
    call = {"tool_calls": [{"name": "add", "arguments": {"a": 1, "b": 2}}]}
    messages: Any = [*user("first"), {"role": "assistant", "content": "an earlier answer"}, *user("go")]
    got: list[Any] = []
    with anyio.fail_after(5):
        await set_script(http, call, call, "done")
        for _ in range(4):
            answer = await llm.chat.completions.create(model="script", messages=messages, tools=[ADD])
            got.append(said(answer)[0] or said(answer)[1])
            messages.append(answer.choices[0].message.model_dump(exclude_none=True))
            for call in answer.choices[0].message.tool_calls or []:
                messages.append({"role": "tool", "tool_call_id": call.id, "content": "3"})
        again = await llm.chat.completions.create(model="script", messages=messages + user("again"), tools=[ADD])
    assert got == [[("add", '{"a": 1, "b": 2}')]] * 2 + ["done", "[no more mock responses]"]
    assert said(again)[1] == [("add", '{"a": 1, "b": 2}')]


CALL_AS_TEXT = {
    "role": "assistant",
    "content": 'I add.\n```json\n{"tool_calls": [{"name": "add", "arguments": {}}]}\n```',
}
FEEDBACK = "Not from the user.\n<pyai:validation_errors>\n[]\n</pyai:validation_errors>"


@pytest.mark.parametrize(
    ("messages", "place"),
    [
        (user("go"), 0),
        ([{"role": "system", "content": "be nice"}, *user("go")], 0),
        ([*user("go"), CALL_AS_TEXT, *user("Result of add: 3")], 1),
        ([*user("go"), CALL_AS_TEXT, *user("3"), CALL_AS_TEXT, *user("4")], 2),
        ([*user("go"), CALL_AS_TEXT, *user("3"), {"role": "assistant", "content": "It is 3."}, *user("And now?")], 0),
        ([*user("go"), {"role": "assistant", "content": "no JSON"}, *user(FEEDBACK)], 1),
        ([{"role": "assistant", "content": "I began."}], 1),
    ],
)
async def test_the_place_in_the_script_is_read_from_the_messages(
    http: httpx.AsyncClient, llm: AsyncOpenAI, messages: Any, place: int
) -> None:
    with anyio.fail_after(5):
        await set_script(http, "0", "1", "2")
        answer = await llm.chat.completions.create(model="script", messages=messages)
    assert said(answer) == (str(place), [])


async def test_fifty_runs_at_once_share_a_script(llm: AsyncOpenAI, http: httpx.AsyncClient) -> None:
    texts: dict[int, list[str | None]] = {}

    async def converse(number: int) -> None:
        messages, texts[number] = user(f"{number}"), []
        for _ in range(3):
            answer = await llm.chat.completions.create(model="script", messages=messages)
            texts[number].append(answer.choices[0].message.content)
            messages.append({"role": "assistant", "content": answer.choices[0].message.content})

    with anyio.fail_after(20):
        await set_script(http, "one", "two")
        async with anyio.create_task_group() as group:
            for number in range(50):
                group.start_soon(converse, number)
    assert list(texts.values()) == [["one", "two", "[no more mock responses]"]] * 50


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"{no json", "must be a JSON list"),
        (b'{"tool_calls": []}', "must be a JSON list"),
        (b'["fine", 7]', "response 1 is neither"),
        (b'[{"tool_calls": []}]', "response 0 is neither"),
        (b'[{"tool_calls": [{"arguments": {}}]}]', "response 0 is neither"),
        (b'[{"text": "hi"}]', "response 0 is neither"),
    ],
)
async def test_a_bad_script_is_400_and_changes_nothing(
    http: httpx.AsyncClient, llm: AsyncOpenAI, content: bytes, told: str
) -> None:
    with anyio.fail_after(5):
        await set_script(http, "as before")
        refused = await http.post("/_script", content=content)
        answer = await llm.chat.completions.create(model="script", messages=user("hi"))
    assert refused.status_code == 400
    assert told in refused.json()["error"]["message"]
    assert "\n" not in refused.json()["error"]["message"]
    assert said(answer) == ("as before", [])


def test_the_end_of_a_script_is_told_as_the_mock_model_tells_it() -> None:
    assert script.NO_MORE == NO_MORE


@pytest.mark.parametrize("stream", [False, True])
async def test_told_to_fail_the_next_requests_fail_and_then_all_is_as_before(
    http: httpx.AsyncClient, llm: AsyncOpenAI, stream: bool
) -> None:
    codes: list[Any] = []
    with anyio.fail_after(5):
        (await http.post("/_fail?status=429&times=2&retry_after_s=0")).raise_for_status()
        (await http.post("/_fail?status=503&code=overloaded")).raise_for_status()
        for _ in range(3):
            with pytest.raises(openai.APIStatusError) as failed:
                await llm.chat.completions.create(model="echo", messages=user("hi"), stream=stream)
            headers = failed.value.response.headers
            codes.append((failed.value.status_code, failed.value.code, headers.get("retry-after")))
        answer = await llm.chat.completions.create(model="echo", messages=user("hi"))
        stats = (await http.get("/_stats")).json()
    assert codes == [(429, "rate_limit_exceeded", "0")] * 2 + [(503, "overloaded", None)]
    assert said(answer) == ("hi", [])
    assert stats == {"active": 0, "started": 4, "finished": 4, "disconnected": 0}


@pytest.mark.parametrize("stream", [False, True])
async def test_told_to_fail_with_0_the_connection_drops(http: httpx.AsyncClient, stream: bool) -> None:
    body = {"model": "echo", "messages": user("hi"), "stream": stream}
    with anyio.fail_after(5):
        await http.post("/_fail?status=0")
        with pytest.raises(httpx.RemoteProtocolError):
            await http.post("/v1/chat/completions", json=body)
        answer = await http.post("/v1/chat/completions", json=body)
    assert answer.status_code == 200


@pytest.mark.parametrize(("options", "pieces"), [("", ["", "one", " two"]), ("+chars", ["", *"one two"])])
async def test_told_to_fail_after_words_a_stream_says_them_first(
    http: httpx.AsyncClient, llm: AsyncOpenAI, options: str, pieces: list[str]
) -> None:
    got: list[str | None] = []
    with anyio.fail_after(5):
        await http.post("/_fail?status=500&after_words=2")
        stream = await llm.chat.completions.create(model=f"echo{options}", messages=user("one two three"), stream=True)
        with pytest.raises(openai.APIError, match="Told to fail with 500"):
            async for chunk in stream:
                got.append(chunk.choices[0].delta.content)
    assert got == pieces


@pytest.mark.parametrize(("status", "failure"), [(0, httpx.RemoteProtocolError), (500, None)])
async def test_told_to_fail_after_more_words_than_there_are_it_fails_at_the_end(
    http: httpx.AsyncClient, status: int, failure: type[Exception] | None
) -> None:
    body = {"model": "echo", "messages": user("one two"), "stream": True}
    got = b""
    with anyio.fail_after(5):
        await http.post(f"/_fail?status={status}&after_words=9")
        async with http.stream("POST", "/v1/chat/completions", json=body) as response:
            with pytest.raises(failure) if failure else nullcontext():
                async for data in response.aiter_bytes():
                    got += data
    assert b" two" in got
    assert (b'"error"' in got) is (failure is None)
    assert b"[DONE]" not in got


@pytest.mark.parametrize(
    "query",
    ["", "status=200", "status=x", "status=500&times=0", "status=500&after_words=-1", "status=500&when=now"],
)
async def test_a_failure_that_is_not_understood_is_400_and_none(http: httpx.AsyncClient, query: str) -> None:
    with anyio.fail_after(5):
        refused = await http.post(f"/_fail?{query}")
        answer = await http.post("/v1/chat/completions", json={"model": "echo", "messages": user("hi")})
    assert (refused.status_code, answer.status_code) == (400, 200)
    assert refused.json()["error"]["message"]


async def test_in_process_it_is_scripted_and_fails_by_method() -> None:
    mock = MockLLM(responses=["one"])
    with anyio.fail_after(5):
        async with mock.running() as url, AsyncOpenAI(base_url=f"{url}/v1", api_key="x", max_retries=0) as llm:
            mock.fail_next(429, retry_after_s=0.25)
            with pytest.raises(openai.RateLimitError) as limited:
                await llm.chat.completions.create(model="script", messages=user("hi"))
            first = await llm.chat.completions.create(model="script", messages=user("hi"))
            mock.set_responses(["other"])
            other = await llm.chat.completions.create(model="script", messages=user("hi"))
    assert limited.value.response.headers["retry-after"] == "0.25"
    assert (said(first)[0], said(other)[0]) == ("one", "other")
    assert mock.record.stats["started"] == 3
