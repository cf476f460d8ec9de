"""A process takes over from another under load: every token of every stream is counted.

    python -m benchmarks.rolling_restart

Clients stream without a pause. Three times in that, a new process starts and the old one gets SIGTERM; a client that
the old one refuses goes on to the new one and stays there.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from collections import Counter
from contextlib import AsyncExitStack

import httpx

from .waiting import TOKENS, Served, serving

_BODY = {"messages": [{"role": "user", "content": "Count."}], "stream": True}
_WHOLE = "".join(f"{number}," for number in range(TOKENS))


class Clients:
    """Clients of one process after the other, and what they counted."""

    def __init__(self, served: Served) -> None:
        self.urls = [served.url]
        self.counts: Counter[str] = Counter()
        self.stopped = False

    async def stream(self, http: httpx.AsyncClient, url: str) -> bool:
        """Stream one answer and count its tokens; returns whether the process took the request."""
        try:
            async with http.stream("POST", f"{url}/v1/chat/completions", json=_BODY) as answer:
                if answer.status_code == 200:
                    self.counts["streams"] += 1
                    await self._count(answer)
                    return True
                self.counts[f"refused with {answer.status_code}, went on to the next"] += 1
        except httpx.TransportError as error:  # no answer began: its socket was closed already, or just then
            self.counts[f"not answered ({type(error).__name__}), went on to the next"] += 1
        return False

    async def _count(self, answer: httpx.Response) -> None:
        said, done = "", False
        try:
            async for line in answer.aiter_lines():
                done = line == "data: [DONE]"
                if line.startswith("data: {"):
                    choices = json.loads(line[6:]).get("choices", [])
                    said += "".join(choice["delta"].get("content") or "" for choice in choices)
                if done:
                    break
        except httpx.TransportError as error:
            self.counts[f"broke off ({type(error).__name__})"] += 1
        self.counts["whole streams"] += said == _WHOLE and done
        self.counts["tokens that came"] += said.count(",")
        self.counts["tokens that were lost"] += TOKENS - said.count(",")

    async def one_client(self) -> None:
        """Stream without a pause, from the process that serves now to the one after it."""
        mine = 0
        async with httpx.AsyncClient(timeout=60) as http:
            while not self.stopped:
                if not await self.stream(http, self.urls[mine]):
                    mine += 1


async def measure(*, clients: int, restarts: int, workers: int) -> str:
    """Return the counts as a table."""
    environment = {"MEMORY_TYPE": "null", "AGENT_A2A": "false", "AGENT_WORKERS": str(workers)}
    codes: list[int] = []
    ends: list[str] = []
    async with AsyncExitStack() as stack:
        served = await stack.enter_async_context(serving(**environment))
        load = Clients(served)
        tasks = [asyncio.create_task(load.one_client()) for _ in range(clients)]
        for _ in range(restarts):
            following = await stack.enter_async_context(serving(**environment))
            load.urls.append(following.url)
            old, served = served, following
            began = time.perf_counter()
            codes.append(await old.stop())
            ends.append(f"{time.perf_counter() - began:.1f} s")
        load.stopped = True
        await asyncio.gather(*tasks)
        codes.append(await served.stop())
    rows = [f"| {what} | {count} |" for what, count in sorted(load.counts.items())]
    rows += [f"| exit codes | {codes} |", f"| from SIGTERM to the end | {', '.join(ends)} |"]
    return "\n".join([f"| {clients} clients, {restarts} restarts, {workers} workers | |", "|---|---|", *rows])


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.rolling_restart", description=__doc__)
    parser.add_argument("--clients", type=int, default=12)
    parser.add_argument("--restarts", type=int, default=3)
    parser.add_argument("--workers", type=int, default=1, help="of each server (default: 1)")
    arguments = parser.parse_args()
    print(asyncio.run(measure(clients=arguments.clients, restarts=arguments.restarts, workers=arguments.workers)))


if __name__ == "__main__":
    main()
