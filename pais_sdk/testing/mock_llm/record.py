"""What a mock model was asked, in counters that can be waited for."""

from __future__ import annotations

from typing import Any

import anyio


class Record:
    """What happened at a `MockLLM`, since it was made or reset.

    Attributes:
        requests: The accepted chat requests, as `/_requests` gives them.
        started: How many those are.
        finished: How many came to their own end, also as an error or a drop; counted before the last byte goes out.
        disconnected: How many were left by their client before that.
        gate: Set when the gate is open.
        end: Set when nothing is to hang any longer.
    """

    def __init__(self) -> None:
        self.requests: list[dict[str, Any]] = []
        self.started = 0
        self.finished = 0
        self.disconnected = 0
        self.gate = anyio.Event()
        self.end = anyio.Event()
        self._changed = anyio.Event()

    @property
    def stats(self) -> dict[str, int]:
        """The counters; `active` requests are neither finished nor disconnected."""
        active = self.started - self.finished - self.disconnected
        return {
            "active": active,
            "started": self.started,
            "finished": self.finished,
            "disconnected": self.disconnected,
        }

    def count(self, *, started: int = 0, finished: int = 0, disconnected: int = 0) -> None:
        """Add to the counters and wake those who wait for them."""
        self.started += started
        self.finished += finished
        self.disconnected += disconnected
        changed, self._changed = self._changed, anyio.Event()
        changed.set()

    async def wait(self, *, started: int = 0, finished: int = 0, disconnected: int = 0) -> None:
        """Return as soon as each counter has reached its number."""
        while self.started < started or self.finished < finished or self.disconnected < disconnected:
            await self._changed.wait()

    def let_go(self) -> None:
        """End what hangs and open the gate, for good: this record is over."""
        self.end.set()
        self.gate.set()
