"""The mock model endpoint, over a socket: as the command that tests start, and inside this process."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import AsyncGenerator, Generator
from contextlib import contextmanager, nullcontext
from typing import Any

import anyio
import httpx
import openai
import pytest
from openai import AsyncOpenAI

from pais_sdk.models.mock import NO_MORE
from pais_sdk.testing.mock_llm import MockLLM, script
from pais_sdk.testing.mock_llm.answer import Answer
from pais_sdk.testing.mock_llm.behaviours import MODELS, OPTIONS, example

pytestmark = pytest.mark.anyio

ADD: Any = {
    "type": "function",
    "function": {
        "name": "add",
        "parameters": {
            "type": "object",
            "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}, "note": {"type": "string"}},
            "required": ["a", "b"],
        },
    },
}


@contextmanager
def mock_process(*arguments: str) -> Generator[tuple[subprocess.Popen[str], str]]:
    """Run the command; gives the process and the URL that it printed."""
    command = [sys.executable, "-W", "error", "-m", "pais_sdk.testing.mock_llm", *arguments]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    with process:
        try:
            assert process.stdout is not None
            ready, _, _ = select.select([process.stdout], [], [], 10)
            line = process.stdout.readline() if ready else ""
            name, _, url = line.strip().partition("=")
            assert name == "MOCK_LLM_URL", f"no URL but {line!r}"
            yield process, url
        finally:
            process.kill()


@pytest.fixture(scope="module")
def command_url() -> Generator[str]:
    with mock_process() as (_, url):
        yield url


@pytest.fixture
async def http(command_url: str) -> AsyncGenerator[httpx.AsyncClient]:
    """A client of a process that has forgotten the tests before."""
    async with httpx.AsyncClient(base_url=command_url, timeout=5) as client:
        await client.post("/_reset")
        yield client


@pytest.fixture
async def llm(http: httpx.AsyncClient) -> AsyncGenerator[AsyncOpenAI]:
    async with AsyncOpenAI(base_url=f"{http.base_url}/v1", api_key="secret", max_retries=0) as client:
        yield client


def user(text: str) -> Any:
    return [{"role": "user", "content": text}]


async def test_a_plain_answer_has_text_and_usage(llm: AsyncOpenAI) -> None:
    with anyio.fail_after(5):
        whole = await llm.chat.completions.create(model="echo", messages=user("three little words"))
    assert whole.choices[0].message.content == "three little words"
    assert whole.choices[0].finish_reason == "stop"
    assert whole.usage is not None
    assert (whole.usage.prompt_tokens, whole.usage.completion_tokens, whole.usage.total_tokens) == (3, 3, 6)


async def test_a_stream_brings_role_words_reason_usage_and_done(http: httpx.AsyncClient) -> None:
    body = {"model": "hello", "messages": user("hi"), "stream": True, "stream_options": {"include_usage": True}}
    with anyio.fail_after(5):
        response = await http.post("/v1/chat/completions", json=body)
    assert response.headers["content-type"].startswith("text/event-stream")
    events = [line.removeprefix("data: ") for line in response.text.split("\n\n") if line]
    assert events.pop() == "[DONE]"
    chunks: list[dict[str, Any]] = [httpx.Response(200, text=event).json() for event in events]
    last = chunks.pop()
    assert last["choices"] == []
    assert last["usage"] == {"prompt_tokens": 1, "completion_tokens": 7, "total_tokens": 8}
    assert all(chunk["usage"] is None for chunk in chunks)
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks]
    assert deltas[0] == {"role": "assistant", "content": ""}
    assert [delta["content"] for delta in deltas[1:-1]] == ["Hello!", " How", " can", " I", " help", " you", " today?"]
    assert [chunk["choices"][0]["finish_reason"] for chunk in chunks] == [None] * 8 + ["stop"]


async def test_a_stream_without_the_option_has_no_usage(llm: AsyncOpenAI) -> None:
    with anyio.fail_after(5):
        stream = await llm.chat.completions.create(model="echo", messages=user("a b"), stream=True)
        chunks = [chunk async for chunk in stream]
    assert all(chunk.usage is None and chunk.choices for chunk in chunks)


async def test_an_unknown_model_is_an_echo_and_models_are_listed(llm: AsyncOpenAI) -> None:
    with anyio.fail_after(5):
        whole = await llm.chat.completions.create(model="no-such-model", messages=user("me"))
        names = [model.id async for model in llm.models.list()]
    assert whole.choices[0].message.content == "me"
    assert names == list(MODELS)


async def test_the_pieces_of_a_streamed_tool_call_make_one_call(llm: AsyncOpenAI) -> None:
    with anyio.fail_after(5):
        stream = await llm.chat.completions.create(
            model="tool", messages=user('{"a": 1, "b": 2}'), tools=[ADD], stream=True
        )
        calls = [call async for chunk in stream for call in chunk.choices[0].delta.tool_calls or []]
    assert calls[0].id is not None
    assert calls[0].function is not None
    assert calls[0].function.name == "add"
    assert [call.id for call in calls[1:]] == [None, None]
    pieces = [call.function.arguments for call in calls if call.function]
    assert pieces == ["", '{"a": 1, "', 'b": 2}']


async def test_a_tool_result_is_told_as_text(llm: AsyncOpenAI) -> None:
    with anyio.fail_after(5):
        first = await llm.chat.completions.create(model="tool", messages=user("add something"), tools=[ADD])
        call = (first.choices[0].message.tool_calls or [])[0]
        history: Any = [
            *user("add something"),
            first.choices[0].message.model_dump(exclude_none=True),
            {"role": "tool", "tool_call_id": call.id, "content": "2"},
        ]
        second = await llm.chat.completions.create(model="tool", messages=history, tools=[ADD])
    assert first.choices[0].finish_reason == "tool_calls"
    assert call.type == "function"
    assert call.function.arguments == '{"a": 1, "b": 1}'
    assert second.choices[0].message.content == "The tool said: 2"


@pytest.mark.parametrize("model", ["echo+chars", "echo+no-tools+chars", "echo+chars+no-tools"])
async def test_with_chars_a_text_streams_character_by_character(llm: AsyncOpenAI, model: str) -> None:
    with anyio.fail_after(5):
        stream = await llm.chat.completions.create(model=model, messages=user("so  été\n"), stream=True)
        pieces = [chunk.choices[0].delta.content async for chunk in stream]
        whole = await llm.chat.completions.create(model=model, messages=user("so  été\n"))
    assert pieces == ["", *"so  été\n", None]
    assert whole.choices[0].message.content == "so  été\n"
    assert whole.model == model


async def test_with_chars_arguments_stream_character_by_character(llm: AsyncOpenAI) -> None:
    with anyio.fail_after(5):
        stream = await llm.chat.completions.create(
            model="tool+chars", messages=user('{"a": 1}'), tools=[ADD], stream=True
        )
        calls = [call async for chunk in stream for call in chunk.choices[0].delta.tool_calls or []]
    assert [call.function and call.function.arguments for call in calls] == ["", *'{"a": 1}']


@pytest.mark.parametrize("stream", [False, True])
async def test_a_model_without_tools_refuses_them_and_only_them(
    http: httpx.AsyncClient, llm: AsyncOpenAI, stream: bool
) -> None:
    with anyio.fail_after(5):
        with pytest.raises(openai.BadRequestError) as refused:
            await llm.chat.completions.create(model="tool+no-tools", messages=user("add"), tools=[ADD], stream=stream)
        without = await llm.chat.completions.create(model="tool+no-tools", messages=user("add"))
        empty = await llm.chat.completions.create(model="tool+no-tools", messages=user("add"), tools=[])
        stats = (await http.get("/_stats")).json()
    assert refused.value.body == {
        "message": '"tool+no-tools" does not support tools',
        "type": "invalid_request_error",
        "param": None,
        "code": None,
    }
    assert without.choices[0].message.content == empty.choices[0].message.content == "add"
    assert (stats["started"], stats["finished"]) == (3, 3)


@pytest.mark.parametrize(("model", "option"), [("echo+loud", "loud"), ("script+chars+", ""), ("my-model+chars+x", "x")])
async def test_an_unknown_option_is_400_and_no_request(http: httpx.AsyncClient, model: str, option: str) -> None:
    with anyio.fail_after(5):
        response = await http.post("/v1/chat/completions", json={"model": model, "messages": user("hi")})
        stats = (await http.get("/_stats")).json()
    assert response.status_code == 400
    assert response.json()["error"]["param"] == "model"
    assert response.json()["error"]["message"].startswith(f"there is no option {option!r} ")
    assert stats["started"] == 0


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


async def test_the_command_takes_responses_and_a_reset_goes_back_to_them() -> None:
    with anyio.fail_after(15), mock_process("--responses", '["of the start"]') as (_, url):
        async with (
            httpx.AsyncClient(base_url=url) as http,
            AsyncOpenAI(base_url=f"{url}/v1", api_key="x", max_retries=0) as llm,
        ):
            texts: list[Any] = []
            for step in ("start", "script", "reset"):
                if step == "script":
                    await set_script(http, "another")
                if step == "reset":
                    await http.post("/_fail?status=500")
                    await http.post("/_reset")
                texts.append(said(await llm.chat.completions.create(model="script", messages=user("hi")))[0])
    assert texts == ["of the start", "another", "of the start"]


def test_bad_responses_of_the_command_are_a_sentence() -> None:
    command = [sys.executable, "-m", "pais_sdk.testing.mock_llm", "--responses", '{"a": 1}']
    ended = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    assert ended.returncode == 2
    assert "argument --responses: the responses must be a JSON list" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_the_help_of_the_command_tells_models_options_and_routes() -> None:
    command = [sys.executable, "-m", "pais_sdk.testing.mock_llm", "--help"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    for word in (*MODELS, *OPTIONS, "--responses", "/_script", "/_fail", "/_reset", "/_wait"):
        assert word in ended.stdout


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


@pytest.mark.parametrize("stream", [False, True])
async def test_a_rate_limit_says_when_to_come_back(llm: AsyncOpenAI, stream: bool) -> None:
    with anyio.fail_after(5), pytest.raises(openai.RateLimitError) as caught:
        await llm.chat.completions.create(model="error-429", messages=user("hi"), stream=stream)
    assert caught.value.response.headers["retry-after"] == "7"
    assert caught.value.code == "rate_limit_exceeded"


@pytest.mark.parametrize("status", [401, 404, 500, 503])
async def test_an_error_model_answers_with_its_status(http: httpx.AsyncClient, status: int) -> None:
    with anyio.fail_after(5):
        response = await http.post("/v1/chat/completions", json={"model": f"error-{status}", "messages": user("hi")})
    assert response.status_code == status
    assert response.json()["error"].keys() == {"message", "type", "param", "code"}


@pytest.mark.parametrize(
    ("content", "param"),
    [
        (b"{no json", None),
        (b"[]", None),
        (b'{"messages": [{"role": "user"}]}', "model"),
        (b'{"model": "echo", "messages": []}', "messages"),
        (b'{"model": "echo", "messages": ["hi"]}', "messages.0"),
    ],
)
async def test_a_bad_body_is_400_and_no_request(http: httpx.AsyncClient, content: bytes, param: str | None) -> None:
    with anyio.fail_after(5):
        response = await http.post("/v1/chat/completions", content=content)
        stats = (await http.get("/_stats")).json()
    assert response.status_code == 400
    error = response.json()["error"]
    assert (error["type"], error["param"], error["code"]) == ("invalid_request_error", param, None)
    assert stats["started"] == 0


async def test_an_unknown_path_and_a_wrong_method_are_error_objects(http: httpx.AsyncClient) -> None:
    with anyio.fail_after(5):
        lost, wrong = await http.get("/v1/lost"), await http.get("/v1/chat/completions")
    assert (lost.status_code, wrong.status_code) == (404, 405)
    assert lost.json()["error"].keys() == wrong.json()["error"].keys() == {"message", "type", "param", "code"}


@pytest.mark.parametrize("stream", [False, True])
async def test_a_dropped_connection_is_no_end(http: httpx.AsyncClient, stream: bool) -> None:
    body = {"model": "midstream-error", "messages": user("hi"), "stream": stream}
    got = b""
    with anyio.fail_after(5):
        async with http.stream("POST", "/v1/chat/completions", json=body) as response:
            assert response.status_code == 200
            with pytest.raises(httpx.RemoteProtocolError):
                async for data in response.aiter_bytes():
                    got += data
        stats = (await http.get("/_stats")).json()
    assert (b" answer" in got) is stream
    assert b"breaks" not in got
    assert stats == {"active": 0, "started": 1, "finished": 1, "disconnected": 0}


async def test_a_client_that_leaves_a_stream_is_counted(http: httpx.AsyncClient, llm: AsyncOpenAI) -> None:
    with anyio.fail_after(5):
        stream = await llm.chat.completions.create(model="hang", messages=user("hi"), stream=True)
        async for chunk in stream:
            if chunk.choices[0].delta.content == "Wait":
                break
        assert (await http.get("/_stats")).json()["active"] == 1
        await stream.close()
        stats = await http.get("/_wait?disconnected=1")
    assert stats.json() == {"active": 0, "started": 1, "finished": 0, "disconnected": 1}


@pytest.mark.parametrize("model", ["hang", "gate"])
async def test_a_client_that_leaves_while_it_waits_is_counted(http: httpx.AsyncClient, model: str) -> None:
    with anyio.fail_after(5):
        async with anyio.create_task_group() as group:
            group.start_soon(ask, http, model)
            await http.get("/_wait?started=1")
            group.cancel_scope.cancel()
        stats = await http.get("/_wait?disconnected=1")
    assert stats.json()["disconnected"] == 1


async def ask(http: httpx.AsyncClient, model: str) -> None:
    await http.post("/v1/chat/completions", json={"model": model, "messages": user("hi")})


async def test_the_first_word_is_there_before_the_gate_opens(http: httpx.AsyncClient, llm: AsyncOpenAI) -> None:
    words: list[str] = []
    with anyio.fail_after(5):
        stream = await llm.chat.completions.create(model="gate", messages=user("hi"), stream=True)
        async for chunk in stream:
            if word := chunk.choices[0].delta.content:
                words.append(word)
            if words == ["The"]:
                await http.post("/_gate/open")
    assert words == ["The", " gate", " is", " open."]


async def test_a_length_answer_says_so(llm: AsyncOpenAI) -> None:
    with anyio.fail_after(5):
        whole = await llm.chat.completions.create(model="length", messages=user("far too long"))
    assert (whole.choices[0].message.content, whole.choices[0].finish_reason) == ("far", "length")


async def test_requests_are_recorded_with_their_headers(http: httpx.AsyncClient, llm: AsyncOpenAI) -> None:
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    with anyio.fail_after(5):
        await llm.chat.completions.create(
            model="echo", messages=user("hi"), temperature=0.5, extra_headers={"traceparent": trace}
        )
        requests = (await http.get("/_requests")).json()
    assert requests == [
        {
            "body": {"model": "echo", "messages": user("hi"), "temperature": 0.5},
            "headers": {"authorization": "Bearer secret", "traceparent": trace},
        }
    ]


async def test_a_wait_answers_408_when_it_is_not_reached_and_400_when_it_is_not_understood(
    http: httpx.AsyncClient,
) -> None:
    with anyio.fail_after(5):
        late = await http.get("/_wait?finished=1&timeout_s=0")
        unknown = await http.get("/_wait?arrived=1")
        no_number = await http.get("/_wait?started=two")
    assert (late.status_code, unknown.status_code, no_number.status_code) == (408, 400, 400)


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_the_command_in_silence(end: signal.Signals) -> None:
    with anyio.fail_after(15), mock_process("--host", "127.0.0.1", "--port", "0") as (process, url):
        async with AsyncOpenAI(base_url=f"{url}/v1", api_key="x", max_retries=0) as llm:
            stream = await llm.chat.completions.create(model="hang", messages=user("hi"), stream=True)
            os.kill(process.pid, end)
            with pytest.raises(openai.APIError):
                async for _ in stream:
                    pass
        out, err = await anyio.to_thread.run_sync(process.communicate)
    assert (process.returncode, out, err) == (0, "", "")


def test_a_port_that_is_taken_is_one_line(command_url: str) -> None:
    port = command_url.rpartition(":")[2]
    command = [sys.executable, "-m", "pais_sdk.testing.mock_llm", "--port", port]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    assert ended.returncode == 1
    assert ended.stderr.startswith(f"cannot listen on 127.0.0.1:{port}: ")
    assert ended.stderr.count("\n") == 1


async def test_in_process_the_record_is_at_hand() -> None:
    mock = MockLLM()
    with anyio.fail_after(5):
        async with mock.running() as url, AsyncOpenAI(base_url=f"{url}/v1", api_key="x", max_retries=0) as llm:
            await llm.chat.completions.create(model="hello", messages=user("hi"))
            stream = await llm.chat.completions.create(model="hang", messages=user("hi"), stream=True)
            await mock.record.wait(started=2, finished=1)
            await stream.close()
            await mock.record.wait(disconnected=1)
    assert [request["body"]["model"] for request in mock.record.requests] == ["hello", "hang"]
    assert mock.record.stats == {"active": 0, "started": 2, "finished": 1, "disconnected": 1}


async def test_a_reset_lets_go_of_those_at_the_gate_and_counts_anew() -> None:
    mock = MockLLM()
    with anyio.fail_after(5):
        async with mock.running() as url, AsyncOpenAI(base_url=f"{url}/v1", api_key="x", max_retries=0) as llm:
            stream = await llm.chat.completions.create(model="gate", messages=user("hi"), stream=True)
            before = mock.record
            mock.reset()
            assert [chunk async for chunk in stream][-1].choices[0].finish_reason == "stop"
    assert before.stats["finished"] == 1
    assert mock.record.stats == {"active": 0, "started": 0, "finished": 0, "disconnected": 0}


@pytest.mark.parametrize("text", ["", " ", "one", "two words", " led by\na line  and ends so \n"])
def test_the_words_of_a_stream_make_the_text(text: str) -> None:
    assert "".join(delta["content"] for word in Answer(text=text).pieces(1) for delta in word) == text


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"type": "string"}, "x"),
        ({"type": "number"}, 1.5),
        ({"type": "null"}, None),
        ({"type": ["boolean", "null"]}, True),
        ({"enum": ["red", "blue"]}, "red"),
        ({"anyOf": [{"type": "integer"}, {"type": "null"}]}, 1),
        ({"type": "array", "items": {"type": "string"}}, []),
        ({"type": "array", "items": {"type": "string"}, "minItems": 2}, ["x", "x"]),
        ({"type": "object", "properties": {"a": {"type": "string"}}}, {}),
        (
            {
                "type": "object",
                "properties": {"at": {"$ref": "#/$defs/Place"}},
                "required": ["at"],
                "$defs": {"Place": {"type": "object", "properties": {"x": {"type": "integer"}}, "required": ["x"]}},
            },
            {"at": {"x": 1}},
        ),
    ],
)
def test_an_example_fits_its_schema(schema: dict[str, Any], value: object) -> None:
    assert example(schema, schema) == value
