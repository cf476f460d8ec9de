"""What it takes to list sessions and events, over HTTP and in this process."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Mapping
from contextlib import AsyncExitStack
from pathlib import Path

from pais_sdk.memory import Memory
from tests.processes import Process, process

from .filling import create_sessions, fill_sessions
from .memories import memory_of
from .memory_kill import ROOT
from .memory_runs import Cost, cost_of, in_turns
from .ratios import Ratios, Row

SESSIONS, RUNS = 1000, 25  # each run is two events
_REQUESTS = 30
_AIM_MS = 5.0
_PATHS = {
    "/memory/sessions": "/memory/sessions",
    "/memory/events of a session": f"/memory/events?session_id=s{SESSIONS // 2}",
    "/memory/events of all": "/memory/events",
}
_FEW, _MANY = 1_000, 100_000


async def measure_endpoints(urls: Mapping[str, str], ratios: Ratios, rounds: int) -> None:
    """Measure the memory endpoints at 1,000 sessions of 50 events each.

    First the sessions were written to one after the other; then once more, so that the newest events are those of many.
    """
    for spread in (False, True):
        for name, url in urls.items():
            if name != "local":  # its sessions are in the process that serves
                async with memory_of(url) as memory:
                    await fill_sessions(memory, sessions=SESSIONS, runs=1 if spread else RUNS)
        async with AsyncExitStack() as stack:
            served: dict[str, Process] = {}
            for name, url in urls.items():
                environment = {"STORE_URL": url, "MEMORY_TYPE": "null"}
                if name == "local":
                    environment["FILL"] = f"{RUNS},1" if spread else f"{RUNS}"
                serving = process(ROOT, "benchmarks.storing:app", **environment)
                served[name] = await stack.enter_async_context(serving)
            for number in range(rounds + 1):
                await _one_round(served, ratios if number else Ratios(), number, spread=spread)


async def _one_round(served: Mapping[str, Process], ratios: Ratios, number: int, *, spread: bool) -> None:
    for what, path in _PATHS.items():
        for name in in_turns(list(served), number):
            found: list[float] = []
            before = _cpu_s(served[name].pid)
            for _ in range(_REQUESTS):
                began = time.perf_counter()
                (await served[name].http.get(path)).raise_for_status()
                found.append((time.perf_counter() - began) * 1000)
            cpu_ms = (_cpu_s(served[name].pid) - before) / _REQUESTS * 1000
            events = ", the newest of many sessions" if spread else ""
            ratios.add(Row(f"{what}{events}: ms to the answer", name, _AIM_MS), statistics.median(found))
            ratios.add(Row(f"{what}{events}: CPU, ms", name), cpu_ms)


def _cpu_s(pid: int) -> float:
    """Return the CPU time of a process so far; /proc is Linux."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def measure_pages(memories: Mapping[str, Memory], ratios: Ratios, rounds: int) -> None:
    """Compare the first page of 100,000 sessions with that of 1,000."""
    for memory in memories.values():
        for count in (_FEW, _MANY):
            await create_sessions(memory.scoped(f"of-{count}"), count)
    for number in range(rounds + 1):
        for name in in_turns(list(memories), number):
            costs: dict[int, Cost] = {}
            for count in (_FEW, _MANY):
                scoped = memories[name].scoped(f"of-{count}")
                costs[count] = await cost_of(scoped.list_sessions)
            if number:
                ratios.add(Row(f"first page of {_MANY:,} sessions over {_FEW:,}: CPU", name, 2), _ratio(costs, "cpu"))
                ratios.add(Row(f"first page of {_MANY:,} sessions over {_FEW:,}: time", name, 2), _ratio(costs, "wall"))
                ratios.add(Row(f"first page of {_MANY:,} sessions: ms", name), costs[_MANY].wall)


def _ratio(costs: Mapping[int, Cost], what: str) -> float:
    return getattr(costs[_MANY], what) / getattr(costs[_FEW], what)
