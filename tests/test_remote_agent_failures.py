"""Remote agents that fail: what the caller hears, that no task runs twice, and that nothing hangs or grows."""

from __future__ import annotations

import asyncio
import gzip
import json
import re
from collections.abc import Callable, Iterable
from typing import Any

import anyio
import httpx2
import pytest
from pydantic_ai import Agent
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response

from pais_sdk import Settings
from pais_sdk.client import RemoteAgent, RemoteProgress, RemoteText
from pais_sdk.errors import RemoteAgentError

from .agents import GatedModel, echo_agent
from .http_agents import FailingModel, looping_agent, served
from .peers import (
    CHAT,
    Peer,
    Seen,
    a2a_1_0,
    at,
    card_1_0,
    kaos_old,
    peer,
    piece_1_0,
    raw_peer,
    rpc,
    rpc_error,
    says,
    sse,
    status_1_0,
    task_1_0,
    unused_url,
)

pytestmark = pytest.mark.anyio

KEY = "the-secret-key"


async def failure_of(agent: RemoteAgent, **options: Any) -> RemoteAgentError:
    with pytest.raises(RemoteAgentError) as failed:
        await agent.run("hello", **options)
    error = failed.value
    assert error.url == agent.url
    assert error.message == str(error)
    # It names the agent, says what happened and what to do, and holds no key.
    assert re.match(rf"The agent at {re.escape(agent.url.partition('://')[2])} \w.*\. \w.*[.]$", error.message), (
        error.message
    )
    assert KEY not in error.message
    return error


async def asked(here: Peer, **options: Any) -> RemoteAgentError:
    return await failure_of(RemoteAgent(here.url, api_key=KEY), **options)


# Nobody there


@pytest.mark.parametrize("protocol", ["auto", "a2a", "chat"])
async def test_an_agent_that_nobody_can_connect_to_is_unreachable(protocol: Any) -> None:
    with anyio.fail_after(10):
        error = await failure_of(RemoteAgent(unused_url(), protocol=protocol))
    assert error.reason == "unreachable"


