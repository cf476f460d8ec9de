"""Many clients at once, and clients that hang up: nobody sees another's session, and nothing is left behind."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import httpx
import pytest
from anyio import Event, fail_after
from pydantic_ai import Agent, RunContext
from pydantic_ai.exceptions import ModelHTTPError
from pydantic_ai.messages import ModelMessage
from pydantic_ai.models.function import AgentInfo, DeltaToolCall

from pais_sdk import AgentDeps, LocalMemory, Settings

from .agents import GatedModel, Pieces, last_user_text, model_of, user_texts
from .http_agents import CHAT, Served, body, chunks_of, content_of, error_of, lines_of, served, text_of, until

pytestmark = pytest.mark.anyio

MANY = 50

plain_and_streamed = pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])


def telling_agent() -> Agent[AgentDeps, str]:
    """Return an agent that answers with what its tool knows of the session, and with all that the user said in it."""

    async def stream(messages: list[ModelMessage], info: AgentInfo) -> Pieces:
        last = messages[-1].parts[-1]
        if last.part_kind == "user-prompt":
            await asyncio.sleep(0)  # let others in between
            yield {0: DeltaToolCall("where", "{}", tool_call_id=f"call_{last_user_text(messages)}")}
        else:
            yield f"{last.content}: "  # type: ignore[union-attr]
            await asyncio.sleep(0)
            yield ", ".join(user_texts(messages))

    agent = Agent(model_of(stream), deps_type=AgentDeps)

    @agent.tool
    async def where(ctx: RunContext[AgentDeps]) -> str:  # pyright: ignore[reportUnusedFunction]
        await asyncio.sleep(0)
        events = await ctx.deps.memory.get_events(ctx.deps.session_id)
        return f"{ctx.deps.session_id} with {sum(event.event_type == 'user_message' for event in events)}"

    return agent


async def test_fifty_sessions_at_once_do_not_see_each_other() -> None:
    texts: dict[str, list[str]] = {}

    async def talk(here: Served, number: int) -> None:
        for turn in ("a", "b"):
            request = body(f"{number}{turn}", session_id=f"s{number}")
            if number % 2:
                text = text_of(await chunks_of(here, request))
            else:
                text = content_of(await here.http.post(CHAT, json=request))
            texts.setdefault(f"s{number}", []).append(text)

    with fail_after(20):
        async with served(telling_agent()) as here, anyio.create_task_group() as group:
            for number in range(MANY):
                group.start_soon(talk, here, number)
    assert texts == {f"s{n}": [f"s{n} with 0: {n}a", f"s{n} with 1: {n}a, {n}b"] for n in range(MANY)}


async def test_one_session_asked_fifty_times_at_once_answers_in_turn() -> None:
    with fail_after(20):
        async with served(telling_agent(), history_limit=1000) as here:
            answers = await asyncio.gather(*(here.ask(str(n), session_id="s") for n in range(MANY)))
    counts = sorted(len(content_of(answer).split(", ")) for answer in answers)
    assert counts == list(range(1, MANY + 1))


GREET = [{"tool_calls": [{"id": "c1", "name": "greet", "arguments": {"name": "Alice"}}]}, "Hello, Alice!"]


@pytest.mark.parametrize("entries", [GREET, [json.dumps(GREET[0]), GREET[1]]], ids=["objects", "strings"])
async def test_mock_responses_of_the_environment_are_right_in_every_one_of_fifty_runs(
    entries: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DEBUG_MOCK_RESPONSES", json.dumps(entries))
    greeted = Counter[str]()
    agent = Agent(name="greeter")

    @agent.tool_plain
    async def greet(name: str) -> str:  # pyright: ignore[reportUnusedFunction]
        greeted[name] += 1
        return f"greeted {name}"

    with fail_after(20):
        async with served(agent) as here:
            plain = await asyncio.gather(*(here.ask("greet") for _ in range(MANY)))
            streamed = await asyncio.gather(*(chunks_of(here, body("greet")) for _ in range(MANY)))
            twice = [content_of(await here.ask("greet", session_id="same")) for _ in range(2)]
    assert {content_of(answer) for answer in plain} == {"Hello, Alice!"} == {text_of(chunks) for chunks in streamed}
    assert twice == ["Hello, Alice!"] * 2
    assert greeted == {"Alice": 2 * MANY + 2}
    assert len({answer.headers["x-session-id"] for answer in plain}) == MANY


@plain_and_streamed
@pytest.mark.parametrize(
    ("options", "status", "code", "headers"),
    [
        ({"on_busy": "reject"}, 409, "session_busy", {}),
        ({"busy_wait_s": 0.01}, 409, "session_busy", {"x-should-retry": "false"}),
        ({"max_active_runs": 1, "max_queued_runs": 0}, 429, "rate_limit_exceeded", {"retry-after": "1"}),
        ({"max_active_runs": 1, "busy_wait_s": 0.01}, 429, "rate_limit_exceeded", {"retry-after": "1"}),
    ],
)
async def test_a_second_run_is_refused_without_a_request_to_the_model_and_the_first_goes_on(
    options: Any, status: int, code: str, headers: dict[str, str], stream: bool
) -> None:
    gated = GatedModel()
    with fail_after(5):
        async with served(Agent(gated.model), **options) as here:
            first = asyncio.create_task(here.ask("first", session_id="s"))
            await gated.said_first.wait()
            session_id = "s" if status == 409 else "other"
            refused = await here.ask("second", session_id=session_id, stream=stream)
            gated.gate.set()
            assert content_of(await first) == "one two"
    assert (refused.status_code, error_of(refused)["code"], error_of(refused)["type"]) == (status, code, code)
    told = ("retry-after", "x-should-retry")
    assert {name: refused.headers[name] for name in told if name in refused.headers} == headers
    assert refused.headers["x-session-id"] == session_id
    assert gated.requests == 1


async def test_a_second_run_waits_for_the_first_and_sees_it() -> None:
    gated = GatedModel()
    with fail_after(5):
        async with served(Agent(gated.model)) as here:
            first = asyncio.create_task(here.ask("first", session_id="s"))
            await gated.said_first.wait()
            second = asyncio.create_task(here.http.post(CHAT, json=body("second", session_id="s")))
            await until(lambda: here.runtime.admission.waiting == 1)
            gated.gate.set()
            assert {(await answer).status_code for answer in (first, second)} == {200}
            said = [content for kind, content in await here.events("s") if kind == "user_message"]
    assert said == ["first", "second"]


@asynccontextmanager
async def asking(here: Served, *, stream: bool, session_id: str) -> AsyncGenerator[httpx.Response | None]:
    """Send a request on a connection of its own; leaving the block hangs up."""
    request: Any = {"json": body("hi", stream=stream), "headers": {"X-Session-ID": session_id}}
    async with httpx.AsyncClient(base_url=here.url, timeout=5) as client:
        if stream:
            async with client.stream("POST", CHAT, **request) as answer:
                yield answer
        else:
            task = asyncio.create_task(client.post(CHAT, **request))
            yield None
            task.cancel()
            await asyncio.wait([task])


@plain_and_streamed
async def test_a_client_that_hangs_up_stops_its_model_and_frees_its_session(stream: bool) -> None:
    gated = GatedModel()
    with fail_after(5):
        async with served(Agent(gated.model)) as here:
            async with asking(here, stream=stream, session_id="s") as answer:
                if answer is not None:
                    async for line in lines_of(answer):
                        if "one " in line:
                            break
                await gated.said_first.wait()
            await gated.cancelled.wait()
            await until(lambda: here.runtime.admission.active == 0)
            partial = [("agent_response", "one ")] if stream else []  # a plain run has no partial answer
            assert await here.events("s") == [("user_message", "hi"), *partial]
            gated.gate.set()
            assert content_of(await here.ask("again", session_id="s")) == "one two"


@plain_and_streamed
async def test_with_finish_a_run_goes_on_after_its_client_hangs_up(stream: bool) -> None:
    gated = GatedModel()
    with fail_after(5):
        async with served(Agent(gated.model), on_disconnect="finish") as here:
            async with asking(here, stream=stream, session_id="s"):
                await gated.said_first.wait()
            assert here.runtime.admission.active == 1
            gated.gate.set()
            await until(lambda: here.runtime.admission.active == 0)
            assert await here.events("s") == [("user_message", "hi"), ("agent_response", "one two")]
            assert not gated.cancelled.is_set()


@plain_and_streamed
async def test_a_client_that_hangs_up_while_it_waits_for_its_session_leaves_no_trace(stream: bool) -> None:
    gated = GatedModel()
    with fail_after(5):
        async with served(Agent(gated.model)) as here:
            first = asyncio.create_task(here.ask("first", session_id="s"))
            await gated.said_first.wait()
            second = asyncio.create_task(here.ask("second", session_id="s", stream=stream))
            await until(lambda: here.runtime.admission.waiting == 1)
            second.cancel()
            await until(lambda: here.runtime.admission.waiting == 0)
            gated.gate.set()
            assert content_of(await first) == "one two"
            assert await here.events("s") == [("user_message", "first"), ("agent_response", "one two")]
    assert gated.requests == 1


@plain_and_streamed
@pytest.mark.parametrize("ending", ["hang up", "time out", "upstream error", "too many steps"])
async def test_a_session_goes_on_after_a_run_that_ended_in_a_tool(ending: str, stream: bool) -> None:
    began, stopped = Event(), Event()

    async def answer(messages: list[ModelMessage], info: AgentInfo) -> Pieces:
        if last_user_text(messages).endswith("again"):
            yield "well"
        elif ending == "upstream error" and len(messages) > 1:
            raise ModelHTTPError(500, "m")
        else:
            yield {0: DeltaToolCall("wait", "{}", tool_call_id=f"c{len(messages)}")}

    agent = Agent(model_of(answer))

    @agent.tool_plain
    async def wait() -> str:  # pyright: ignore[reportUnusedFunction]
        began.set()
        if ending in ("hang up", "time out"):
            try:
                await anyio.sleep_forever()
            finally:
                stopped.set()
        return "waited"

    memory = LocalMemory()
    settings = Settings(max_steps=2, run_timeout_s=0.1 if ending == "time out" else 0)
    with fail_after(5):
        async with served(agent, memory=memory, settings=settings) as here:
            if ending == "hang up":
                async with asking(here, stream=stream, session_id="s"):
                    await began.wait()
                await stopped.wait()
            else:
                assert '{"error":' in (await here.ask("hi", session_id="s", stream=stream)).text
            await until(lambda: here.runtime.admission.active == 0)
            kinds = [kind for kind, _ in await here.events("s")]
        assert kinds[:2] == ["user_message", "tool_call"][: 1 + began.is_set()]  # a slow machine may not come so far
        async with served(agent, memory=memory) as here:
            assert content_of(await here.ask("again", session_id="s")) == "well"
            assert text_of(await chunks_of(here, body("again", session_id="s"))) == "well"


def tasks() -> Counter[str]:
    """Count what runs in this event loop, by what it runs."""
    coroutines = (task.get_coro() for task in asyncio.all_tasks())
    return Counter(getattr(coroutine, "__qualname__", "?") for coroutine in coroutines)


async def test_clients_that_hang_up_leave_no_task_no_lock_and_no_connection() -> None:
    gates = [GatedModel() for _ in range(20)]

    async def stream(messages: list[ModelMessage], info: AgentInfo) -> Pieces:
        number = last_user_text(messages)
        if not number.isdigit():
            yield "free"
            return
        async for piece in gates[int(number)].model.stream_function(messages, info):  # type: ignore[misc]
            yield piece  # type: ignore[misc]

    async def hang_up(here: Served, number: int) -> None:
        async with httpx.AsyncClient(base_url=here.url, timeout=5) as client:
            request: Any = {"json": body(str(number), session_id=f"s{number}", stream=number % 2 == 0)}
            task = asyncio.create_task(client.post(CHAT, **request))
            await gates[number].said_first.wait()
            task.cancel()
            await asyncio.wait([task])

    with fail_after(10):
        async with served(Agent(model_of(stream)), settings=Settings(on_busy="reject")) as here:
            assert (await here.http.get("/health")).status_code == 200
            before = tasks()
            async with anyio.create_task_group() as group:
                for number in range(20):
                    group.start_soon(hang_up, here, number)
            await until(lambda: here.runtime.admission.active == 0)
            await until(lambda: not tasks() - before)
            for number in range(20):  # with on_busy="reject" a lock that was left would be a 409
                assert content_of(await here.ask("again", session_id=f"s{number}")) == "free"
    assert all(gated.cancelled.is_set() and gated.requests == 1 for gated in gates)
