"""What a run costs on each store, in this process."""

from __future__ import annotations

import gc
import itertools
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass

from pais_sdk import AgentRuntime
from pais_sdk.memory import Memory

from .agents import QUESTION, agent
from .filling import create_sessions, fill_session, take_and_append, turns
from .memories import memory_of
from .ratios import Ratios, Row
from .stores import store_url

_RUNS = 50
_WINDOW = 20
_SIZES = (10, 5_000, 100_000)
_AIMS_MS = {"redis": 0.4, "sqlite": 0.9}
_LIMIT = 1000


@dataclass(frozen=True)
class Cost:
    """What something costs each time, in milliseconds."""

    cpu: float
    """Of this process: that of a database or Redis beside it is not in it."""
    wall: float


async def cost_of(work: Callable[[], Awaitable[object]], times: int = _RUNS) -> Cost:
    """Do something so often and return what it costs once; collections look at what is new only, as in a server."""
    gc.collect()
    gc.freeze()
    cpu, wall = time.process_time(), time.perf_counter()
    for _ in range(times):
        await work()
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    gc.unfreeze()
    return Cost(cpu / times * 1000, wall / times * 1000)


def in_turns(names: Sequence[str], number: int) -> list[str]:
    """Return names in the order of one round: backwards in every other one."""
    return list(reversed(names)) if number % 2 else list(names)


async def measure_runs(memories: Mapping[str, Memory], ratios: Ratios, rounds: int) -> None:
    """Compare a run, and what a run does to the memory alone, with LocalMemory's."""
    for number in range(rounds + 1):
        runs: dict[str, Cost] = {}
        alone: dict[str, Cost] = {}
        for name in in_turns(list(memories), number):
            memory, session_id = memories[name], f"run-{number}"
            await fill_session(memory, session_id, _WINDOW)
            runtime = AgentRuntime(agent, memory=memory, history_limit=_WINDOW)
            async with runtime:
                runs[name] = await cost_of(lambda: runtime.run(QUESTION, session_id=session_id))  # noqa: B023
            alone[name] = await cost_of(lambda: take_and_append(memory, session_id, turns(1), limit=_WINDOW))  # noqa: B023
        for what, found in (("a run", runs), ("take and append alone", alone)):
            local = found["local"]
            for name, cost in found.items() if number else ():
                aim = _AIMS_MS.get(name) if what == "a run" else None
                if name == "local":
                    ratios.add(Row(f"{what}: CPU, ms", name), cost.cpu)
                else:
                    ratios.add(Row(f"{what}: CPU over local, ms", name, aim), cost.cpu - local.cpu)
                    ratios.add(Row(f"{what}: time over local, ms", name), cost.wall - local.wall)


async def measure_sizes(memories: Mapping[str, Memory], ratios: Ratios, rounds: int) -> None:
    """Compare a run in a long session with one in a session of ten messages; the window is six in both."""
    for memory in memories.values():
        for size in _SIZES[1:]:
            await fill_session(memory, f"long-{size}", size)
    for number in range(rounds + 1):
        for name in in_turns(list(memories), number):
            memory = memories[name]
            await fill_session(memory, f"short-{number}", _SIZES[0])
            sessions = {_SIZES[0]: f"short-{number}", **{size: f"long-{size}" for size in _SIZES[1:]}}
            costs: dict[int, Cost] = {}
            async with AgentRuntime(agent, memory=memory, history_limit=6) as runtime:
                for size in sorted(sessions, reverse=number % 2 == 1):
                    session_id = sessions[size]
                    costs[size] = await cost_of(lambda: runtime.run(QUESTION, session_id=session_id))  # noqa: B023
            for size in _SIZES[1:] if number else ():
                what = f"a run at {size:,} messages over one at {_SIZES[0]}"
                ratios.add(Row(f"{what}: CPU", name, 1.05), costs[size].cpu / costs[_SIZES[0]].cpu)
                ratios.add(Row(f"{what}: time", name, 1.05), costs[size].wall / costs[_SIZES[0]].wall)


async def measure_limit(names: Sequence[str], ratios: Ratios, rounds: int) -> None:
    """Compare runs in new sessions in a store that is full with one of the same size that is far from it."""
    async with AsyncExitStack() as stack:
        pairs: dict[str, list[Memory]] = {}
        for name in names:
            pairs[name] = []
            for limit in (_LIMIT, 100 * _LIMIT):
                memory = memory_of(await stack.enter_async_context(store_url(name)), max_sessions=limit)
                pairs[name].append(await stack.enter_async_context(memory))
                await create_sessions(memory, _LIMIT)
        for number in range(rounds + 1):
            for name in in_turns(names, number):
                full, roomy = [await _in_new_sessions(memory, number) for memory in pairs[name]]
                for what, aim in (("a run", 1.05), ("take and append alone", None)) if number else ():
                    row = f"{what} in a new session, a full store over another"
                    ratios.add(Row(f"{row}: CPU", name, aim), full[what].cpu / roomy[what].cpu)
                    ratios.add(Row(f"{row}: time", name, aim), full[what].wall / roomy[what].wall)


async def _in_new_sessions(memory: Memory, number: int) -> dict[str, Cost]:
    """Return what a run costs, and what a run does to the memory alone."""
    ids = (f"new-{number}-{one}" for one in itertools.count())
    async with AgentRuntime(agent, memory=memory, history_limit=_WINDOW) as runtime:
        run = await cost_of(lambda: runtime.run(QUESTION, session_id=next(ids)))
    alone = await cost_of(lambda: take_and_append(memory, next(ids), turns(1), limit=_WINDOW), 3 * _RUNS)
    return {"a run": run, "take and append alone": alone}
