"""Three times what a server can take: who is served, who is refused, and how long either waits.

    python -m benchmarks.overload

First as many clients as there are places ask without a pause: that is the capacity. Then requests come at three times
that rate, whether others are answered or not, as from many clients who know nothing of each other.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import time
from collections import Counter
from dataclasses import dataclass, field

from .waiting import ANSWER_S, serving


class Clients:
    """Connections to a server, opened as they are needed; plain sockets, so that the clients are not what is slow."""

    def __init__(self, url: str) -> None:
        self._host, _, self._port = url.removeprefix("http://").partition(":")
        body = json.dumps({"messages": [{"role": "user", "content": "A question of a few words?"}]})
        head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: {self._host}\r\nContent-Length: {len(body)}\r\n\r\n"
        self._request = f"{head}{body}".encode()
        self._idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def ask(self) -> str:
        """Send one request and return the status, or what came in place of an answer."""
        try:
            reader, writer = self._idle.pop() if self._idle else await asyncio.open_connection(self._host, self._port)
            writer.write(self._request)
            head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
            await reader.readexactly(int(head.partition("content-length: ")[2].partition("\r")[0]))
        except (OSError, asyncio.IncompleteReadError) as error:
            return type(error).__name__
        self._idle.append((reader, writer))
        return head.split()[1] + (" without Retry-After" if " 429 " in head and "retry-after" not in head else "")

    def close(self) -> None:
        """Close all connections."""
        for _, writer in self._idle:
            writer.close()


@dataclass
class Seen:
    """What clients saw: how often each status came, and the seconds until it did."""

    statuses: Counter[str] = field(default_factory=lambda: Counter[str]())
    served_s: list[float] = field(default_factory=lambda: list[float]())
    refused_s: list[float] = field(default_factory=lambda: list[float]())
    duration_s: float = 0.0

    async def ask(self, clients: Clients) -> None:
        """Send one request and count what comes."""
        began = time.perf_counter()
        status = await clients.ask()
        self.statuses[status] += 1
        {"200": self.served_s, "429": self.refused_s}.get(status, []).append(time.perf_counter() - began)

    @property
    def rate(self) -> float:
        """Requests that were served in a second."""
        return len(self.served_s) / self.duration_s

    def row(self, name: str) -> str:
        """Return a row of the table."""
        served, refused = self.statuses["200"], self.statuses["429"]
        others = self.statuses.total() - served - refused
        times = [_ms(self.served_s, 0.5), _ms(self.served_s, 0.99), _ms(self.refused_s, 0.5), _ms(self.refused_s, 0.99)]
        return f"| {name} | {served} | {refused} | {others} | {self.rate:.0f} | {' | '.join(times)} |"


HEADER = """| load | served | refused (429) | other | served/s | served p50 | p99 | refused p50 | p99 |
|---|---|---|---|---|---|---|---|---|"""


def _ms(seconds: list[float], share: float) -> str:
    if not seconds:
        return "-"
    return f"{sorted(seconds)[math.ceil(len(seconds) * share) - 1] * 1000:.0f} ms"


async def at_capacity(clients: Clients, *, count: int, seconds: float) -> Seen:
    """Let clients ask without a pause."""
    seen, began = Seen(), time.perf_counter()

    async def one_client() -> None:
        while time.perf_counter() - began < seconds:
            await seen.ask(clients)

    await asyncio.gather(*(one_client() for _ in range(count)))
    seen.duration_s = time.perf_counter() - began
    return seen


async def at_rate(clients: Clients, *, rate: float, seconds: float) -> Seen:
    """Let requests come at a rate, answered or not."""
    seen, began = Seen(), time.perf_counter()
    asked: list[asyncio.Task[None]] = []
    while (now := time.perf_counter() - began) < seconds:
        while len(asked) < now * rate:
            asked.append(asyncio.create_task(seen.ask(clients)))
        await asyncio.sleep(1 / rate)
    await asyncio.gather(*asked)
    seen.duration_s = time.perf_counter() - began
    return seen


async def measure(*, places: int, queue: int, seconds: float) -> str:
    """Return the table."""
    limits = {"AGENT_MAX_ACTIVE_RUNS": str(places), "AGENT_MAX_QUEUED_RUNS": str(queue)}
    async with serving(**limits, MEMORY_TYPE="null") as served:
        clients = Clients(served.url)
        await at_capacity(clients, count=places, seconds=1)
        capacity = await at_capacity(clients, count=places, seconds=seconds)
        overload = await at_rate(clients, rate=3 * capacity.rate, seconds=seconds)
        after = Seen()
        await after.ask(clients)
        after.duration_s = sum(after.served_s) or 1
        rows = [
            capacity.row(f"{places} clients without a pause"),
            overload.row(f"{3 * capacity.rate:.0f} requests a second"),
            after.row("one request right after"),
        ]
        clients.close()
        code = await served.stop()
    shape = f"{places} places, {queue} in the queue, a model that takes {ANSWER_S * 1000:.0f} ms; exit code {code}"
    return "\n".join([HEADER, *rows, "", shape])


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.overload", description=__doc__)
    parser.add_argument("--places", type=int, default=8)
    parser.add_argument("--queue", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=8.0, help="for each of the two loads (default: 8)")
    arguments = parser.parse_args()
    print(asyncio.run(measure(places=arguments.places, queue=arguments.queue, seconds=arguments.seconds)))


if __name__ == "__main__":
    main()
