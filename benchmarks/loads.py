"""What clients do to a server, and what that costs it."""

from __future__ import annotations

import asyncio
import math
import statistics
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import httpx

from .agents import CHUNKS, QUESTION
from .process import ServerProcess

_BODY: dict[str, Any] = {"messages": [{"role": "user", "content": QUESTION}]}
_PATH = "/v1/chat/completions"


async def chat(server: ServerProcess, *, store: bool = True, clients: int, requests: int) -> dict[str, float]:
    """Return the server's CPU seconds per request, and the time that all but 1 of 100 requests stay below."""
    body = _body(store=store)
    times: list[float] = []

    async def one_client(client: httpx.AsyncClient) -> None:
        for _ in range(requests // clients):
            began = time.perf_counter()
            (await client.post(_PATH, json=body)).raise_for_status()
            times.append(time.perf_counter() - began)

    async with _client(server) as client:
        before = server.cpu_s
        await asyncio.gather(*(one_client(client) for _ in range(clients)))
        cpu_s = server.cpu_s - before
    times.sort()
    return {"CPU of a request": cpu_s / len(times), "p99": times[math.ceil(len(times) * 0.99) - 1]}


async def streams(server: ServerProcess, *, store: bool = True, runs: int) -> dict[str, float]:
    """Return the server's CPU seconds per chunk of text, and the time to the first one."""
    body = _body(store=store, stream=True)
    first: list[float] = []
    async with _client(server) as client:
        before = server.cpu_s
        for _ in range(runs):
            began = time.perf_counter()
            seen = 0
            async with client.stream("POST", _PATH, json=body) as answer:
                async for line in answer.aiter_lines():
                    if '"content": "word' in line:
                        seen += 1
                        if seen == 1:
                            first.append(time.perf_counter() - began)
            assert seen == CHUNKS, f"{seen} chunks came"
        cpu_s = server.cpu_s - before
    return {"CPU of a chunk": cpu_s / (runs * CHUNKS), "first token": statistics.median(first)}


def _body(*, store: bool, **more: Any) -> dict[str, Any]:
    return {**_BODY, **more} if store else {**_BODY, **more, "store": False}


@asynccontextmanager
async def _client(server: ServerProcess) -> AsyncGenerator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=server.url, timeout=60) as client:
        yield client
