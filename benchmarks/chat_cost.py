"""What a run costs behind the server, as a ratio to a bare route around the same agent, in one interleaved run.

    python benchmarks/chat_cost.py [--rounds 7]

CPU is the server process's own time per request, from /proc, so this runs on Linux.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import httpx

BODY: dict[str, Any] = {"messages": [{"role": "user", "content": "A question of a few words?"}], "store": False}
Measure = Callable[[httpx.AsyncClient, int], Coroutine[Any, Any, dict[str, float]]]


def cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def chat(clients: int, requests: int) -> Measure:
    async def measure(client: httpx.AsyncClient, pid: int) -> dict[str, float]:
        times: list[float] = []

        async def one_client() -> None:
            for _ in range(requests // clients):
                began = time.perf_counter()
                (await client.post("/v1/chat/completions", json=BODY)).raise_for_status()
                times.append(time.perf_counter() - began)

        before = cpu_s(pid)
        await asyncio.gather(*(one_client() for _ in range(clients)))
        times.sort()
        return {"CPU per request": (cpu_s(pid) - before) / len(times), "p99": times[int(len(times) * 0.99) - 1]}

    return measure


async def stream(client: httpx.AsyncClient, pid: int) -> dict[str, float]:
    first: list[float] = []
    chunks = 0
    before = cpu_s(pid)
    for _ in range(20):
        began = time.perf_counter()
        seen = False
        async with client.stream("POST", "/v1/chat/completions", json={**BODY, "stream": True}) as answer:
            async for line in answer.aiter_lines():
                if '"content": "word' in line:
                    chunks += 1
                    if not seen:
                        seen = True
                        first.append(time.perf_counter() - began)
    return {"CPU per chunk": (cpu_s(pid) - before) / chunks, "first token": statistics.median(first)}


MEASURES: dict[str, Measure] = {
    "chat, 1 client": chat(1, 200),
    "chat, 16 clients": chat(16, 400),
    "chat, 64 clients": chat(64, 640),
    "stream of 200 chunks": stream,
}


def start(kind: str) -> tuple[subprocess.Popen[bytes], str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen([sys.executable, str(Path(__file__).with_name("servers.py")), kind, str(port)])
    url = f"http://127.0.0.1:{port}"
    for _ in range(200):
        try:
            httpx.post(f"{url}/v1/chat/completions", json=BODY).raise_for_status()
        except httpx.TransportError:
            time.sleep(0.1)
        else:
            return process, url
    raise SystemExit(f"the {kind} server did not start")


async def measure_all(servers: dict[str, tuple[int, str]], rounds: int) -> None:
    ratios: dict[str, list[float]] = {}
    for round_number in range(rounds + 1):
        for name, measure in MEASURES.items():
            results: dict[str, dict[str, float]] = {}
            order = sorted(servers, reverse=bool(round_number % 2))
            for kind in order:
                pid, url = servers[kind]
                async with httpx.AsyncClient(base_url=url, timeout=60) as client:
                    results[kind] = await measure(client, pid)
            for metric, value in results["pais_sdk"].items():
                if round_number:  # the first round warms up
                    ratios.setdefault(f"{name}: {metric}", []).append(value / results["bare"][metric])
    print(f"{'pais_sdk / bare route':44} {'min':>6} {'median':>6} {'max':>6}")
    for label, values in ratios.items():
        print(f"{label:44} {min(values):6.2f} {statistics.median(values):6.2f} {max(values):6.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
    started = {kind: start(kind) for kind in ("bare", "pais_sdk")}
    try:
        asyncio.run(measure_all({kind: (process.pid, url) for kind, (process, url) in started.items()}, rounds))
    finally:
        for process, _ in started.values():
            process.send_signal(signal.SIGTERM)
            process.wait(10)


if __name__ == "__main__":
    main()
