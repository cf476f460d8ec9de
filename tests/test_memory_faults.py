"""What memories promise when something is killed, full, or used by several processes at once.

`python -m benchmarks.memory_kill` and `python -m benchmarks.memory_hop` do the same for longer.
"""

from __future__ import annotations

import asyncio
import signal
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
from anyio import fail_after
from redis.asyncio import Redis

from benchmarks.memory_hop import hop
from benchmarks.memory_kill import kill_redis, kill_servers
from benchmarks.stores import store_url
from pais_sdk import RedisMemory
from pais_sdk.memory import Memory

from .agents import GatedModel, echo_agent
from .http_agents import content_of, error_of, served
from .processes import TOLD_AGENT, process, told_runs
from .redis_server import redis_server, redis_url
from .test_draining import ask, words_of

pytestmark = pytest.mark.anyio

TOLD_ON_REDIS = (
    TOLD_AGENT
    + """
from pais_sdk import RedisMemory

app = serve(agent, memory=RedisMemory.from_url(os.environ["STORE_URL"], lease_s=float(os.environ["LEASE_S"])))
"""
)

SAYS_WHO = '''
"""Answers with its process and with what the user has said so far."""

import os

from pydantic_ai import Agent
from pydantic_ai.messages import ModelResponse, TextPart, UserPromptPart
from pydantic_ai.models.function import FunctionModel


async def say(messages, info):
    said = [part.content for message in messages for part in message.parts if isinstance(part, UserPromptPart)]
    return ModelResponse([TextPart(f"{os.getpid()} heard {' '.join(said)}")])


agent = Agent(FunctionModel(say), name="says who")
'''


async def events_of(memory: Memory, session_id: str) -> list[tuple[str, object]]:
    return [(event.event_type, event.content) for event in await memory.get_events(session_id)]


@pytest.mark.parametrize(("store", "rounds"), [("sqlite", 2), ("postgres", 1), ("redis", 1)])
async def test_a_killed_server_leaves_only_whole_runs_and_all_that_were_answered(store: str, rounds: int) -> None:
    with fail_after(120):
        async with store_url(store) as url:
            seen = await kill_servers(url, rounds=rounds, clients=10, most_answers=20, lease_s=1)
    assert seen.clients.faults == []
    assert seen.clients.cut_off
    assert len(seen.clients.stored) >= seen.clients.answers >= 10


async def test_a_killed_redis_that_syncs_every_write_loses_no_run_that_was_answered() -> None:
    with fail_after(120):
        seen = await kill_redis(rounds=3, clients=10, most_answers=20)
    assert seen.clients.faults == []
    assert not seen.clients.cut_off
    assert len(seen.clients.stored) >= seen.clients.answers >= 10


@pytest.mark.parametrize(("store", "processes"), [("sqlite", 2), ("redis", 3)])
async def test_a_session_whose_clients_hop_between_processes_goes_on_in_turn(store: str, processes: int) -> None:
    with fail_after(120):
        async with store_url(store) as url:
            seen = await hop(url, processes=processes, runs=30, clients=4)
    assert seen.clients.faults == []
    assert seen.clients.answers == len(seen.clients.stored) == 30


async def test_a_run_goes_on_while_redis_is_killed_and_started_again_and_is_stored(tmp_path: Path) -> None:
    (tmp_path / "server.py").write_text(TOLD_ON_REDIS)
    with fail_after(120):
        async with (
            told_runs() as runs,
            redis_server("--appendonly", "yes", "--appendfsync", "always") as redis,
            process(tmp_path, TEST_PORT=str(runs.port), STORE_URL=redis.url, LEASE_S="20") as here,
            RedisMemory.from_url(redis.url) as memory,
        ):
            streamed = asyncio.create_task(ask(here.http, "streamed", session_id="s", stream=True))
            plain = asyncio.create_task(ask(here.http, "plain", session_id="p"))
            first, second = await runs.named("streamed", "plain")
            first.say("one ")
            redis.kill()
            first.say("two ")
            await redis.start()
            first.end("three")
            second.end("answer")
            assert words_of(await streamed) == "onetwothree"
            assert content_of(await plain) == "answer"
            again = asyncio.create_task(ask(here.http, "again", session_id="s"))
            (await runs.next()).end("and again")
            assert content_of(await again) == "and again"
            assert await events_of(memory, "p") == [("user_message", "plain"), ("agent_response", "answer")]
            assert await events_of(memory, "s") == [
                ("user_message", "streamed"),
                ("agent_response", "onetwothree"),
                ("user_message", "again"),
                ("agent_response", "and again"),
            ]


