"""The other routes and the ways to start: probes, models, tools, memory, card, mount, thread, shared runtime."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import anyio
import httpx
import openai
import pytest
from anyio import fail_after
from fastapi import FastAPI
from pydantic_ai import Agent
from pydantic_ai.exceptions import ModelHTTPError
from pydantic_ai.messages import ModelMessage
from pydantic_ai.models.function import AgentInfo

from pais_sdk import AgentRuntime, LocalMemory, MemoryUnavailableError, Settings, mock_model, serve
from pais_sdk._listen import listening

from .agents import GatedModel, Pieces, echo_agent, model_of
from .http_agents import CHAT, SECRET, Served, adding_agent, body, content_of, error_of, served, user

pytestmark = pytest.mark.anyio

CARD = "/.well-known/agent.json"


async def test_what_kaos_expects_of_an_agent_holds() -> None:
    with fail_after(5):
        async with served(adding_agent(), description="adds") as here:
            health, ready = [(await here.http.get(path)).json() for path in ("/health", "/ready")]
            assert (health["status"], health["name"], type(health["timestamp"])) == ("healthy", "adder", int)
            assert (ready["status"], ready["name"], type(ready["timestamp"])) == ("ready", "adder", int)
            answer = (await here.ask("add", stream=False)).json()
            assert answer["object"] == "chat.completion"
            assert answer["choices"][0]["message"]["content"]
            memory = (await here.http.get("/memory/events")).json()
            card = (await here.http.get(CARD)).json()
    assert (memory["agent"], memory["total"]) == ("adder", 5)
    kinds = [event["event_type"] for event in memory["events"]]
    assert kinds == ["user_message", "agent_response", "tool_call", "tool_result", "agent_response"]
    assert sorted(memory["events"][0]) == ["content", "event_id", "event_type", "metadata", "timestamp"]
    assert memory["events"][2]["content"] == {"tool": "add", "arguments": {"a": 1, "b": 2}}
    assert memory["events"][3]["content"] == {"tool": "add", "result": 3}
    assert (card["name"], card["description"], card["capabilities"]["streaming"]) == ("adder", "adds", True)
    assert card["skills"] == [{**card["skills"][0], "id": "add", "name": "add", "description": "Add two numbers."}]


@pytest.mark.parametrize("path", ["/health", "/ready", CARD, "/tools", "/v1/models", "/memory/sessions"])
async def test_a_probe_with_head_has_no_body(path: str) -> None:
    with fail_after(5):
        async with served(adding_agent()) as here:
            answer = await here.http.head(path)
    assert (answer.status_code, answer.content) == (200, b"")


async def test_health_tells_what_the_newest_run_found_of_the_model() -> None:
    turns: Iterator[Exception | None] = iter([None, ModelHTTPError(500, "m"), RuntimeError(), None])

    async def stream(messages: list[ModelMessage], info: AgentInfo) -> Pieces:
        if (error := next(turns)) is not None:
            raise error
        yield "ok"

    async def health(here: Served) -> str:
        return (await here.http.get("/health")).json()["model"]

    with fail_after(5):
        async with served(Agent(model_of(stream))) as here:
            seen = [await health(here)]
            for _ in range(4):
                await here.ask("hi")
                seen.append(await health(here))
    assert seen == ["unknown", "ok", "degraded", "degraded", "ok"]


async def test_a_server_is_ready_while_its_memory_answers() -> None:
    class Memory(LocalMemory):
        down = False

        async def check(self) -> None:
            if self.down:
                raise MemoryUnavailableError(SECRET)

    memory = Memory()
    with fail_after(5):
        async with served(echo_agent(), memory=memory) as here:
            answers = [await here.http.get("/ready")]
            memory.down = True
            answers.append(await here.http.get("/ready"))
            assert (await here.http.get("/health")).status_code == 200
            memory.down = False
            answers.append(await here.http.get("/ready"))
    assert [answer.status_code for answer in answers] == [200, 503, 200]
    assert answers[1].json()["reasons"] == ["memory"]
    assert SECRET not in answers[1].text


async def test_the_agent_is_the_one_model() -> None:
    with fail_after(5):
        async with served(echo_agent()) as here:
            assert [model.id async for model in here.openai.models.list()] == ["echo"]
            model = await here.openai.models.retrieve("echo")
            assert (model.id, model.object) == ("echo", "model")
            with pytest.raises(openai.NotFoundError) as unknown:
                await here.openai.models.retrieve("gpt-4/turbo")
    assert unknown.value.code == "model_not_found"


async def test_tools_are_told_as_the_model_sees_them() -> None:
    with fail_after(5):
        async with served(adding_agent()) as here:
            told = (await here.http.get("/tools")).json()
    (tool,) = told["tools"]
    assert (told["agent"], told["total"]) == ("adder", 1)
    assert (tool["name"], tool["description"]) == ("add", "Add two numbers.")
    assert tool["parameters_json_schema"]["required"] == ["a", "b"]


async def test_tools_that_cannot_be_listed_leave_the_card_and_say_nothing_inside() -> None:
    agent = Agent(echo_agent().model, name="broken")

    @agent.instructions
    def instructions() -> str:  # pyright: ignore[reportUnusedFunction]
        raise RuntimeError(SECRET)

    with fail_after(5):
        async with served(agent) as here:
            tools, card = await here.http.get("/tools"), await here.http.get(CARD)
    assert (tools.status_code, error_of(tools)["code"]) == (500, "server_error")
    assert (card.json()["name"], card.json()["skills"]) == ("broken", [])
    assert SECRET not in tools.text + card.text


async def pages(here: Served, path: str, items: str) -> list[list[Any]]:
    """Follow `next` to the end."""
    found: list[list[Any]] = []
    cursor: str | None = None
    while cursor is not None or not found:
        page = (await here.http.get(path if cursor is None else f"{path}&cursor={cursor}")).json()
        assert page["total"] == len(page[items])
        found.append(page[items])
        cursor = page["next"]
    return found


async def test_sessions_are_paged_from_the_newest() -> None:
    with fail_after(5):
        async with served(echo_agent()) as here:
            assert await pages(here, "/memory/sessions?limit=2", "sessions") == [[]]
            for number in (1, 2, 3, 4, 5, 2):
                await here.ask("hi", session_id=f"s{number}")
            assert await pages(here, "/memory/sessions?limit=2", "sessions") == [["s2", "s5"], ["s4", "s3"], ["s1"]]
            assert await pages(here, "/memory/sessions?", "sessions") == [["s2", "s5", "s4", "s3", "s1"]]


@pytest.mark.parametrize("query", ["session_id=s1&", ""], ids=["one session", "all sessions"])
@pytest.mark.parametrize("limit", [1, 3, 6, 7])
async def test_events_are_paged_back_from_the_newest_without_gap_or_double(query: str, limit: int) -> None:
    with fail_after(5):
        async with served(echo_agent()) as here:
            for number in range(6):
                await here.ask(str(number), session_id="s1" if query else f"s{number % 2}")
            found = await pages(here, f"/memory/events?{query}limit={limit}", "events")
    assert [len(page) for page in found] == [min(limit, 12 - start) for start in range(0, 12, limit)]
    events = [event for page in reversed(found) for event in page]
    assert [event["content"] for event in events if event["event_type"] == "user_message"] == list("012345")
    assert len({event["event_id"] for event in events}) == len(events) == 12


async def test_a_page_has_a_thousand_items_at_the_most() -> None:
    memory = LocalMemory(max_sessions=None, max_session_messages=None)
    with fail_after(5):
        async with served(echo_agent(), memory=memory) as here:
            await memory.annotate("big", [memory.create_event("user_message", n) for n in range(1001)])
            for number in range(1000):
                await memory.create_session(f"s{number}")
            sessions = (await here.http.get("/memory/sessions?limit=5000")).json()
            events = (await here.http.get("/memory/events?session_id=big&limit=5000")).json()
    assert (sessions["total"], events["total"]) == (1000, 1000)
    assert sessions["next"]
    assert events["next"] == events["events"][0]["event_id"]
    assert (events["events"][0]["content"], events["events"][-1]["content"]) == (1, 1000)


async def test_an_unknown_session_has_no_events_and_cannot_be_deleted() -> None:
    with fail_after(5):
        async with served(echo_agent()) as here:
            assert (await here.http.get("/memory/events?session_id=none")).json()["events"] == []
            answer = await here.http.delete("/memory/sessions/none")
    assert (answer.status_code, error_of(answer)["code"]) == (404, "session_not_found")


async def test_deleting_a_session_stops_its_run_first() -> None:
    gated = GatedModel()
    with fail_after(5):
        async with served(Agent(gated.model)) as here:
            for stream in (False, True):
                await here.runtime.memory.create_session("s")
                gated.said_first.clear()
                gated.cancelled.clear()
                running = asyncio.create_task(here.ask("hi", session_id="s", stream=stream))
                await gated.said_first.wait()
                deleted = await here.http.delete("/memory/sessions/s")
                assert deleted.json() == {"agent": here.runtime.name, "session_id": "s", "deleted": True}
                assert gated.cancelled.is_set()
                assert '"cancelled"' in (await running).text
                assert await here.events("s") == []
                assert (await here.http.delete("/memory/sessions/s")).status_code == 404


FORWARDED = {"X-Forwarded-Proto": "https", "X-Forwarded-Host": "a.test, b.test", "X-Forwarded-Prefix": "/ns/agent/x/"}


@pytest.mark.parametrize(
    ("settings", "headers", "url"),
    [
        ({}, {}, "{url}"),
        ({}, {"Host": "my.host:81"}, "http://my.host:81"),
        ({}, FORWARDED, "{url}"),
        ({"agent_trust_forwarded": True}, FORWARDED, "https://a.test/ns/agent/x"),
        ({"agent_trust_forwarded": True}, {"X-Forwarded-Prefix": "ns/agent"}, "{url}/ns/agent"),
        ({"agent_trust_forwarded": True}, {"X-Forwarded-Prefix": "/"}, "{url}"),
        ({"agent_trust_forwarded": True}, {}, "{url}"),
        ({"agent_public_url": "https://public.test/x/"}, {}, "https://public.test/x"),
        ({"agent_public_url": "https://public.test", "agent_trust_forwarded": True}, FORWARDED, "https://public.test"),
    ],
)
@pytest.mark.parametrize("mounted", [False, True])
async def test_the_card_says_where_the_agent_is(
    settings: dict[str, Any], headers: dict[str, str], url: str, mounted: bool
) -> None:
    app: Any = serve(echo_agent(), settings=Settings(**settings))
    prefix = "/sub/agent" if mounted else ""
    parent: Any = FastAPI()
    parent.mount("/sub/agent", app)
    with fail_after(5):
        async with listening(parent if mounted else app) as base, httpx.AsyncClient() as client:
            card = (await client.get(f"{base}{prefix}{CARD}", headers=headers)).json()
    expected = url.format(url=base)
    if "public" not in expected:
        expected += prefix
    # Where there is a path, a task is sent to the one that ends with a slash.
    assert card["url"] == (expected if expected.count("/") == 2 else f"{expected}/")


async def test_a_parent_that_runs_no_lifespan_of_ours_still_serves() -> None:
    app, parent = serve(echo_agent()), FastAPI()
    parent.mount("/agent", app)
    with fail_after(5):
        async with listening(parent) as url, httpx.AsyncClient(base_url=f"{url}/agent") as client:
            assert content_of(await client.post(CHAT, json=body("hi", session_id="s"))) == "hi (1)"
            streamed = await client.post(CHAT, json=body("again", session_id="s", stream=True))
            assert "data: [DONE]" in streamed.text
            assert (await client.get("/memory/sessions")).json()["sessions"] == ["s"]
            assert (await client.get("/ready")).status_code == 200
            missing = await client.get("/nothing")
            assert (missing.status_code, error_of(missing)["type"]) == (404, "invalid_request_error")
        await app.runtime.close()


async def test_a_server_starts_and_stops_as_often_as_one_likes() -> None:
    app = serve(echo_agent())
    with fail_after(10):
        await app.stop()
        for turn in (1, 3):
            url = await app.start(port=0)
            with pytest.raises(RuntimeError, match="stop it first"):
                await app.start(port=0)
            async with httpx.AsyncClient() as client:
                assert content_of(await client.post(url + CHAT, json=body("hi", session_id="s"))) == f"hi ({turn})"
                await app.stop()
                with pytest.raises(httpx.ConnectError):
                    await client.get(f"{url}/health")
            assert app.runtime.loop is None


def test_a_server_in_a_thread_answers_blocking_clients() -> None:
    with serve(echo_agent()).start_in_thread(port=0) as handle:
        with handle.openai(timeout=5, max_retries=0) as client:
            answer = client.chat.completions.create(model="m", messages=user("hi"))
            stream = client.chat.completions.create(model="m", messages=user("hi"), stream=True)
            streamed = "".join(chunk.choices[0].delta.content or "" for chunk in stream)
        assert answer.choices[0].message.content == streamed == "hi (1)"
        assert handle.url in repr(handle)
    handle.stop()
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{handle.url}/health")


async def test_a_conversation_goes_on_between_a_cell_and_the_server() -> None:
    with fail_after(5):
        async with AgentRuntime(echo_agent()) as runtime:
            assert (await runtime.run("cell", session_id="s")).text == "cell (1)"
            async with served(runtime) as here:
                assert content_of(await here.ask("http", session_id="s")) == "http (3)"
                assert (await runtime.run("cell", session_id="s")).text == "cell (5)"
                assert "(7)" in (await here.ask("http", session_id="s", stream=True)).text
            assert runtime.loop is asyncio.get_running_loop()
            assert (await runtime.run("cell", session_id="s")).text == "cell (9)"


@pytest.mark.parametrize("opened_by", ["the server", "the cell"])
async def test_a_cell_and_a_server_on_another_loop_share_a_conversation(opened_by: str) -> None:
    runtime = AgentRuntime(echo_agent())
    with fail_after(10):
        if opened_by == "the cell":
            await runtime.open()
        handle = await anyio.to_thread.run_sync(lambda: serve(runtime).start_in_thread(port=0))
        async with httpx.AsyncClient(base_url=handle.url) as client:
            assert content_of(await client.post(CHAT, json=body("http", session_id="s"))) == "http (1)"
            assert (runtime.loop is asyncio.get_running_loop()) == (opened_by == "the cell")
            assert (await runtime.run("cell", session_id="s")).text == "cell (3)"
            assert "(5)" in (await client.post(CHAT, json=body("http", session_id="s", stream=True))).text
            assert (await client.get("/memory/sessions")).json()["sessions"] == ["s"]
            assert (await client.delete("/memory/sessions/s")).status_code == 200
        await anyio.to_thread.run_sync(handle.stop)
        assert (runtime.loop is None) == (opened_by == "the server")
        await runtime.close()


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
async def test_a_client_that_hangs_up_stops_a_run_on_another_loop(stream: bool) -> None:
    gated = GatedModel()
    with fail_after(10):
        async with AgentRuntime(Agent(gated.model)) as runtime:
            handle = await anyio.to_thread.run_sync(lambda: serve(runtime).start_in_thread(port=0))
            async with httpx.AsyncClient(base_url=handle.url) as client:
                task = asyncio.create_task(client.post(CHAT, json=body("hi", session_id="s", stream=stream)))
                await gated.said_first.wait()
                task.cancel()
                await gated.cancelled.wait()
            gated.gate.set()
            assert (await runtime.run("again", session_id="s")).text == "one two"
            await anyio.to_thread.run_sync(handle.stop)


async def test_a_server_that_stops_takes_no_more_runs_and_one_that_starts_again_does() -> None:
    server = serve(Agent(mock_model(["hello"])))
    with fail_after(5):
        async with server.running(port=0) as url, httpx.AsyncClient(base_url=url) as client:
            await server.cancel_runs()
            refused = await client.post(CHAT, json=body("hi"))
            assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
            assert refused.json()["error"]["code"] == "server_error"
        async with server.running(port=0) as url, httpx.AsyncClient(base_url=url) as client:
            assert (await client.post(CHAT, json=body("hi"))).status_code == 200
