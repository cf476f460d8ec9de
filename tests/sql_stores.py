"""Databases for tests of SQL memories, and programs and queries beside them."""

from __future__ import annotations

import asyncio
import sqlite3
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from pydantic_ai.messages import ModelRequest, ModelResponse, TextPart, UserPromptPart

from pais_sdk.memory.sql import (
    SQLMemory,
)

from .postgres import postgres_url

EXCHANGE = [ModelRequest([UserPromptPart("hi")], run_id="r"), ModelResponse([TextPart("hello")], run_id="r")]


@pytest.fixture(name="url", params=["sqlite", "postgres"])
async def sql_url(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncGenerator[str]:
    """The URL of an empty database."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/pais.db"
        return
    async with postgres_url() as found:
        yield found


@asynccontextmanager
async def script(code: str, *arguments: object) -> AsyncGenerator[asyncio.subprocess.Process]:
    """Run Python code in a process of its own, which is killed when the block ends."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-W", "error", "-c", code, *map(str, arguments)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def says(process: asyncio.subprocess.Process) -> str:
    """Return the next line that a process prints."""
    assert process.stdout is not None
    return (await process.stdout.readline()).decode().strip()


async def run_in(memory: SQLMemory, session_id: str = "s", **options: Any) -> None:
    """Store one exchange."""
    async with memory.open_session(session_id, **options) as session:
        await session.append(EXCHANGE)


async def table(url: str, sql: str) -> list[tuple[Any, ...]]:
    """Return what another program finds in the database."""
    if url.startswith("sqlite"):
        connection = sqlite3.connect(url.removeprefix("sqlite:///"))
        try:
            return connection.execute(sql).fetchall()
        finally:
            connection.close()
    other = await asyncpg.connect(url)
    try:
        return [tuple(row) for row in await other.fetch(sql)]
    finally:
        await other.close()


async def exchange_in(memory: SQLMemory, session_id: str, run_id: str) -> None:
    """Store one exchange of a run of its own."""
    async with memory.open_session(session_id) as session:
        await session.append(
            [ModelRequest([UserPromptPart("hi")], run_id=run_id), ModelResponse([TextPart("hello")], run_id=run_id)]
        )


async def runs_in(memory: SQLMemory, session_id: str) -> list[str | None]:
    """Return which runs a session has."""
    conversation = await memory.load(session_id)
    assert conversation is not None
    return [message.run_id for message in conversation.messages[::2]]
