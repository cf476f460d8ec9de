"""The mock model endpoint, over a socket: as the command that tests start, and inside this process."""

from __future__ import annotations

import json
import math
import os
import select
import signal
import subprocess
import sys
from collections.abc import AsyncGenerator, Generator
from contextlib import contextmanager
from typing import Any

import anyio
import httpx
import openai
import pytest
from openai import AsyncOpenAI

from pais_sdk.testing.mock_llm import MockLLM
from pais_sdk.testing.mock_llm.answer import Answer
from pais_sdk.testing.mock_llm.behaviours import MODELS, OPTIONS, example

from .mock_questions import ADD, user

pytestmark = pytest.mark.anyio


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


async def test_the_command_takes_responses_and_a_reset_goes_back_to_them() -> None:
    with anyio.fail_after(15), mock_process("--responses", '["of the start"]') as (_, url):
        async with (
            httpx.AsyncClient(base_url=url) as http,
            AsyncOpenAI(base_url=f"{url}/v1", api_key="x", max_retries=0) as llm,
        ):
            texts: list[Any] = []
            for step in ("start", "script", "reset"):
                if step == "script":
                    await http.post("/_script", json=["another"])
                if step == "reset":
                    await http.post("/_fail?status=500")
                    await http.post("/_reset")
                answer = await llm.chat.completions.create(model="script", messages=user("hi"))
                texts.append(answer.choices[0].message.content)
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


async def test_a_number_that_json_does_not_have_is_recorded(http: httpx.AsyncClient) -> None:
    body = json.dumps({"model": "echo", "messages": user("hi"), "temperature": float("nan")})
    with anyio.fail_after(5):
        await http.post("/v1/chat/completions", content=body)
        (request,) = (await http.get("/_requests")).json()
    assert math.isnan(request["body"]["temperature"])


async def test_a_wait_answers_408_when_it_is_not_reached_and_400_when_it_is_not_understood(
    http: httpx.AsyncClient,
) -> None:
    with anyio.fail_after(5):
        late = await http.get("/_wait?finished=1&timeout_s=0")
        unknown = await http.get("/_wait?arrived=1")
        no_numbers = [await http.get(f"/_wait?{query}") for query in ("started=two", "timeout_s=nan")]
    assert (late.status_code, unknown.status_code) == (408, 400)
    assert [answer.status_code for answer in no_numbers] == [400, 400]


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


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "#"},
        {"$ref": "#/$defs/Nowhere"},
        {
            "properties": {"a": {"$ref": "#/$defs/A"}},
            "required": ["a"],
            "$defs": {"A": {"allOf": [{"$ref": "#/$defs/A"}]}},
        },
        {"properties": {"a": True}, "required": ["a"]},
        {"type": "array", "minItems": "many"},
    ],
    ids=str,
)
async def test_a_schema_without_an_example_is_400_and_an_end(http: httpx.AsyncClient, schema: Any) -> None:
    tools = [{"type": "function", "function": {"name": "odd", "parameters": schema}}]
    with anyio.fail_after(5):
        asked = {"model": "tool", "messages": user("go"), "tools": tools}
        refused = await http.post("/v1/chat/completions", json=asked)
        told = await http.post("/v1/chat/completions", json={**asked, "messages": user('{"a": 1}')})
        stats = (await http.get("/_stats")).json()
    assert refused.status_code == 400
    assert refused.json()["error"]["param"] == "tools"
    assert told.json()["choices"][0]["message"]["tool_calls"][0]["function"]["arguments"] == '{"a": 1}'
    assert stats == {"active": 0, "started": 2, "finished": 2, "disconnected": 0}
