"""Rounds: every load on every server, in turns, so that what else the machine does meets all of them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from .in_process import in_process
from .loads import chat, streams
from .process import ServerProcess
from .ratios import Ratios, Row

OURS = "ours"


@dataclass(frozen=True)
class Load:
    """What is done to the servers around one agent, and what the ratios of ours should be."""

    measure: Callable[..., Awaitable[dict[str, float]]]
    aims: Mapping[str, float] = field(default_factory=dict[str, float])
    agent: str = "agents:agent"


LOADS = {
    "chat, 1 client": Load(partial(chat, clients=1, requests=150), {"CPU of a request": 1.10}),
    "chat, 16 clients": Load(partial(chat, clients=16, requests=480), {"CPU of a request": 0.90, "p99": 0.35}),
    "chat, 64 clients": Load(partial(chat, clients=64, requests=640), {"CPU of a request": 0.90}),
    "stream of 200 chunks": Load(partial(streams, runs=15), {"CPU of a chunk": 1.05, "first token": 1.15}),
    "one tool call, 16 clients": Load(
        partial(chat, clients=16, requests=240), {"CPU of a request": 1.05}, agent="agents:tool_agent"
    ),
}

# Who is measured: the kind of server, and what is sent to it beside the question.
MEASURED: dict[str, tuple[str, dict[str, Any]]] = {
    "bare": ("bare", {}),
    "bare, frozen": ("frozen", {}),
    OURS: ("ours", {}),
    "ours, store: false": ("ours", {"store": False}),
}
KINDS = ("bare", "frozen", "ours")


async def one_round(servers: Mapping[tuple[str, str], ServerProcess], ratios: Ratios, *, backwards: bool) -> None:
    """Measure everything once.

    Args:
        servers: By kind and agent.
        ratios: Takes what was found.
        backwards: Whether the bare route comes last.
    """
    names = list(reversed(MEASURED)) if backwards else list(MEASURED)
    for name, load in LOADS.items():
        found: dict[str, dict[str, float]] = {}
        for who in names:
            kind, options = MEASURED[who]
            found[who] = await load.measure(servers[kind, load.agent], **options)
        base = found.pop("bare")
        for metric in base:
            for who in sorted(found, key=list(MEASURED).index):
                aim = load.aims.get(metric) if who == OURS else None
                ratios.add(Row(f"{name}: {metric}", who, aim), found[who][metric] / base[metric])
    await _in_process(ratios, backwards=backwards)


async def _in_process(ratios: Ratios, *, backwards: bool) -> None:
    found = await in_process(backwards=backwards)
    for what, (base, others) in {
        "no server: CPU of a run": ("agent.run", ("AgentRuntime.run", "AgentRuntime.run, store=False")),
        "no server: CPU of a chunk": ("agent.run_stream_events", ("AgentRuntime.stream",)),
    }.items():
        for who in others:
            ratios.add(Row(what, who), found[who] / found[base])
