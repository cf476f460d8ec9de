"""What memories cost, in one run: `python -m benchmarks.memory [--only runs|sizes|limit|endpoints|pages]`."""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack

from .memories import memory_of
from .memory_lists import measure_endpoints, measure_pages
from .memory_runs import measure_limit, measure_runs, measure_sizes
from .ratios import Ratios
from .stores import STORES, store_url

PARTS = ("runs", "sizes", "limit", "endpoints", "pages")


async def measure(stores: Sequence[str], parts: Sequence[str], rounds: int) -> Ratios:
    """Return all ratios; the first round of each part warms up and does not count."""
    ratios = Ratios()
    for part in parts:
        async with AsyncExitStack() as stack:
            urls = {name: await stack.enter_async_context(store_url(name)) for name in stores}
            if part == "endpoints":
                await measure_endpoints(urls, ratios, rounds)
            elif part == "limit":
                await measure_limit(stores, ratios, rounds)
            else:
                memories = {name: await stack.enter_async_context(memory_of(url)) for name, url in urls.items()}
                work = {"runs": measure_runs, "sizes": measure_sizes, "pages": measure_pages}[part]
                await work(memories, ratios, rounds)
    return ratios


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.memory", description=__doc__)
    parser.add_argument("--rounds", type=int, default=7, help="rounds after the first, which warms up (default: 7)")
    parser.add_argument("--only", choices=PARTS, action="append", help="some parts only")
    parser.add_argument("--store", choices=STORES, action="append", help="some stores only, local always")
    options = parser.parse_args()
    began = time.monotonic()
    stores = [name for name in STORES if name == "local" or name in (options.store or STORES)]
    ratios = asyncio.run(measure(stores, options.only or PARTS, options.rounds))
    print(ratios.table())
    print(f"\n{options.rounds} rounds, {time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main()
