"""Redis for tests of RedisMemory: servers, memories, what is stored, and replies that get lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from pydantic_ai.conversation_store import ConversationRecord
from pydantic_ai.usage import RunUsage
from redis.asyncio import Redis

from pais_sdk.memory import Memory
from pais_sdk.memory.contract.exchanges import exchange
from pais_sdk.memory.redis import RedisMemory

from .agents import user_texts
from .redis_server import RedisServer, redis_server


@pytest.fixture(name="server")
async def fresh_server() -> AsyncGenerator[RedisServer]:
    async with redis_server() as server:
        yield server


@pytest.fixture(name="memory")
async def redis_memory(server: RedisServer) -> AsyncGenerator[RedisMemory]:
    async with RedisMemory.from_url(server.url) as memory:
        yield memory


@pytest.fixture(name="redis")
async def redis_client(server: RedisServer) -> AsyncGenerator[Redis]:
    async with Redis.from_url(server.url) as redis:
        yield redis


async def family(redis: Any, session_id: str) -> str:
    """Return the key of a session's messages, without its prefix."""
    name = await redis.hget(f"{{pais}}:c:{session_id}", "family")
    assert isinstance(name, bytes)
    return f"f:{name.decode()}"


async def dump(redis: Any) -> dict[bytes, bytes]:
    """Return all that is stored."""
    return {key: await redis.dump(key) for key in await redis.keys("*")}


async def keys(redis: Any, *kinds: str) -> list[str]:
    """Return the keys of some kinds; of all but the marks of what is done."""
    found = sorted(key.decode() for key in await redis.keys("*"))
    return [key for key in found if (key.split(":")[1] in kinds if kinds else ":w:" not in key)]


class LossyProxy:
    """Stands before a server, and can lose an answer on its way back."""

    def __init__(self, server: RedisServer, path: Path) -> None:
        self.url = f"unix://{path}"
        self.lost = 0
        self._server = server
        self._path = path
        self._loses = False

    def lose_next_answer(self) -> None:
        """Cut the connection in place of the next answer."""
        self._loses = True

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[LossyProxy]:
        listener = await asyncio.start_unix_server(self._serve, self._path)
        async with listener:
            yield self

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        back, forth = await asyncio.open_unix_connection(self._server.socket)
        commands = asyncio.create_task(self._pass_on(reader, forth, may_lose=False))
        await self._pass_on(back, writer, may_lose=True)
        await commands

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, may_lose: bool) -> None:
        while data := await reader.read(65536):
            if may_lose and self._loses:
                self._loses, self.lost = False, self.lost + 1
                break
            writer.write(data)
        writer.close()


async def interrupt(memory: Memory, session_id: str) -> list[str]:
    async with memory.open_session(session_id, on_busy="interrupt") as session:
        return user_texts(session.history)


async def write_in_all_ways(memory: Memory, session_id: str, before_each: Callable[[], None]) -> None:
    """Take a session, append to it, add an event, write its record and delete it; all of that is done once."""
    before_each()
    async with memory.open_session(session_id, on_busy="reject") as session:
        before_each()
        await session.append(exchange("one"), [memory.create_event("note", "in it")], usage=RunUsage(requests=1))
    before_each()
    await memory.add_event(session_id, "note", "after it")
    record = await memory.read_record(session_id)
    assert record is not None
    assert record.usage.requests == 1
    before_each()
    updated = ConversationRecord(conversation_id=session_id, head_id=record.head_id)
    await memory.write_record(updated, expected_revision=record.revision)
    events = await memory.get_events(session_id)
    assert [event.content for event in events] == ["one", "re: one", "in it", "after it"]
    before_each()
    await memory.delete_record(session_id, expected_revision=updated.revision)
    assert await memory.read_record(session_id) is None
