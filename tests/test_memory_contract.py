"""The contracts that every memory keeps, on all of ours and on scoped views of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import pytest
from pydantic_ai.conversation_store import ConversationStore, InMemoryConversationStore

from pais_sdk import LocalMemory, NullMemory
from pais_sdk.memory import Memory, RedisMemory, SQLiteMemory, SQLMemory
from pais_sdk.memory.contract import (
    ConversationStoreContract,
    MemoryContract,
    ScopedMemoryContract,
    SharedMemoryContract,
    StoringMemoryContract,
)
from pais_sdk.memory.contract.lists import Lists
from pais_sdk.memory.contract.sessions import Sessions

from .postgres import postgres_url
from .redis_server import redis_url

CreateMemory = Callable[..., Memory]


@asynccontextmanager
async def closing(make: CreateMemory, *, scope: str | None = None) -> AsyncGenerator[CreateMemory]:
    """Give what makes memories, or views of them, and close those that were made."""
    made: list[Memory] = []

    def create(**options: object) -> Memory:
        made.append(make(**options))
        return made[-1].scoped(scope)

    try:
        yield create
    finally:
        for memory in made:
            await memory.close()


@pytest.fixture(scope="module")
def postgres() -> Iterator[str]:
    """One database for all tests of this file: to make one takes longer than most tests."""
    context = postgres_url()
    with asyncio.Runner() as runner:
        url = runner.run(context.__aenter__())
        try:
            yield url
        finally:
            runner.run(context.__aexit__(None, None, None))


async def emptied(url: str) -> str:
    """Return the URL of a database of which nothing is left now."""
    connection = await asyncpg.connect(url)
    try:
        await connection.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
    finally:
        await connection.close()
    return url


class TestPydanticAI(ConversationStoreContract):
    """What the contract says of a store is what Pydantic AI's own does."""

    @pytest.fixture
    def store(self) -> ConversationStore:
        return InMemoryConversationStore()


class TestNull(MemoryContract):
    @pytest.fixture
    def memory(self) -> Memory:
        return NullMemory()


class TestScopedNull(MemoryContract):
    @pytest.fixture
    def memory(self) -> Memory:
        return NullMemory().scoped("alice")


class TestLocal(StoringMemoryContract):
    @pytest.fixture
    def create_memory(self) -> CreateMemory:
        return LocalMemory


class TestScopedLocal(ScopedMemoryContract):
    @pytest.fixture
    def create_memory(self) -> CreateMemory:
        return lambda **options: LocalMemory(**options).scoped("alice")


class TestSQLite(SharedMemoryContract):
    @pytest.fixture
    async def create_memory(self, tmp_path: Path) -> AsyncGenerator[CreateMemory]:
        async with closing(lambda **options: SQLiteMemory(tmp_path / "pais.db", **options)) as create:
            yield create


class TestPostgres(SharedMemoryContract):
    @pytest.fixture
    async def create_memory(self, postgres: str) -> AsyncGenerator[CreateMemory]:
        url = await emptied(postgres)
        async with closing(lambda **options: SQLMemory(url, **options)) as create:
            yield create


class TestRedis(SharedMemoryContract):
    @pytest.fixture
    async def create_memory(self) -> AsyncGenerator[CreateMemory]:
        async with redis_url() as url, closing(lambda **options: RedisMemory.from_url(url, **options)) as create:
            yield create


class OnScopes(Sessions, Lists, MemoryContract):
    """Only where backends differ below a view of them: which sessions are whose, and their order."""

    @pytest.fixture
    def memory(self, create_memory: CreateMemory) -> Memory:
        return create_memory()


class TestScopedSQLite(OnScopes):
    @pytest.fixture
    async def create_memory(self, tmp_path: Path) -> AsyncGenerator[CreateMemory]:
        async with closing(lambda **options: SQLiteMemory(tmp_path / "pais.db", **options), scope="alice") as create:
            yield create


class TestScopedPostgres(OnScopes):
    @pytest.fixture
    async def create_memory(self, postgres: str) -> AsyncGenerator[CreateMemory]:
        url = await emptied(postgres)
        async with closing(lambda **options: SQLMemory(url, **options), scope="alice") as create:
            yield create


class TestScopedRedis(OnScopes):
    @pytest.fixture
    async def create_memory(self) -> AsyncGenerator[CreateMemory]:
        async with (
            redis_url() as url,
            closing(lambda **options: RedisMemory.from_url(url, **options), scope="alice") as create,
        ):
            yield create
