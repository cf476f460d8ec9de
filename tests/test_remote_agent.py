"""Remote agents of every protocol and make, asked over real sockets."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import anyio
import httpx2
import pytest
from opentelemetry.trace import NonRecordingSpan, SpanContext, use_span
from pydantic_ai import Agent
from pydantic_ai.messages import ModelMessage
from starlette.responses import JSONResponse

from pais_sdk import Settings
from pais_sdk.client import (
    RemoteAgent,
    RemoteAnswer,
    RemoteCard,
    RemoteEvent,
    RemoteProgress,
    RemoteText,
    RemoteUsage,
)

from .agents import Pieces, last_user_text, model_of
from .http_agents import RecordingModel, adding_agent, served
from .peers import (
    Listener,
    Seen,
    a2a_1_0,
    at,
    kaos_new,
    kaos_old,
    official,
    peer,
    piece_1_0,
    rpc,
    rpc_error,
    sse,
    status_1_0,
    task_1_0,
)

pytestmark = pytest.mark.anyio


async def told_by(agent: RemoteAgent, task: str, **options: Any) -> list[RemoteEvent]:
    async with agent.stream(task, **options) as events:
        return [event async for event in events]


def text_of(events: list[RemoteEvent]) -> str:
    return "".join(event.text for event in events if isinstance(event, RemoteText))


def answer_of(events: list[RemoteEvent]) -> RemoteAnswer:
    assert isinstance(events[-1], RemoteAnswer)
    assert not any(isinstance(event, RemoteAnswer) for event in events[:-1])
    return events[-1]


def hearing_agent() -> Agent[Any, str]:
    async def stream(messages: list[ModelMessage], info: Any) -> Pieces:
        yield "ours "
        yield f"heard {last_user_text(messages)}"

    return Agent(model_of(stream), name="ours")


@asynccontextmanager
async def ours(**options: Any) -> AsyncGenerator[str]:
    async with served(hearing_agent(), **options) as here:
        yield here.url


@asynccontextmanager
async def theirs(version: str, *, streaming: bool) -> AsyncGenerator[str]:
    async with official(Listener(), version=version, streaming=streaming) as here:
        yield here.url


@asynccontextmanager
async def of_kaos(answer: Callable[[Seen], Any]) -> AsyncGenerator[str]:
    async with peer(answer) as here:
        yield here.url


MAKES: dict[str, tuple[Callable[[], AbstractAsyncContextManager[str]], str, str]] = {
    "ours": (ours, "a2a-1.0", "ours heard hello"),
    "ours without A2A": (lambda: ours(settings=Settings(agent_a2a=False)), "chat", "ours heard hello"),
    "1.0, streaming": (lambda: theirs("1.0", streaming=True), "a2a-1.0", "official heard hello"),
    "1.0, plain": (lambda: theirs("1.0", streaming=False), "a2a-1.0", "official heard hello"),
    "0.3, streaming": (lambda: theirs("0.3", streaming=True), "a2a-0.3", "official heard hello"),
    "0.3, plain": (lambda: theirs("0.3", streaming=False), "a2a-0.3", "official heard hello"),
    "newer KAOS": (lambda: of_kaos(kaos_new()), "a2a-kaos", "cousin heard hello"),
    "older KAOS": (lambda: of_kaos(kaos_old()), "chat", "elder heard hello"),
}


@pytest.mark.parametrize("make", MAKES)
async def test_an_agent_of_any_make_answers_and_goes_on_in_its_session(make: str) -> None:
    open_peer, protocol, text = MAKES[make]
    with anyio.fail_after(10):
        async with open_peer() as url, RemoteAgent(url) as agent:
            events = await told_by(agent, "hello", context="Before: nothing.", timeout_s=5, chain=["kaos://agent/x/y"])
            answer = answer_of(events)
            assert answer.text == text_of(events) == text
            assert answer.protocol == protocol == (await agent.card()).protocol
            assert answer.session_id
            again = await agent.run("hello", session_id=answer.session_id)
            assert again.text == text
            assert again.session_id == answer.session_id


@pytest.mark.parametrize("protocol", ["a2a", "chat"])
async def test_our_own_agent_hears_the_context_as_instructions_and_tells_progress_and_usage(protocol: Any) -> None:
    with anyio.fail_after(10):
        async with served(adding_agent()) as here, RemoteAgent(here.url, protocol=protocol) as agent:
            events = await told_by(agent, "add", session_id="s-1", context="The user likes sums.")
            assert text_of(events) == answer_of(events).text == "Let me add.\n\nThe sum is 3."
            progress = [event for event in events if isinstance(event, RemoteProgress)]
            assert [(event.action, event.target, event.detail["step"]) for event in progress] == [
                ("tool_call", "add", 1)
            ]
            assert type(progress[0].detail["step"]) is int
            answer = answer_of(events)
            assert answer.session_id == "s-1"
            assert (answer.usage.input_tokens, answer.usage.output_tokens) > (0, 0)
            assert answer.task_id is None if protocol == "chat" else answer.task_id
            said = await here.events("s-1")
            assert said[0] == ("user_message", "add")

    model = RecordingModel()
    with anyio.fail_after(10):
        async with (
            served(Agent(model.model, name="listener")) as here,
            RemoteAgent(here.url, protocol=protocol) as agent,
        ):
            await agent.run("task", context="The user likes sums.")
            assert "The user likes sums." in str(model.info.instructions)
            assert last_user_text(model.messages) == "task"


@pytest.mark.parametrize("answer", [kaos_new(), kaos_old()], ids=["A2A", "chat"])
async def test_each_request_carries_the_key_the_headers_and_the_trace_and_each_task_the_chain_and_its_time(
    answer: Any,
) -> None:
    span = NonRecordingSpan(SpanContext(0xAF7651916CD43DD8448EB211C80319C, 0xB7AD6B7169203331, is_remote=False))
    with anyio.fail_after(10), use_span(span):
        async with peer(answer) as here:
            headers = {"X-Tenant": "blue"}
            agent = RemoteAgent(here.url, api_key="the-key", headers=headers)
            await agent.run("hello", timeout_s=30, chain=["kaos://agent/a/b", "größe, 50%"])
    for seen in here.seen:
        assert seen.headers["authorization"] == "Bearer the-key"
        assert seen.headers["x-tenant"] == "blue"
        assert seen.headers["traceparent"].startswith("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331")
    assert len(here.posts) == 1
    task = here.posts[0].headers
    assert task["x-delegation-chain"] == "kaos://agent/a/b,gr%C3%B6%C3%9Fe%2C%2050%25"
    assert 0 < float(task["x-run-timeout"]) <= 30


@pytest.mark.parametrize("store", [True, False])
@pytest.mark.parametrize("make", ["chat", "a2a-kaos", "a2a-1.0"])
async def test_a_task_says_that_it_is_not_to_be_stored(make: str, store: bool) -> None:
    answers = {
        "chat": kaos_old(),
        "a2a-kaos": kaos_new(),
        "a2a-1.0": a2a_1_0(lambda seen: sse(rpc(seen, {"task": task_1_0("COMPLETED", "a")}))),
    }
    with anyio.fail_after(5):
        async with peer(answers[make]) as here:
            await RemoteAgent(here.url).run("hello", store=store)
    body = here.posts[0].body
    said = body if make == "chat" else body["params"]["message"].get("metadata", {})
    assert said.get("store") is (None if store else False)
    assert make != "a2a-kaos" or said["delegation"] is True


@pytest.mark.parametrize("protocol", ["a2a", "chat"])
async def test_our_own_agent_does_not_keep_a_task_that_is_not_to_be_stored(protocol: Any) -> None:
    with anyio.fail_after(10):
        async with served(hearing_agent()) as here, RemoteAgent(here.url, protocol=protocol) as agent:
            await agent.run("hello", session_id="kept")
            await agent.run("hello", session_id="not-kept", store=False)
            assert await here.events("kept")
            assert await here.events("not-kept") == []


async def test_a_chat_is_asked_plainly_where_nobody_wants_progress_and_it_has_a_time() -> None:
    with anyio.fail_after(10):
        async with served(adding_agent()) as here, peer(kaos_old()) as elder:
            agent = RemoteAgent(here.url, protocol="chat")
            events = await told_by(agent, "add", progress=False, timeout_s=30)
            assert [type(event) for event in events] == [RemoteText, RemoteAnswer]
            assert answer_of(events).text == text_of(events) == "Let me add.\n\nThe sum is 3."
            assert answer_of(events).usage.input_tokens > 0
            assert answer_of(events).session_id

            await RemoteAgent(elder.url).run("hello", timeout_s=30)
            await RemoteAgent(elder.url).run("hello")  # then only what comes says that the agent is alive
            await told_by(RemoteAgent(elder.url), "hello", timeout_s=30)
    assert [seen.body["stream"] for seen in elder.posts] == [False, True, True]
    assert ["stream_options" in seen.body for seen in elder.posts] == [False, True, True]


async def test_a_plain_chat_may_be_silent_for_as_long_as_the_task_may_take() -> None:
    async def answer(seen: Seen) -> Any:
        with anyio.move_on_after(0.3):
            await asyncio.Event().wait()  # never set: longer than the silence that is allowed otherwise
        return completion("at last")

    with anyio.fail_after(5):
        async with peer(at(chat=answer)) as here:
            agent = RemoteAgent(here.url, protocol="chat", read_timeout_s=0.1)
            assert (await agent.run("hello", timeout_s=5)).text == "at last"


async def test_a_task_has_any_time_where_that_is_infinite() -> None:
    with anyio.fail_after(5):
        async with peer(kaos_old()) as here:
            assert (await RemoteAgent(here.url).run("hello", timeout_s=math.inf)).text == "elder heard hello"
    assert "x-run-timeout" not in here.posts[0].headers


@pytest.mark.parametrize("protocol", ["a2a", "chat"])
async def test_a_task_with_half_a_character_is_taken(protocol: Any) -> None:
    with anyio.fail_after(5):
        async with ours() as url:
            assert (
                await RemoteAgent(url, protocol=protocol).run("a\ud83d", context="\ud83d")
            ).text == "ours heard a\ufffd"


async def test_an_answer_that_came_in_time_is_not_late_because_of_what_comes_after_it() -> None:
    last = {"choices": [{"delta": {"content": "all"}, "finish_reason": "stop"}]}
    with anyio.fail_after(5):
        async with (
            peer(at(chat=sse(last, "[DONE]", ends=asyncio.Event().wait))) as here,
            RemoteAgent(here.url).stream("hello", timeout_s=60) as events,
        ):
            assert isinstance(await anext(events), RemoteText)
            assert isinstance(await anext(events), RemoteAnswer)
            events._deadline._at = anyio.current_time()  # pyright: ignore
            assert [event async for event in events] == []


@pytest.mark.parametrize("given", [{"x-session-id": "a\u0080"}, {"x-session-id": "s" * 1000}])
async def test_a_session_that_could_not_be_gone_on_in_is_none(given: dict[str, str]) -> None:
    said = JSONResponse(completion("hi"), headers=given)
    with anyio.fail_after(5):
        async with peer(at(chat=said)) as here:
            assert (await RemoteAgent(here.url).run("hello")).session_id is None
        async with peer(at(chat={**completion("hi"), "session_id": "s" * 1000})) as here:
            assert (await RemoteAgent(here.url).run("hello")).session_id is None
    events = await answered({"task": {**task_1_0("COMPLETED"), "contextId": "a\nb"}})
    assert answer_of(events).session_id is None


async def test_a_task_without_a_chain_and_a_timeout_says_nothing_of_them() -> None:
    with anyio.fail_after(5):
        async with peer(kaos_old()) as here:
            await RemoteAgent(here.url).run("hello")
    headers = here.posts[0].headers
    assert not {"x-delegation-chain", "x-run-timeout", "authorization", "x-session-id"} & headers.keys()


async def test_an_older_agent_of_kaos_tells_progress_as_text_and_its_session_as_the_id() -> None:
    with anyio.fail_after(5):
        async with peer(kaos_old()) as here:
            events = await told_by(RemoteAgent(here.url), "hello")
    assert [type(event) for event in events] == [RemoteProgress, RemoteText, RemoteAnswer]
    assert answer_of(events).session_id == "session_0123456789ab"


# What A2A agents say


async def answered(*said: Any, streaming: bool = True) -> list[RemoteEvent]:
    """Return what the caller hears of an agent of A2A 1.0 that says this, in a stream or at once."""

    def answer(seen: Seen) -> Any:
        if seen.body["method"] == "SendStreamingMessage":
            return sse(*(rpc(seen, item) for item in said))
        return rpc(seen, said[0])

    with anyio.fail_after(5):
        async with peer(a2a_1_0(answer, streaming=streaming)) as here:
            return await told_by(RemoteAgent(here.url), "hello")


USAGE = {"input_tokens": 3.0, "output_tokens": 2.0, "requests": 1.0, "details": {"delegated_requests": 4.0, "odd": -1}}

SPOKEN: dict[str, tuple[list[Any], list[str], str]] = {
    "pieces are joined": (
        [{"task": task_1_0("WORKING")}, piece_1_0("a", append=False), piece_1_0("b"), status_1_0("COMPLETED")],
        ["a", "b"],
        "ab",
    ),
    "a piece may begin an artifact": ([piece_1_0("a"), status_1_0("COMPLETED")], ["a"], "a"),
    "the task at the end has the rest": (
        [piece_1_0("a"), {"task": task_1_0("COMPLETED", "a", "b")}],
        ["a", "b"],
        "ab",
    ),
    "what is taken back is not in the answer": (
        [piece_1_0("wrong"), piece_1_0("right", append=False), status_1_0("COMPLETED")],
        ["wrong"],
        "right",
    ),
    "two artifacts are apart": (
        [piece_1_0("a"), piece_1_0("b", artifact_id="b"), status_1_0("COMPLETED")],
        ["a", "\n\nb"],
        "a\n\nb",
    ),
    "two artifacts that grow together": (
        [piece_1_0("a"), piece_1_0("b", artifact_id="b"), piece_1_0("A"), status_1_0("COMPLETED")],
        ["a", "\n\nb"],
        "aA\n\nb",
    ),
    "only a message": ([{"message": {"parts": [{"text": "hi"}, {"text": "you"}]}}], ["hi\nyou"], "hi\nyou"),
    "only words of the status": ([status_1_0("COMPLETED", "done")], ["done"], "done"),
    "only the history": (
        [{"task": task_1_0("COMPLETED", history=[{"role": "ROLE_AGENT", "parts": [{"text": "old"}]}])}],
        ["old"],
        "old",
    ),
    "only data": (
        [{"task": {**task_1_0("COMPLETED"), "artifacts": [{"parts": [{"data": {"n": 1}}]}]}}],
        ['{"n": 1}'],
        '{"n": 1}',
    ),
    "data of a2a-sdk": (
        [{"task": {**task_1_0("COMPLETED"), "artifacts": [{"parts": [{"data": {"n": [1.0, 1.5]}}]}]}}],
        ['{"n": [1, 1.5]}'],
        '{"n": [1, 1.5]}',
    ),
    "data beside text": (
        [{"task": {**task_1_0("COMPLETED"), "artifacts": [{"parts": [{"text": "1"}, {"data": {"n": 1}}]}]}}],
        ["1"],
        "1",
    ),
    "a file": (
        [{"task": {**task_1_0("COMPLETED"), "artifacts": [{"parts": [{"url": "http://x/y", "filename": "y"}]}]}}],
        ["[file: y, http://x/y]"],
        "[file: y, http://x/y]",
    ),
    "nothing": ([status_1_0("COMPLETED")], [], ""),
    "half a character": (
        [piece_1_0("\ud83d"), piece_1_0("\ude00"), status_1_0("COMPLETED")],
        ["\ud83d", "\ude00"],
        "😀",
    ),
    "a question": (
        [status_1_0("INPUT_REQUIRED", "Which one?")],
        [],
        "The agent asks for more before it goes on: Which one?",
    ),
}


@pytest.mark.parametrize("case", SPOKEN)
async def test_the_answer_of_an_a2a_agent_is_read_however_it_is_said(case: str) -> None:
    said, pieces, text = SPOKEN[case]
    events = await answered(*said)
    assert [event.text for event in events if isinstance(event, RemoteText)] == pieces
    assert answer_of(events).text == text
    if len(said) == 1:
        assert answer_of(await answered(*said, streaming=False)).text == text


async def test_an_a2a_agent_tells_its_state_its_progress_and_its_usage() -> None:
    step = {"type": "progress", "action": "delegate", "target": "worker", "step": 2.0, "detail": {"n": [1.0, 1.5]}}
    events = await answered(
        {"task": task_1_0("SUBMITTED")},
        status_1_0("WORKING", "Thinking."),
        status_1_0("WORKING", "Thinking."),
        status_1_0("WORKING", progress=step),
        piece_1_0("ok"),
        status_1_0("COMPLETED", usage=USAGE),
    )
    assert events[:2] == [
        RemoteProgress("status", "newcomer", {"text": "Thinking."}),
        RemoteProgress("delegate", "worker", {**step, "step": 2, "detail": {"n": [1, 1.5]}}),
    ]
    assert answer_of(events) == RemoteAnswer(
        text="ok",
        protocol="a2a-1.0",
        session_id="context-1",
        task_id="task-1",
        usage=RemoteUsage(input_tokens=3, output_tokens=2, requests=1, details={"delegated_requests": 4}),
    )


async def test_an_agent_that_cannot_stream_whatever_its_card_says_is_asked_plainly() -> None:
    def answer(seen: Seen) -> Any:
        if seen.body["method"] == "SendStreamingMessage":
            return rpc_error(seen, -32004)
        return rpc(seen, {"task": task_1_0("COMPLETED", "plain")})

    with anyio.fail_after(5):
        async with peer(a2a_1_0(answer)) as here:
            assert (await RemoteAgent(here.url).run("hello")).text == "plain"
    assert here.methods == ["SendStreamingMessage", "SendMessage"]


async def test_an_agent_that_answers_before_the_task_is_done_is_asked_again_until_it_is() -> None:
    looks = iter(["WORKING", "WORKING", "COMPLETED"])

    def answer(seen: Seen) -> Any:
        if seen.body["method"] == "SendMessage":
            return rpc(seen, {"task": task_1_0("SUBMITTED")})
        assert seen.body["params"]["id"] == "task-1"
        return rpc(seen, task_1_0(next(looks), "a"))

    with anyio.fail_after(5):
        async with peer(a2a_1_0(answer, streaming=False)) as here:
            events = await told_by(RemoteAgent(here.url), "hello")
    assert (text_of(events), answer_of(events).text) == ("a", "a")
    assert here.methods == ["SendMessage", "GetTask", "GetTask", "GetTask"]


# What chat completions say


def completion(content: Any, **more: Any) -> dict[str, Any]:
    return {"id": "chatcmpl-1", "choices": [{"index": 0, "message": {"role": "assistant", "content": content}}], **more}


@pytest.mark.parametrize(
    ("said", "text"),
    [
        (completion("hi"), "hi"),
        (completion(None), ""),
        (completion([{"type": "text", "text": "h"}, {"type": "text", "text": "i"}]), "hi"),
        (completion("\ud83d"), "\ufffd"),
    ],
)
async def test_an_api_that_does_not_stream_is_read_as_well(said: Any, text: str) -> None:
    usage = {"prompt_tokens": 5, "completion_tokens": 7, "requests": 2, "details": {"delegated_requests": 1}}
    with anyio.fail_after(5):
        async with peer(at(chat={**said, "session_id": "s-9", "usage": usage})) as here:
            answer = await RemoteAgent(here.url).run("hello")
    assert answer == RemoteAnswer(
        text=text,
        protocol="chat",
        session_id="s-9",
        usage=RemoteUsage(input_tokens=5, output_tokens=7, requests=2, details={"delegated_requests": 1}),
    )
    assert here.posts[0].body["messages"] == [{"role": "user", "content": "hello"}]
    assert here.posts[0].body["stream_options"] == {"include_usage": True}


async def test_text_that_only_looks_like_progress_is_text() -> None:
    texts = ['{"type": "weather"}', '{"progress": ', '{"type": "progress"}']
    chunks = [{"choices": [{"index": 0, "delta": {"content": text}}]} for text in texts]
    with anyio.fail_after(5):
        async with peer(at(chat=sse(*chunks, "[DONE]"))) as here:
            events = await told_by(RemoteAgent(here.url), "hello")
    assert text_of(events) == answer_of(events).text == "".join(texts)


# Connections


async def test_tasks_share_one_client_which_the_last_one_closes() -> None:
    with anyio.fail_after(5):
        async with peer(kaos_old()) as here:
            agent = RemoteAgent(here.url)
            async with agent:
                client = agent._connections.enter()
                async with agent:
                    await asyncio.gather(*(agent.run("hello") for _ in range(10)))
                assert not client.is_closed
                await agent._connections.leave()
                assert not client.is_closed
            assert client.is_closed
            assert (await agent.run("hello")).text == "elder heard hello"
            assert not agent._connections._held
    assert len([seen for seen in here.seen if seen.method == "GET"]) == 2  # both cards once, for all of them


async def test_a_client_that_is_given_is_used_and_never_closed() -> None:
    with anyio.fail_after(5):
        async with peer(kaos_old()) as here, httpx2.AsyncClient(headers={"x-mine": "1"}) as client:
            async with RemoteAgent(here.url, http_client=client) as agent:
                await agent.run("hello")
                await agent.close()
                await agent.run("hello")
            assert not client.is_closed
    assert here.posts[0].headers["x-mine"] == "1"


async def test_one_agent_is_used_on_two_event_loops() -> None:
    with anyio.fail_after(10):
        async with peer(kaos_old()) as here, RemoteAgent(here.url) as agent:
            await agent.run("hello")
            there = await asyncio.to_thread(lambda: asyncio.run(agent.run("there")))
            assert there.text == "elder heard there"
            assert (await agent.run("hello")).text == "elder heard hello"


async def test_who_closes_and_leaves_later_does_not_close_what_others_opened_meanwhile() -> None:
    asked, done = asyncio.Event(), asyncio.Event()

    async def answer(seen: Seen) -> Any:
        asked.set()
        await done.wait()
        return completion("at last")

    with anyio.fail_after(5):
        async with peer(at(chat=answer)) as here:
            agent = RemoteAgent(here.url)
            async with agent:
                await agent.close()
                task = asyncio.create_task(agent.run("hello"))
                await asked.wait()
            done.set()
            assert (await task).text == "at last"
            assert not agent._connections._held


async def test_close_closes_what_is_held_and_the_next_task_opens_it_again() -> None:
    with anyio.fail_after(5):
        async with peer(kaos_old()) as here, RemoteAgent(here.url) as agent:
            client = agent._connections.enter()
            await agent.close()
            assert client.is_closed
            assert (await agent.run("hello")).text == "elder heard hello"
            await agent.close()


async def test_the_answer_is_heard_piece_by_piece() -> None:
    listener = Listener()
    listener.gate.clear()
    with anyio.fail_after(5):
        async with (
            official(listener, version="1.0", streaming=True) as here,
            RemoteAgent(here.url).stream("hello") as events,
        ):
            assert await anext(events) == RemoteText("official ")
            listener.gate.set()
            assert [type(event) async for event in events] == [RemoteText, RemoteAnswer]
    part = listener.heard[0].parts[-1]
    assert part.text == "hello"


async def test_a_card_is_known_when_it_was_found() -> None:
    with anyio.fail_after(5):
        async with peer(kaos_new()) as here:
            agent = RemoteAgent(here.url + "/")
            assert agent.known_card is None
            card = await agent.card()
            assert agent.known_card is card
            assert card == RemoteCard(
                name="cousin",
                description="A cousin.",
                url=f"{here.url}/",
                protocol="a2a-kaos",
                streaming=False,
                skills=("a",),
            )
            assert await agent.card() is card
            assert await agent.card(refresh=True) is not card
