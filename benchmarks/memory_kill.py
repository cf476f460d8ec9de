"""A server is killed at random moments under load: what was answered is stored, whole, and once.

    python -m benchmarks.memory_kill [--memory sqlite|postgres|redis|redis-server] [--rounds 20]

Fifty clients talk to one process, two in each session, with runs of four messages. In each round the process
gets SIGKILL and another one takes its place on the same store. With `redis-server` it is the Redis that is killed, with
`appendonly yes` and `appendfsync always`, and the process that serves lives through it. Any violation is printed, and
makes the exit code 1.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import random
import signal
import sqlite3
import time
from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.processes import Process, process
from tests.redis_server import redis_server

from .memories import database_of, memory_of
from .memory_clients import CUT_OFF, REFUSED, Clients
from .stores import SHARED_STORES, store_url

ROOT = Path(__file__).parent.parent
_MOST_ANSWERS = 100  # from the start of a process to its end: some rounds are over before all clients have asked


@dataclass
class Killed:
    """What was seen."""

    clients: Clients
    starts_s: list[float] = field(default_factory=lambda: list[float]())
    """From a kill to the moment when the next one listens."""

    def __str__(self) -> str:
        seen = self.clients
        lost = {*seen.cut_off, *seen.refused}
        return (
            f"{len(self.starts_s)} kills, {seen.answers} runs answered and stored whole, {len(seen.cut_off)} cut off, "
            f"{len(seen.refused)} refused, of both {len(lost & seen.stored)} stored whole and "
            f"{len(lost - seen.stored)} not at all; listens again after {max(self.starts_s):.1f} s at the most; "
            f"longest wait of a client {max(seen.waits_s):.1f} s; {len(seen.faults)} violations"
        )


def serving(url: str, *, lease_s: float = 20, with_tool: bool = True) -> AbstractAsyncContextManager[Process]:
    """Serve the storing agent on a store with a process of its own, while the block runs."""
    environment = {"STORE_URL": url, "LEASE_S": str(lease_s), "LOG_LEVEL": "INFO", "MEMORY_TYPE": "null"}
    if with_tool:
        environment["WITH_TOOL"] = "1"
    return process(ROOT, "benchmarks.storing:app", **environment)


@asynccontextmanager
async def talking(clients: Clients, count: int) -> AsyncGenerator[None]:
    """Let clients talk while the block runs, and end when all of them have been told the end of their runs."""
    tasks = [asyncio.create_task(clients.one_client(number)) for number in range(count)]
    try:
        yield
        await clients.stop()
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()


async def kill_servers(url: str, *, rounds: int, clients: int, most_answers: int, lease_s: float) -> Killed:
    """Kill the process that serves, and go on with another one on the same store; `rounds` times."""
    seen = Killed(Clients(sessions=clients // 2, with_tool=True))
    memory = memory_of(url)
    async with memory, AsyncExitStack() as stack:
        served = await stack.enter_async_context(serving(url, lease_s=lease_s))
        await seen.clients.end_trouble(str(served.http.base_url))
        async with talking(seen.clients, clients):
            for _ in range(rounds):
                await seen.clients.hear(random.randint(1, most_answers))  # noqa: S311
                if seen.clients.faults:
                    break
                seen.clients.begin_trouble(CUT_OFF)
                began = time.perf_counter()
                served.stop(signal.SIGKILL)
                await served.ended()
                served = await stack.enter_async_context(serving(url, lease_s=lease_s))
                seen.starts_s.append(time.perf_counter() - began)
                await seen.clients.check(memory)
                check_file(url, seen.clients)
                await seen.clients.end_trouble(str(served.http.base_url))
            await seen.clients.hear(clients)
        await seen.clients.check(memory)
    return seen


def check_file(url: str, clients: Clients) -> None:
    """Let SQLite look at its file, where that is the store."""
    path = database_of(url)
    if path is not None:
        with contextlib.closing(sqlite3.connect(path)) as connection:
            [(said,)] = connection.execute("PRAGMA integrity_check").fetchall()
        if said != "ok":
            clients.faults.append(f"PRAGMA integrity_check: {said}")


async def kill_redis(*, rounds: int, clients: int, most_answers: int, longest_away_s: float = 0) -> Killed:
    """Kill the Redis, which keeps its data in a file, and start it again, while one process serves; `rounds` times.

    Args:
        rounds: How often.
        clients: How many.
        most_answers: The most that come before the next time.
        longest_away_s: Seconds that there is no Redis, at the most.
    """
    seen = Killed(Clients(sessions=clients // 2, with_tool=True))
    async with redis_server("--appendonly", "yes", "--appendfsync", "always") as redis:
        memory = memory_of(redis.url)
        async with memory, serving(redis.url) as served:
            async with talking(seen.clients, clients):
                await seen.clients.end_trouble(str(served.http.base_url))
                for _ in range(rounds):
                    await seen.clients.hear(random.randint(1, most_answers))  # noqa: S311
                    if seen.clients.faults:
                        break
                    seen.clients.begin_trouble(REFUSED)
                    began = time.perf_counter()
                    redis.kill()
                    await asyncio.sleep(random.uniform(0, longest_away_s))  # noqa: S311
                    await redis.start()
                    seen.starts_s.append(time.perf_counter() - began)
                    await seen.clients.check(memory)
                    await seen.clients.end_trouble(str(served.http.base_url))
                await seen.clients.hear(clients)
            await seen.clients.check(memory)
    return seen


async def measure(memory: str, *, rounds: int, clients: int) -> Killed:
    """Kill what is to be killed."""
    if memory == "redis-server":
        return await kill_redis(rounds=rounds, clients=clients, most_answers=_MOST_ANSWERS, longest_away_s=4)
    async with store_url(memory) as url:
        return await kill_servers(url, rounds=rounds, clients=clients, most_answers=_MOST_ANSWERS, lease_s=2)


def main() -> None:
    """Kill, and print one line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--memory", choices=(*SHARED_STORES, "redis-server"), default="sqlite")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--clients", type=int, default=50)
    arguments = parser.parse_args()
    seen = asyncio.run(measure(arguments.memory, rounds=arguments.rounds, clients=arguments.clients))
    for fault in seen.clients.faults:
        print(fault)
    print(f"{arguments.memory}: {seen}")
    raise SystemExit(bool(seen.clients.faults))


if __name__ == "__main__":
    main()
