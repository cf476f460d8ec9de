"""A collector in a process of its own, and what it took: `async with receiver() as otlp`."""

from __future__ import annotations

import asyncio
import itertools
import json
import sys
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

_ROOT = Path(__file__).parent.parent
_LONGEST_LINE = 2**26


@dataclass(frozen=True, kw_only=True)
class Taken:
    """What all that came has."""

    scope: str
    resource: dict[str, Any]
    over: str
    """`grpc` or `http`."""

    headers: dict[str, str]
    attributes: dict[str, Any]

    @property
    def service(self) -> str:
        return self.resource["service.name"]


@dataclass(frozen=True, kw_only=True)
class SpanTaken(Taken):
    name: str
    trace_id: str
    span_id: str
    parent_id: str | None
    trace_state: str
    kind: str
    start_ns: int
    end_ns: int
    status: str
    status_text: str
    events: list[str]


@dataclass(frozen=True, kw_only=True)
class PointTaken(Taken):
    """A number of a metric, or one of its histograms: then the value is its sum."""

    name: str
    unit: str
    kind: str
    value: float
    count: int | None


@dataclass(frozen=True, kw_only=True)
class LogTaken(Taken):
    body: Any
    severity: str
    trace_id: str | None
    span_id: str | None


@dataclass
class Receiver:
    """What came so far, in order; metrics come again and again, as sums since their process began."""

    process: asyncio.subprocess.Process
    grpc_url: str
    http_url: str
    spans: list[SpanTaken] = field(default_factory=list[SpanTaken])
    points: list[PointTaken] = field(default_factory=list[PointTaken])
    logs: list[LogTaken] = field(default_factory=list[LogTaken])
    attempts: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    """Signal and protocol of what was not taken, or not yet."""

    _said: set[str] = field(default_factory=set[str])
    _came: asyncio.Event = field(default_factory=asyncio.Event)
    _numbers: itertools.count[int] = field(default_factory=itertools.count)

    def url(self, protocol: str) -> str:
        return self.grpc_url if protocol == "grpc" else self.http_url

    def environment(self, protocol: str) -> dict[str, str]:
        """Return the variables with which a process exports to here."""
        return {"OTEL_EXPORTER_OTLP_ENDPOINT": self.url(protocol), "OTEL_EXPORTER_OTLP_PROTOCOL": protocol}

    def newest(self, name: str, service: str | None = None) -> list[PointTaken]:
        """Return the newest state of a metric: one point for each process and set of labels."""
        found = [point for point in self.points if point.name == name and service in (None, point.service)]
        return list({_identity(point): point for point in found}.values())

    async def until(self, condition: Callable[[], Any]) -> None:
        """Wait until something is so; belongs into a `fail_after`."""
        while not condition():
            self._came.clear()
            await self._came.wait()

    async def settled(self) -> None:
        """Return when all that exporters were answered is here."""
        await self._tell(f"word-{next(self._numbers)}")

    async def behave(self, how: Literal["ok", "hang", "unavailable"]) -> None:
        """Answer from now on: take it, keep exporters waiting, or turn them away for a while."""
        self._said.discard(how)
        await self._tell(how)

    async def attempted(self, times: int) -> None:
        """Wait for so many attempts that were not taken."""
        await self.until(lambda: len(self.attempts) >= times)

    async def _tell(self, word: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{word}\n".encode())
        await self.until(lambda: word in self._said)

    async def read(self, lines: asyncio.StreamReader) -> None:
        while line := await lines.readline():
            told = json.loads(line)
            match told.pop("what"):
                case "span":
                    self.spans.append(SpanTaken(**told))
                case "point":
                    self.points.append(PointTaken(**told))
                case "log":
                    self.logs.append(LogTaken(**told))
                case "attempt":
                    self.attempts.append((told["signal"], told["over"]))
                case "said":
                    self._said.add(told["word"])
                case other:
                    raise AssertionError(other)
            self._came.set()


AT_ONCE = {
    "OTEL_BSP_SCHEDULE_DELAY": "20",
    "OTEL_BLRP_SCHEDULE_DELAY": "20",
    "OTEL_METRIC_EXPORT_INTERVAL": "100",
}
"""Intervals in milliseconds, for tests that wait for what comes."""


def _identity(point: PointTaken) -> str:
    return json.dumps([point.resource.get("service.instance.id"), sorted(point.attributes.items())])


@asynccontextmanager
async def receiver() -> AsyncGenerator[Receiver]:
    """Collect while the block runs."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.otlp_process"),
        cwd=_ROOT,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=_LONGEST_LINE,
    )
    try:
        assert process.stdout is not None
        first = await process.stdout.readline()
        assert first, "the collector ended"
        urls = json.loads(first)
        here = Receiver(process, urls["grpc"], urls["http"])
        reading = asyncio.create_task(here.read(process.stdout))
        try:
            yield here
        finally:
            assert process.stdin is not None
            process.stdin.close()
            await reading
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
