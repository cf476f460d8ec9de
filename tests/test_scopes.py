"""Two callers and one session id: two sessions, and nobody learns of the other's."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest
from anyio import fail_after
from pydantic_ai import Agent, RunContext
from pydantic_ai.messages import ModelMessage
from pydantic_ai.models.function import AgentInfo, DeltaToolCall

from pais_sdk import AgentDeps, Settings

from .agents import Pieces, echo_agent, last_user_text, model_of
from .http_agents import CHAT, Served, body, content_of, served, until

pytestmark = pytest.mark.anyio

ALICE, BOB = {"X-API-Key": "key-of-alice"}, {"X-API-Key": "key-of-bob"}
KEYS = Settings(agent_api_keys="alice=key-of-alice,bob=key-of-bob")
DIFFERENT = re.compile(
    r'chatcmpl-\w+|"created": ?\d+|event_\w+|\d{4}-\d\d-\d\dT[\d:.+]+|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}'
)


async def ask(here: Served, who: dict[str, str], text: str, **fields: Any) -> httpx.Response:
    return await here.http.post(CHAT, json=body(text, **fields), headers=who)


async def chat(here: Served, session_id: str, cursor: str) -> httpx.Response:
    return await here.http.post(CHAT, json=body("hi"), headers={**BOB, "X-Session-ID": session_id})


async def chat_with_id_in_the_body(here: Served, session_id: str, cursor: str) -> httpx.Response:
    return await ask(here, BOB, "hi", session_id=session_id)


async def chat_streamed(here: Served, session_id: str, cursor: str) -> httpx.Response:
    return await ask(here, BOB, "hi", session_id=session_id, stream=True)


async def chat_that_stores_nothing(here: Served, session_id: str, cursor: str) -> httpx.Response:
    return await ask(here, BOB, "hi", session_id=session_id, store=False)


async def events(here: Served, session_id: str, cursor: str) -> httpx.Response:
    return await here.http.get("/memory/events", params={"session_id": session_id}, headers=BOB)


async def events_before(here: Served, session_id: str, cursor: str) -> httpx.Response:
    return await here.http.get("/memory/events", params={"session_id": session_id, "cursor": cursor}, headers=BOB)


async def all_events(here: Served, session_id: str, cursor: str) -> httpx.Response:
    return await here.http.get("/memory/events", headers=BOB)


async def all_events_before(here: Served, session_id: str, cursor: str) -> httpx.Response:
    return await here.http.get("/memory/events", params={"cursor": cursor}, headers=BOB)


async def list_sessions(here: Served, session_id: str, cursor: str) -> httpx.Response:
    return await here.http.get("/memory/sessions", headers=BOB)


async def list_sessions_after(here: Served, session_id: str, cursor: str) -> httpx.Response:
    return await here.http.get("/memory/sessions", params={"cursor": "3"}, headers=BOB)


async def delete(here: Served, session_id: str, cursor: str) -> httpx.Response:
    return await here.http.delete(f"/memory/sessions/{session_id}", headers=BOB)


async def what_alice_has(here: Served) -> list[Any]:
    """Return all that alice can read of hers, and how it is stored."""
    answers = [
        await here.http.get("/memory/sessions?limit=2", headers=ALICE),
        await here.http.get("/memory/events", headers=ALICE),
        await here.http.get("/memory/events?session_id=taken&limit=3", headers=ALICE),
    ]
    record = await here.runtime.memory.scoped("alice").read_record("taken")
    return [*(answer.json() for answer in answers), record]


def told(answer: httpx.Response, session_id: str) -> tuple[int, list[tuple[str, str]], str]:
    """Return all that a client reads, without what differs from one request to the next."""
    headers = [(name, value.replace(session_id, "ID")) for name, value in answer.headers.items() if name != "date"]
    return answer.status_code, headers, DIFFERENT.sub("-", answer.text.replace(session_id, "ID"))


Action = Callable[[Served, str, str], Awaitable[httpx.Response]]


@pytest.mark.parametrize("bob_has_one", [False, True], ids=["bob has none", "bob has sessions of his own"])
@pytest.mark.parametrize(
    "action",
    [
        *(chat, chat_with_id_in_the_body, chat_streamed, chat_that_stores_nothing),
        *(events, events_before, all_events, all_events_before, list_sessions, list_sessions_after, delete),
    ],
    ids=lambda action: action.__name__,
)
async def test_a_session_of_another_scope_answers_exactly_as_an_unknown_one(action: Action, bob_has_one: bool) -> None:
    with fail_after(10):
        async with served(echo_agent(), settings=KEYS) as here:
            for text in ("one", "two"):
                await ask(here, ALICE, text, session_id="taken")
            await ask(here, ALICE, "three", session_id="other")
            if bob_has_one:
                await ask(here, BOB, "four", session_id="mine")
            before = await what_alice_has(here)
            hers = before[1]["events"][1]["event_id"]
            foreign = told(await action(here, "taken", hers), "taken")
            assert await what_alice_has(here) == before
            await here.http.delete("/memory/sessions/taken", headers=BOB)
            unknown = told(await action(here, "never", "event_1751301d6c437696"), "never")
    assert foreign == unknown


async def test_what_a_run_does_is_done_in_its_own_scope() -> None:
    async def stream(messages: list[ModelMessage], info: AgentInfo) -> Pieces:
        last = messages[-1].parts[-1]
        if last.part_kind == "user-prompt":
            yield {0: DeltaToolCall("look", "{}", tool_call_id=f"c{len(messages)}")}
        else:
            yield str(last.content)  # type: ignore[union-attr]

    agent = Agent(model_of(stream), deps_type=AgentDeps)

    @agent.tool
    async def look(ctx: RunContext[AgentDeps]) -> str:  # pyright: ignore[reportUnusedFunction]
        memory = ctx.deps.memory
        await memory.add_event("s", "note", "seen")
        notes = len(await memory.get_events("s", types=["note"]))
        return f"{ctx.deps.session_id} {sorted(await memory.list_sessions())} {notes}"

    with fail_after(5):
        async with served(agent, settings=KEYS) as here:
            assert content_of(await ask(here, ALICE, "hi", session_id="s")) == "s ['s'] 1"
            assert content_of(await ask(here, ALICE, "hi", session_id="alices")) == "alices ['s'] 2"
            assert content_of(await ask(here, BOB, "hi", session_id="s")) == "s ['s'] 1"


class OneWaits:
    """Answers at once, except where it is asked to wait for the test."""

    def __init__(self) -> None:
        self.began = asyncio.Event()
        self.gate = asyncio.Event()
        self.model = model_of(self._stream)

    async def _stream(self, messages: list[ModelMessage], info: AgentInfo) -> Pieces:
        yield "one "
        if last_user_text(messages) == "wait":
            self.began.set()
            await self.gate.wait()
        yield "two"


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
@pytest.mark.parametrize("on_busy", ["queue", "reject", "interrupt"])
async def test_a_run_of_another_scope_makes_no_session_busy_and_cannot_be_stopped(on_busy: Any, stream: bool) -> None:
    model = OneWaits()
    with fail_after(5):
        async with served(Agent(model.model), settings=KEYS, on_busy=on_busy) as here:
            waits = asyncio.create_task(ask(here, ALICE, "wait", session_id="s", stream=stream))
            await model.began.wait()
            assert (await here.http.delete("/memory/sessions/s", headers=BOB)).status_code == 404
            assert content_of(await ask(here, BOB, "hi", session_id="s")) == "one two"
            assert (await here.http.delete("/memory/sessions/s", headers=BOB)).status_code == 200
            assert here.runtime.admission.active == 1
            model.gate.set()
            assert '"two"' in (await waits).text if stream else content_of(await waits) == "one two"
            await until(lambda: here.runtime.admission.active == 0)
            found = await here.http.get("/memory/events?session_id=s", headers=ALICE)
    assert [event["content"] for event in found.json()["events"]] == ["wait", "one two"]


async def test_sessions_of_the_house_itself_are_in_no_scope() -> None:
    with fail_after(5):
        async with served(echo_agent(), settings=KEYS) as here:
            await here.runtime.run("hi", session_id="s")
            assert content_of(await ask(here, BOB, "hi", session_id="s")) == "hi (1)"
            assert await here.runtime.memory.list_sessions() == ["s"]
            assert len(await here.events("s")) == 2
