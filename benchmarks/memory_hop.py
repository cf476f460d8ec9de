"""Clients hop between processes on one store, all in one session: it goes on in turn, and nothing is lost or doubled.

    python -m benchmarks.memory_hop [--memory redis|sqlite|postgres] [--processes 3] [--runs 500] [--clients 6]

Each answer says what was said before it, so that a run that had not seen the one before shows. Any violation is
printed, and makes the exit code 1.
"""

from __future__ import annotations

import argparse
import asyncio
import math
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass

from .memories import memory_of
from .memory_clients import Clients
from .memory_kill import serving
from .stores import SHARED_STORES, store_url


@dataclass
class Hopped:
    """What was seen."""

    clients: Clients
    runs: int
    took_s: float

    def __str__(self) -> str:
        seen = self.clients
        times = sorted(seen.waits_s)
        middle, high, last = (times[math.ceil(len(times) * share) - 1] * 1000 for share in (0.5, 0.99, 1))
        return (
            f"{seen.answers} of {self.runs} runs answered in turn in {self.took_s:.1f} s, {len(seen.stored)} stored; "
            f"a client waits {middle:.0f} ms (p50), {high:.0f} ms (p99), {last:.0f} ms (longest); "
            f"{len(seen.cut_off) + len(seen.refused)} failures, {len(seen.faults)} violations"
        )


async def hop(url: str, *, processes: int, runs: int, clients: int) -> Hopped:
    """Let clients ask in one session, each time another process than the time before."""
    talk = Clients(sessions=1, with_tool=False, runs=runs)
    memory = memory_of(url)
    async with memory, AsyncExitStack() as stack:
        entered = [stack.enter_async_context(serving(url, with_tool=False)) for _ in range(processes)]
        served = await asyncio.gather(*entered)
        await talk.end_trouble(*(str(one.http.base_url) for one in served))
        began = time.perf_counter()
        await asyncio.gather(*(talk.one_client(number) for number in range(clients)))
        took_s = time.perf_counter() - began
        await talk.check(memory)
    if len(talk.stored) != talk.answers:
        talk.faults.append(f"{len(talk.stored)} runs are stored, and {talk.answers} were answered")
    return Hopped(talk, runs, took_s)


async def measure(memory: str, *, processes: int, runs: int, clients: int) -> Hopped:
    """Hop on an empty store."""
    async with store_url(memory) as url:
        return await hop(url, processes=processes, runs=runs, clients=clients)


def main() -> None:
    """Hop, and print one line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--memory", choices=SHARED_STORES, default="redis")
    parser.add_argument("--processes", type=int, default=3)
    parser.add_argument("--runs", type=int, default=500)
    parser.add_argument("--clients", type=int, default=6)
    options = parser.parse_args()
    seen = asyncio.run(measure(options.memory, processes=options.processes, runs=options.runs, clients=options.clients))
    for fault in seen.clients.faults:
        print(fault)
    print(f"{options.memory}, {options.processes} processes, {options.clients} clients in one session: {seen}")
    raise SystemExit(bool(seen.clients.faults))


if __name__ == "__main__":
    main()