async def test_a_run_that_ends_while_redis_is_away_is_not_stored_and_its_client_is_told(tmp_path: Path) -> None:
    (tmp_path / "server.py").write_text(TOLD_ON_REDIS)
    with fail_after(120):
        async with (
            told_runs() as runs,
            redis_server("--appendonly", "yes", "--appendfsync", "always") as redis,
            process(tmp_path, TEST_PORT=str(runs.port), STORE_URL=redis.url, LEASE_S="1") as here,
            RedisMemory.from_url(redis.url) as memory,
        ):
            lost = asyncio.create_task(ask(here.http, "lost", session_id="s"))
            told = await runs.next()
            redis.kill()
            told.end("answer")
            assert (await lost).status_code == 503
            assert error_of(await lost)["code"] == "memory_unavailable"
            assert (await lost).headers["x-should-retry"] == "false"
            assert (await here.http.get("/ready")).json()["reasons"] == ["memory"]
            refused = await ask(here.http, "refused", session_id="s")
            assert (refused.status_code, error_of(refused)["code"]) == (503, "memory_unavailable")
            await redis.start()
            assert (await here.http.get("/ready")).status_code == 200
            again = asyncio.create_task(ask(here.http, "again", session_id="s"))
            told = await runs.next()
            assert told.prompt == "again"
            told.end("here")
            assert content_of(await again) == "here"
            assert await events_of(memory, "s") == [("user_message", "again"), ("agent_response", "here")]


@asynccontextmanager
async def no_room(url: str) -> AsyncGenerator[None]:
    """Let a Redis be full while the block runs."""
    async with Redis.from_url(url) as redis:
        await redis.config_set("maxmemory", "1")
        try:
            yield
        finally:
            await redis.config_set("maxmemory", "0")


async def test_where_redis_is_full_nothing_is_paid_and_clients_are_told_and_then_all_is_well_again() -> None:
    with fail_after(30):
        async with redis_url() as url, served(echo_agent(), memory=RedisMemory.from_url(url)) as here:
            assert content_of(await here.ask("one", session_id="s")) == "one (1)"
            async with no_room(url):
                for session_id in ("s", "new"):
                    refused = await here.ask("two", session_id=session_id)
                    assert (refused.status_code, error_of(refused)["code"]) == (503, "memory_unavailable")
            assert content_of(await here.ask("three", session_id="s")) == "three (3)"
            assert content_of(await here.ask("four", session_id="new")) == "four (1)"


async def test_a_run_that_finds_redis_full_at_its_end_leaves_nothing_and_gives_its_session_free() -> None:
    gated = GatedModel()
    with fail_after(30):
        async with (
            redis_url() as url,
            served(echo_agent(), model=gated.model, memory=RedisMemory.from_url(url)) as here,
        ):
            lost = asyncio.create_task(here.ask("lost", session_id="s"))
            await gated.said_first.wait()
            async with no_room(url):
                gated.gate.set()
                assert ((await lost).status_code, error_of(await lost)["code"]) == (503, "memory_unavailable")
            assert await here.events("s") == []
            assert content_of(await here.ask("again", session_id="s")) == "one two"
            assert await here.events("s") == [("user_message", "again"), ("agent_response", "one two")]


async def test_the_session_of_a_killed_holder_is_free_again_when_its_lease_is_over(tmp_path: Path) -> None:
    (tmp_path / "server.py").write_text(TOLD_ON_REDIS)
    with fail_after(120):
        async with told_runs() as runs, redis_url() as url:
            environment = {"TEST_PORT": str(runs.port), "STORE_URL": url, "LEASE_S": "1"}
            async with process(tmp_path, **environment) as one, process(tmp_path, **environment) as other:
                cut_off = asyncio.create_task(ask(one.http, "cut off", session_id="s"))
                held = await runs.next()
                waits = asyncio.create_task(ask(other.http, "waits", session_id="s"))
                one.stop(signal.SIGKILL)
                await held.cancelled()
                with pytest.raises(httpx.TransportError):
                    await cut_off
                told = await runs.next()
                assert (told.pid, told.prompt) == (other.pid, "waits")
                told.end("free")
                assert content_of(await waits) == "free"
            async with RedisMemory.from_url(url) as memory:
                assert await events_of(memory, "s") == [("user_message", "waits"), ("agent_response", "free")]


async def test_workers_share_the_sessions_of_a_store(tmp_path: Path) -> None:
    (tmp_path / "agent.py").write_text(SAYS_WHO)
    seen: Counter[str] = Counter()
    said: list[str] = []
    with fail_after(120):
        environment = {
            "MEMORY_TYPE": "sqlite",
            "MEMORY_CONTEXT_LIMIT": "1000",
            "AGENT_WORKERS": "2",
            "AGENT_A2A": "false",
        }
        async with process(tmp_path, **environment) as here:
            await here.says("listens on", 2)
            while len(seen) < 2 or len(said) < 10:
                async with httpx.AsyncClient(base_url=here.http.base_url, timeout=20) as http:
                    said.append(str(len(said)))
                    pid, _, heard = content_of(await ask(http, said[-1], session_id="s")).partition(" heard ")
                assert heard.split() == said
                seen[pid] += 1
