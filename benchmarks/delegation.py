"""What one delegation adds to a run, beside two bare routes of which one calls the other by hand.

    python -m benchmarks.delegation [--rounds 7]

The orchestrator's model calls one tool and then says what that returned. Of each kind there are two orchestrators:
the tool of one has the answer itself, that of the other delegates to a worker, a server of the same kind. What a hop
adds is the time of an answer of the second less that of the first; the ratio is of ours to that of the bare routes,
whose tool posts to the other's chat route with a shared client. All are asked in turns, one request at a time.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass

import httpx

from .agents import ANSWER, QUESTION
from .process import server
from .ratios import Ratios, Row

REQUESTS = 60
AIM = 0.9
_BODY = {"messages": [{"role": "user", "content": QUESTION}]}


@dataclass(frozen=True)
class Pair:
    """The URLs of two orchestrators of one kind."""

    alone: str
    delegating: str


def start(stack: ExitStack) -> dict[str, Pair]:
    """Start all servers, to be ended with the stack."""

    def url(kind: str, agent: str, **environment: str) -> str:
        return stack.enter_context(server(kind, f"delegating:{agent}", provider=True, **environment)).url

    pairs: dict[str, Pair] = {}
    for name, kind in (("bare", "bare"), ("bare, frozen", "frozen")):
        by_hand = url(kind, "by_hand", WORKER_URL=url(kind, "worker"))
        pairs[name] = Pair(url(kind, "alone"), by_hand)
    alone = url("ours", "alone")
    for name, a2a in (("A2A", "true"), ("chat completions", "false")):
        worker = url("ours", "worker", AGENT_A2A=a2a)
        pairs[name] = Pair(alone, url("ours", "delegating", AGENT_SUB_AGENTS=f"worker:{worker}"))
    pairs["in the process"] = Pair(alone, url("ours", "local"))
    return pairs


async def one_round(pairs: Mapping[str, Pair], client: httpx.AsyncClient, *, backwards: bool) -> dict[str, float]:
    """Return the seconds that a hop adds, by kind."""
    names = list(pairs)[:: -1 if backwards else 1]
    more: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(REQUESTS):
        for name in names:
            alone = await _answer_s(client, pairs[name].alone)
            more[name].append(await _answer_s(client, pairs[name].delegating) - alone)
    return {name: statistics.median(values) for name, values in more.items()}


async def _answer_s(client: httpx.AsyncClient, url: str) -> float:
    began = time.perf_counter()
    answer = await client.post(f"{url}/v1/chat/completions", json=_BODY)
    took_s = time.perf_counter() - began
    assert answer.raise_for_status().json()["choices"][0]["message"]["content"] == ANSWER, answer.text
    return took_s


async def measure(rounds: int) -> Ratios:
    """Return all figures; the first round warms up and does not count."""
    ratios = Ratios()
    with ExitStack() as stack:
        pairs = start(stack)
        async with httpx.AsyncClient(timeout=30, trust_env=False) as client:
            for number in range(rounds + 1):
                found = await one_round(pairs, client, backwards=number % 2 == 1)
                if number:
                    base = found.pop("bare")
                    ratios.add(Row("a hop: ms", "bare"), base * 1e3)
                    for name, value in found.items():
                        aim = None if name.startswith("bare") else AIM
                        ratios.add(Row("a hop, over the bare one", name, aim), value / base)
    return ratios


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.delegation",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--rounds", type=int, default=7, help="rounds after the first, which warms up (default: 7)")
    options = parser.parse_args()
    began = time.monotonic()
    ratios = asyncio.run(measure(options.rounds))
    print(ratios.table())
    print(f"\n{options.rounds} rounds of {REQUESTS} requests each, {time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main()
