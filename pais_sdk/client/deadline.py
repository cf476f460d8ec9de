"""When the time of one exchange is over."""

from __future__ import annotations

import math
from collections.abc import Awaitable
from typing import TypeVar

import anyio

T = TypeVar("T")


class Deadline:
    """A moment that waiting ends at.

    Args:
        timeout_s: Seconds from now; None or infinity for never.
    """

    def __init__(self, timeout_s: float | None) -> None:
        self.timeout_s = timeout_s
        self._at = None if timeout_s is None or timeout_s == math.inf else anyio.current_time() + timeout_s

    def left_s(self) -> float | None:
        """Return how many seconds there are left, 0 if none; None where it never ends."""
        return None if self._at is None else max(0.0, self._at - anyio.current_time())

    async def wait(self, work: Awaitable[T]) -> T:
        """Await something until then.

        Raises:
            TimeoutError: It was not done by then, and is cancelled.
        """
        if self._at is None:
            return await work
        with anyio.CancelScope(deadline=self._at):
            return await work
        raise TimeoutError
