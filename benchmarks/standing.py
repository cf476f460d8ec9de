"""What a server costs apart from its runs: to start, to stand there, and to have run for a while."""

from __future__ import annotations

from contextlib import ExitStack

from .loads import chat
from .process import server
from .ratios import Ratios, Row

STARTS = 4
RUNS = 5000
_AIM_START = 0.85
_AIM_IDLE_MIB = 85


async def measure_start(ratios: Ratios) -> None:
    """Start servers in turns; the first of each kind writes the byte code and does not count."""
    for number in range(STARTS + 1):
        cpu_s: dict[str, float] = {}
        memory_mib: dict[str, float] = {}
        for kind in ("ours", "bare") if number % 2 else ("bare", "ours"):
            with server(kind) as started:
                cpu_s[kind] = started.cpu_s
                await chat(started, clients=1, requests=5)
                memory_mib[kind] = started.memory_mib
        if number:
            ratios.add(Row("start: CPU to the first answer", "ours", _AIM_START), cpu_s["ours"] / cpu_s["bare"])
            ratios.add(Row("start: MiB in memory after 5 runs", "bare"), memory_mib["bare"])
            ratios.add(Row("start: MiB in memory after 5 runs", "ours", _AIM_IDLE_MIB), memory_mib["ours"])
            ratios.add(Row("start: memory after 5 runs", "ours"), memory_mib["ours"] / memory_mib["bare"])


async def measure_memory(ratios: Ratios) -> None:
    """See how large servers are after many runs, each of which is a session of its own."""
    with ExitStack() as stack:
        servers = {kind: stack.enter_context(server(kind)) for kind in ("bare", "ours")}
        for started in servers.values():
            await chat(started, clients=16, requests=RUNS)
        memory_mib = {kind: started.memory_mib for kind, started in servers.items()}
    for kind, size in memory_mib.items():
        ratios.add(Row(f"MiB in memory after {RUNS} runs", kind), size)
    ratios.add(Row(f"memory after {RUNS} runs", "ours"), memory_mib["ours"] / memory_mib["bare"])
