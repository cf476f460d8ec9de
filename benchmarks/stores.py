"""The stores that memories are measured on, each empty, with whatever serves it."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from tempfile import TemporaryDirectory

from tests.postgres import postgres_url
from tests.redis_server import redis_url

STORES = ("local", "sqlite", "postgres", "redis")
SHARED_STORES = STORES[1:]


@asynccontextmanager
async def store_url(name: str) -> AsyncGenerator[str]:
    """Give the URL of an empty store of one of STORES, for `memory_of`, while the block runs."""
    if name == "redis":
        async with redis_url() as url:
            yield url
    elif name == "postgres":
        async with postgres_url() as url:
            yield url
    elif name == "sqlite":
        with TemporaryDirectory() as folder:
            yield f"sqlite:{folder}/pais.db"
    else:
        yield "local:"
