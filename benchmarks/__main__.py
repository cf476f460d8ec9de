"""What a run costs behind our server, as ratios to a bare route around the same agent, in one interleaved run."""

from __future__ import annotations

import argparse
import asyncio
import time
from contextlib import ExitStack

from .process import server
from .ratios import Ratios
from .rounds import KINDS, LOADS, one_round
from .standing import measure_memory, measure_start


async def measure(rounds: int) -> Ratios:
    """Return all ratios; the first round warms up and does not count."""
    ratios = Ratios()
    agents = sorted({load.agent for load in LOADS.values()})
    with ExitStack() as stack:
        servers = {
            (kind, agent): stack.enter_context(server(kind, agent, provider=True)) for kind in KINDS for agent in agents
        }
        for number in range(rounds + 1):
            await one_round(servers, ratios if number else Ratios(), backwards=number % 2 == 1)
    await measure_start(ratios)
    await measure_memory(ratios)
    return ratios


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="rounds after the first, which warms up (default: 5)")
    arguments = parser.parse_args()
    began = time.monotonic()
    ratios = asyncio.run(measure(arguments.rounds))
    print(ratios.table())
    print(f"\n{arguments.rounds} rounds, {time.monotonic() - began:.0f} s; ratios to the bare route, but for MiB")


if __name__ == "__main__":
    main()