async def test_a_connection_that_is_refused_is_tried_again() -> None:
    tries: list[str] = []

    class Refusing(httpx2.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
            tries.append(request.method)
            if len(tries) < 3:
                raise httpx2.ConnectError("refused")
            message = {"role": "assistant", "content": "at last"}
            return httpx2.Response(200, json={"choices": [{"message": message}]})

    with anyio.fail_after(5):
        async with httpx2.AsyncClient(transport=Refusing()) as client:
            agent = RemoteAgent("http://worker", protocol="chat", http_client=client)
            assert (await agent.run("hello")).text == "at last"
            assert tries == ["POST"] * 3


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (httpx2.ReadError, "failed"),
        (httpx2.WriteError, "failed"),
        (httpx2.RemoteProtocolError, "failed"),
        (httpx2.ReadTimeout, "timeout"),
        (httpx2.ConnectTimeout, "unreachable"),  # TCP itself has tried again for so long
    ],
)
async def test_what_fails_otherwise_is_not(error: Callable[[str], Exception], reason: str) -> None:
    tries: list[str] = []

    class Breaking(httpx2.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
            tries.append(request.method)
            raise error("broken")

    with anyio.fail_after(5):
        async with httpx2.AsyncClient(transport=Breaking()) as client:
            failed = await failure_of(RemoteAgent("http://worker", protocol="chat", http_client=client))
    assert failed.reason == reason
    assert tries == ["POST"]


async def test_a_client_that_its_owner_has_closed_is_an_agent_out_of_reach() -> None:
    client = httpx2.AsyncClient()
    await client.aclose()
    assert (await failure_of(RemoteAgent("http://worker", http_client=client))).reason == "unreachable"


# Statuses and error objects


def error_object(type_: str, message: str = "A fixed sentence.") -> dict[str, Any]:
    return {"error": {"message": message, "type": type_, "param": None, "code": type_}}


STATUSES: list[tuple[int, Any, str]] = [
    (302, None, "refused"),
    (400, error_object("invalid_request_error"), "refused"),
    (401, error_object("authentication_error"), "refused"),
    (403, None, "refused"),
    (404, None, "refused"),
    (409, error_object("session_busy"), "busy"),
    (409, error_object("cancelled"), "failed"),
    (413, None, "refused"),
    (422, error_object("max_steps"), "failed"),
    (500, error_object("server_error"), "failed"),
    (502, error_object("upstream_error"), "failed"),
    (503, error_object("memory_unavailable"), "failed"),
    (503, error_object("server_error"), "busy"),
    (504, error_object("timeout"), "timeout"),
    (500, {"detail": "psycopg2: password wrong"}, "failed"),
    (400, "<html>", "refused"),
]


@pytest.mark.parametrize(("status", "body", "reason"), STATUSES)
async def test_a_status_is_a_failure_with_a_reason_and_the_task_is_sent_once(
    status: int, body: Any, reason: str
) -> None:
    def answer(seen: Seen) -> Any:
        headers = {"location": "/elsewhere"} if status == 302 else {}
        return JSONResponse(body, status, headers) if seen.path in (CHAT, "/") else None

    with anyio.fail_after(5):
        async with peer(answer) as here:
            error = await asked(here)
            assert error.reason == reason
            assert ("A fixed sentence." in error.message) == ("A fixed" in str(body) and status != 401)
            assert "psycopg2" not in error.message
            over_a2a = await failure_of(RemoteAgent(here.url, api_key=KEY, protocol="a2a"))
            assert over_a2a.reason == reason
    assert len(here.posts) == 2


@pytest.mark.parametrize("protocol", ["a2a", "chat"])
async def test_a_place_that_is_taken_is_not_asked_for_again(protocol: Any) -> None:
    """A model's own 429 looks the same, and comes when the run has begun."""
    full = JSONResponse(error_object("rate_limit_exceeded", "Too many runs are active."), 429, {"retry-after": "0"})
    with anyio.fail_after(5):
        async with peer(at(chat=full, rpc=full)) as here:
            error = await failure_of(RemoteAgent(here.url, protocol=protocol))
    assert (error.reason, len(here.posts)) == ("busy", 1)
    assert 'It says: "Too many runs are active."' in error.message


async def test_an_inner_error_of_json_rpc_is_not_quoted_whatever_its_status() -> None:
    def answer(seen: Seen) -> Any:
        return JSONResponse(rpc_error(seen, -32603, "psycopg2: password wrong"), 500)

    with anyio.fail_after(5):
        async with peer(a2a_1_0(answer)) as here:
            error = await asked(here)
    assert error.reason == "failed"
    assert "psycopg2" not in error.message


CODES: list[tuple[Any, str]] = [
    (-32700, "refused"),
    (-32600, "refused"),
    (-32601, "refused"),
    (-32602, "refused"),
    (-32603, "failed"),
    (-32001, "failed"),
    (-32004, "refused"),
    (-32006, "failed"),
    (-32009, "refused"),
    (12, "refused"),
    ("odd", "failed"),
]


@pytest.mark.parametrize(("code", "reason"), CODES)
async def test_an_error_of_json_rpc_is_a_failure_with_a_reason(code: Any, reason: str) -> None:
    def answer(seen: Seen) -> Any:
        return rpc_error(seen, code, "psycopg2: password wrong" if code == -32603 else "What it says.")

    with anyio.fail_after(5):
        async with peer(a2a_1_0(answer, streaming=False)) as here:
            error = await asked(here)
    assert error.reason == reason
    assert "psycopg2" not in error.message
    assert len(here.posts) == 1


STATES: list[tuple[dict[str, Any], str]] = [
    (status_1_0("FAILED", "The model did not answer."), "failed"),
    (status_1_0("FAILED", error={"type": "timeout"}), "timeout"),
    (status_1_0("FAILED", error={"type": "max_steps"}), "failed"),
    (status_1_0("REJECTED", "Not my work."), "refused"),
    (status_1_0("REJECTED", error={"type": "session_busy"}), "busy"),
    (status_1_0("REJECTED", error={"type": "rate_limit_exceeded"}), "busy"),
    (status_1_0("CANCELED"), "failed"),
    (status_1_0("AUTH_REQUIRED", f"Log in with {KEY}"), "refused"),
    (status_1_0("SOMETHING_NEW"), "failed"),
    ({"task": task_1_0("FAILED", "half", words="Gave up.")}, "failed"),
]


@pytest.mark.parametrize(("said", "reason"), STATES)
async def test_a_task_that_ends_otherwise_than_well_is_a_failure(said: Any, reason: str) -> None:
    def answer(seen: Seen) -> Any:
        return sse(rpc(seen, piece_1_0("half")), rpc(seen, said))

    with anyio.fail_after(5):
        async with peer(a2a_1_0(answer)) as here:
            assert (await asked(here)).reason == reason
    is_over = "AUTH" not in str(said) and "NEW" not in str(said)
    assert here.methods == ["SendStreamingMessage", *([] if is_over else ["CancelTask"])]


async def test_a_key_that_was_read_with_its_line_end_is_not_quoted_either() -> None:
    answer = JSONResponse(error_object("upstream_error", f"Incorrect API key provided: {KEY}"), 502)
    with anyio.fail_after(5):
        async with peer(at(chat=answer)) as here:
            error = await failure_of(RemoteAgent(here.url, api_key=f" {KEY}\n"))
    assert 'provided: ***"' in error.message
    assert here.posts[0].headers["authorization"] == f"Bearer {KEY}"


@pytest.mark.parametrize(
    "message", ["x" * 5000, f"Incorrect API key provided: {KEY}", "a\n\x00b\u202e" * 10, KEY * 1000]
)
async def test_what_the_agent_says_is_quoted_short_on_one_line_and_without_the_key(message: str) -> None:
    with anyio.fail_after(5):
        async with peer(at(chat=JSONResponse(error_object("upstream_error", message), 502))) as here:
            error = await asked(here)
    assert "It says: " in error.message
    assert error.message.isprintable()
    assert len(error.message) < 500


async def test_an_error_within_a_stream_is_a_failure() -> None:
    chunk = {"choices": [{"index": 0, "delta": {"content": "so far"}}]}
    with anyio.fail_after(5):
        async with (
            peer(at(chat=sse(chunk, error_object("timeout")))) as here,
            RemoteAgent(here.url).stream("hello") as events,
        ):
            assert await anext(events) == RemoteText("so far")
            with pytest.raises(RemoteAgentError) as error:
                await anext(events)
    assert error.value.reason == "timeout"


# Our own server


@pytest.mark.parametrize("protocol", ["a2a", "chat"])
async def test_our_own_agent_fails_alike_on_both_protocols(protocol: Any) -> None:
    async def reason_of(agent: Agent[Any, Any], **options: Any) -> str:
        async with served(agent, **options) as here:
            error = await failure_of(RemoteAgent(here.url, protocol=protocol), timeout_s=5)
            return error.reason

    with anyio.fail_after(20):
        assert await reason_of(looping_agent(), max_steps=2) == "failed"
        failing = FailingModel(lambda: RuntimeError("inner words"))
        assert await reason_of(Agent(failing.model, name="failing")) == "failed"
        assert failing.requests == 1
        assert await reason_of(Agent(GatedModel().model, name="slow"), timeout_s=0.05) == "timeout"
        keys = Settings(agent_api_keys="someone=another-key")  # pyright: ignore
        assert await reason_of(echo_agent(), settings=keys) == "refused"


@pytest.mark.parametrize("protocol", ["a2a", "chat"])
async def test_an_agent_in_the_chain_refuses_the_task(protocol: Any) -> None:
    with anyio.fail_after(5):
        async with served(echo_agent(), id="kaos://agent/a/b") as here:
            error = await failure_of(RemoteAgent(here.url, protocol=protocol), chain=["x", "kaos://agent/a/b"])
    assert error.reason == "refused"
    assert "comes from" in error.message


@pytest.mark.parametrize("protocol", ["a2a", "chat"])
async def test_a_session_that_is_busy_is_said_to_be(protocol: Any) -> None:
    gated = GatedModel()
    with anyio.fail_after(10):
        async with (
            served(Agent(gated.model, name="gated"), on_busy="reject") as here,
            here.runtime.stream("first", session_id="s") as run,
        ):
            await anext(run)
            error = await failure_of(RemoteAgent(here.url, protocol=protocol), session_id="s")
            gated.gate.set()
    assert error.reason == "busy"


# A card that is not given


@pytest.mark.parametrize("status", [500, 502, 504])
async def test_an_agent_that_fails_to_give_its_card_is_not_said_to_have_begun(status: int) -> None:
    with anyio.fail_after(5):
        async with peer(lambda seen: JSONResponse({}, status)) as here:
            error = await asked(here)
    assert error.reason == ("timeout" if status == 504 else "failed")
    assert "does not give its card, so the task was not sent" in error.message
    assert here.posts == []


async def test_a_card_that_breaks_off_is_not_said_to_be_a_task_that_did() -> None:
    async def behave(request: bytes, writer: asyncio.StreamWriter) -> None:
        await says(writer, "200 OK", "application/json", [b"{"])

    with anyio.fail_after(5):
        async with raw_peer(behave) as here:
            error = await asked(here)
    assert (error.reason, "so the task was not sent" in error.message) == ("failed", True)


@pytest.mark.parametrize("protocol", ["auto", "a2a"])
async def test_a_card_that_comes_byte_by_byte_does_not_take_the_time_of_the_task(
    protocol: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pais_sdk.client.remote_agent._CARD_S", 0.1)

    async def behave(request: bytes, writer: asyncio.StreamWriter) -> None:
        await says(writer, "200 OK", "application/json", [b"{"])
        await asyncio.Event().wait()

    with anyio.fail_after(5):
        async with raw_peer(behave) as here:
            error = await failure_of(RemoteAgent(here.url, protocol=protocol), timeout_s=60)
            assert (error.reason, "card" in error.message) == ("timeout", True)
            late = await failure_of(RemoteAgent(here.url, protocol=protocol), timeout_s=0)
            assert "did not answer within 0 s" in late.message
    assert here.posts == []


# Answers that make no sense, or do not end


NONSENSE: dict[str, Any] = {
    "text": PlainTextResponse("hello"),
    "a page": Response("<html></html>", media_type="text/html"),
    "a list": [1],
    "nothing": None,
    "null": JSONResponse(None),
    "an empty object": {},
    "a stream of text": sse("hello"),
    "a stream of numbers": sse(1, 2, 3),
    "a stream of lists": sse([], []),
    "a stream that is deep": sse("[" * 100_000),
    "an empty stream": sse(),
    "a stream of comments": Response(": hello\n\n" * 10, media_type="text/event-stream"),
    "bytes as a stream": Response(bytes(range(256)) * 10, media_type="text/event-stream"),
    "bytes as JSON": Response(bytes(range(256)), media_type="application/json"),
    "compressed twice": Response(
        gzip.compress(gzip.compress(b'{"choices": [{"message": {"content": "ok"}}]}')),
        headers={"content-encoding": "gzip, gzip"},
        media_type="application/json",
    ),
}


@pytest.mark.parametrize("protocol", ["a2a", "chat"])
@pytest.mark.parametrize("case", NONSENSE)
async def test_an_answer_that_makes_no_sense_is_a_failure(case: str, protocol: Any) -> None:
    with anyio.fail_after(5):
        async with peer(lambda seen: NONSENSE[case] if seen.method == "POST" else None) as here:
            error = await failure_of(RemoteAgent(here.url, protocol=protocol))
    assert error.reason in ("unreadable", "failed", "refused")
    assert len(here.posts) == 1


@pytest.mark.parametrize(
    ("content_type", "chunks"),
    [
        ("application/json", [b" " * 65_536] * 300),
        ("text/event-stream", [b"data: " + b"x" * 65_536] + [b"x" * 65_536] * 300),
        ("text/event-stream", [b"data: " + b"x" * 65_530 + b"\n"] * 300),
        ("text/event-stream", [b"x" * 65_536] * 300),
    ],
    ids=["JSON", "a line", "many lines", "no field"],
)
async def test_an_answer_without_an_end_is_not_read_for_ever(content_type: str, chunks: list[bytes]) -> None:
    async def behave(request: bytes, writer: asyncio.StreamWriter) -> None:
        if request.startswith(b"POST"):
            await says(writer, "200 OK", content_type, chunks)
        else:
            writer.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
            await writer.drain()

    with anyio.fail_after(10):
        async with raw_peer(behave) as here:
            error = await asked(here)
    assert error.reason == "unreadable"
    assert "too long" in error.message


async def test_pieces_without_an_end_are_not_kept_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pais_sdk.client.task_story.MAX_ANSWER_BYTES", 10_000)
    monkeypatch.setattr("pais_sdk.client.chat_story.MAX_ANSWER_BYTES", 10_000)

    def answer(seen: Seen) -> Any:
        if seen.path == CHAT:
            return sse(*[{"choices": [{"delta": {"content": "xy"}}]}] * 1000)
        if seen.body["method"] == "CancelTask":
            return rpc(seen, task_1_0("CANCELED"))
        return sse(*(rpc(seen, piece_1_0("", artifact_id=f"a{number}")) for number in range(1000)))

    with anyio.fail_after(5):
        async with peer(lambda seen: answer(seen) if seen.method == "POST" else None) as here:
            for protocol in ("a2a", "chat"):
                error = await failure_of(RemoteAgent(here.url, protocol=protocol))
                assert (error.reason, "too long" in error.message) == ("unreadable", True)
    assert [seen.body.get("method") for seen in here.posts] == ["SendMessage", "CancelTask", None]


async def test_progress_that_is_deep_is_cut_off_there() -> None:
    deep = "[" * 700 + "]" * 700
    progress = f'{{"choices": [], "progress": {{"action": "dig", "target": "hole", "step": 2.0, "detail": {deep}}}}}'
    last = {"choices": [{"delta": {"content": "ok"}, "finish_reason": "stop"}]}
    with anyio.fail_after(5):
        async with (
            peer(at(chat=sse(progress, last, "[DONE]"))) as here,
            RemoteAgent(here.url).stream("hello") as events,
        ):
            said = [event async for event in events]
    assert isinstance(said[0], RemoteProgress)
    assert (said[0].action, said[0].detail["step"], json.dumps(said[0].detail).count("[") < 50) == ("dig", 2, True)
    assert said[-1].text == "ok"  # pyright: ignore[reportAttributeAccessIssue]


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"\x00\x01garbage\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.1 999999 no\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: \x00\r\n\r\n",
    ],
)
async def test_an_agent_that_does_not_speak_http_is_a_failure(said: bytes) -> None:
    async def behave(request: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(said)
        await writer.drain()

    with anyio.fail_after(5):
        async with raw_peer(behave) as here:
            assert (await asked(here)).reason in ("failed", "unreadable")
            chat = await failure_of(RemoteAgent(here.url, protocol="chat"))
            assert chat.reason in ("failed", "unreadable")
    assert len(here.posts) == 1


async def never(request: bytes, writer: asyncio.StreamWriter) -> None:
    await asyncio.Event().wait()


async def test_an_agent_that_never_answers_is_given_up_after_a_silence_or_when_the_time_is_over() -> None:
    with anyio.fail_after(5):
        async with raw_peer(never) as here:
            silent = await failure_of(RemoteAgent(here.url, read_timeout_s=0.1))
            assert (silent.reason, "said nothing for 0.1 s" in silent.message) == ("timeout", True)
            late = await asked(here, timeout_s=0.1)
            assert (late.reason, "within 0.1 s" in late.message) == ("timeout", True)
            chat = await failure_of(RemoteAgent(here.url, protocol="chat", read_timeout_s=0.1))
            assert chat.reason == "timeout"
            assert (await asked(here, timeout_s=0)).reason == "timeout"
    assert len(here.posts) == 1


async def test_a_whole_answer_is_waited_for_longer_than_a_silence() -> None:
    done = asyncio.Event()

    async def answer(seen: Seen) -> Any:
        with anyio.move_on_after(0.3):
            await done.wait()  # never set: longer than the silence that is allowed in a stream
        return rpc(seen, {"task": task_1_0("COMPLETED", "at last")})

    card = card_1_0(streaming=False)
    with anyio.fail_after(5):
        async with peer(lambda seen: answer(seen) if seen.method == "POST" else card) as here:
            agent = RemoteAgent(here.url)
            await agent.card()
            agent._read_timeout_s = 0.1  # for the answer alone: a busy machine may need longer for the card
            assert (await agent.run("hello", timeout_s=5)).text == "at last"
            assert (await failure_of(agent)).reason == "timeout"


# A stream that breaks


def broken(*events: Any) -> Callable[[asyncio.StreamWriter], Any]:
    async def behave(writer: asyncio.StreamWriter) -> None:
        lines = [f"data: {json.dumps(event)}\n\n".encode() for event in events]
        await says(writer, "200 OK", "text/event-stream", lines)

    return behave


async def answered(writer: asyncio.StreamWriter, said: Any, status: str = "200 OK") -> None:
    body = json.dumps(said).encode()
    head = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    writer.write(head.encode() + body)
    await writer.drain()


def breaking_agent(looks: Iterable[Any], *events: Any) -> Callable[[bytes, asyncio.StreamWriter], Any]:
    """Break off after some events of a stream; then say this when asked for the task: a result, an error, or a cut."""
    left = iter(looks)

    sent: list[bytes] = []

    async def behave(request: bytes, writer: asyncio.StreamWriter) -> None:
        if request.startswith(b"GET"):
            await answered(writer, card_1_0())
        elif not sent:
            sent.append(request)
            await broken(*({"result": event} for event in events))(writer)
        else:
            said = next(left, None)
            if said is not None:
                await answered(writer, said)

    return behave


async def test_a_chat_that_breaks_off_is_a_failure_and_not_sent_again() -> None:
    async def behave(request: bytes, writer: asyncio.StreamWriter) -> None:
        await broken({"choices": [{"delta": {"content": "so far"}}]})(writer)

    with anyio.fail_after(5):
        async with raw_peer(behave) as here:
            error = await failure_of(RemoteAgent(here.url, protocol="chat"))
    assert (error.reason, len(here.posts)) == ("failed", 1)
    assert "may have done some of the task" in error.message


async def test_a_stream_that_ends_without_an_end_is_a_failure() -> None:
    with anyio.fail_after(5):
        async with peer(at(chat=sse({"choices": [{"delta": {"content": "so far"}}]}))) as here:
            assert (await asked(here)).reason == "failed"
        finished = {"choices": [{"delta": {}, "finish_reason": "stop"}]}
        async with peer(at(chat=sse({"choices": [{"delta": {"content": "all"}}]}, finished))) as here:
            assert (await RemoteAgent(here.url).run("hello")).text == "all"


async def test_an_a2a_stream_that_breaks_before_the_task_is_known_is_not_sent_again() -> None:
    with anyio.fail_after(5):
        async with raw_peer(breaking_agent([])) as here:
            assert (await asked(here)).reason == "failed"
    assert here.methods == ["SendStreamingMessage"]


async def test_a_task_whose_stream_breaks_is_asked_for_until_it_is_over() -> None:
    looks = [None, {"result": task_1_0("WORKING", "a", "b")}, {"result": task_1_0("COMPLETED", "a", "b", "c")}]
    with anyio.fail_after(10):
        async with (
            raw_peer(breaking_agent(looks, {"task": task_1_0("WORKING")}, piece_1_0("a"))) as here,
            RemoteAgent(here.url).stream("hello") as events,
        ):
            said = [event async for event in events]
    assert [event.text for event in said if isinstance(event, RemoteText)] == ["a", "b", "c"]
    assert said[-1].text == "abc"  # pyright: ignore
    assert here.methods == ["SendStreamingMessage", "GetTask", "GetTask", "GetTask"]


@pytest.mark.parametrize(
    ("looks", "reason", "methods"),
    [
        ([{"result": task_1_0("FAILED")}], "failed", ["GetTask"]),
        ([{"error": {"code": -32001, "message": "Task not found"}}], "failed", ["GetTask", "CancelTask"]),
        ([{"result": {"odd": 1}}], "unreadable", ["GetTask", "CancelTask"]),
        ([{"result": task_1_0("WORKING")}, None, None, None, None], "failed", ["GetTask"] * 5 + ["CancelTask"]),
    ],
    ids=["failed", "unknown", "odd", "lost"],
)
async def test_a_task_that_cannot_be_told_to_have_ended_well_is_a_failure(
    looks: list[Any], reason: str, methods: list[str]
) -> None:
    with anyio.fail_after(10):
        async with raw_peer(breaking_agent(looks, {"task": task_1_0("WORKING")})) as here:
            assert (await asked(here)).reason == reason
    assert here.methods == ["SendStreamingMessage", *methods]


async def test_garbage_in_the_middle_of_a_stream_is_asked_about() -> None:
    def answer(seen: Seen) -> Any:
        if seen.body["method"] == "GetTask":
            return rpc(seen, task_1_0("COMPLETED", "right"))
        return sse(rpc(seen, {"task": task_1_0("WORKING")}), "garbage")

    with anyio.fail_after(5):
        async with peer(a2a_1_0(answer)) as here:
            assert (await RemoteAgent(here.url).run("hello")).text == "right"
    assert here.methods == ["SendStreamingMessage", "GetTask"]


# A key goes to one origin only


async def test_a_redirect_does_not_get_the_task_or_the_key() -> None:
    with anyio.fail_after(5):
        async with peer(kaos_old()) as thief:
            redirect = RedirectResponse(f"{thief.url}{CHAT}", 307)
            async with peer(at(chat=redirect, rpc=redirect)) as here:
                for protocol in ("a2a", "chat"):
                    error = await failure_of(RemoteAgent(here.url, api_key=KEY, protocol=protocol))
                    assert error.reason == "refused"
    assert thief.seen == []


async def test_a_card_that_names_another_host_does_not_get_the_task_or_the_key() -> None:
    with anyio.fail_after(5):
        async with peer(kaos_old()) as thief:

            def answer(seen: Seen) -> Any:
                if seen.method == "GET":
                    return card_1_0(f"{thief.url}/", streaming=False)
                return rpc(seen, {"task": task_1_0("COMPLETED", "mine")})

            async with peer(answer) as here:
                assert (await RemoteAgent(here.url, api_key=KEY).run("hello")).text == "mine"
    assert thief.seen == []
