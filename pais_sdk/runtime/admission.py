"""Admission: how many runs are active at once, and who waits."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager

from ..errors import ConfigurationError, OverloadedError


class Admission:
    """A limit of active runs with a bounded queue, first come, first served; lives on one event loop.

    A run first waits for its session and then for a place, so that runs that wait for one session take no place from
    those of others.

    Args:
        max_active_runs: Runs at once, 1 or more.
        max_queued_runs: Runs that may wait, 0 or more; one more is refused at once.
        max_runs_per_scope: Active and waiting runs of one scope, 1 or more; one more is refused at once. None for no
            such limit; runs without a scope have none.
        wait_s: The longest wait in the queue, in seconds.
    """

    def __init__(
        self, *, max_active_runs: int, max_queued_runs: int, max_runs_per_scope: int | None, wait_s: float
    ) -> None:
        if max_active_runs < 1:
            raise ConfigurationError(f"max_active_runs={max_active_runs!r} admits nobody; use 1 or more")
        if max_queued_runs < 0:
            raise ConfigurationError(f"max_queued_runs={max_queued_runs!r} must not be negative")
        if max_runs_per_scope is not None and max_runs_per_scope < 1:
            raise ConfigurationError(f"max_runs_per_scope={max_runs_per_scope!r} admits nobody; use 1 or more")
        self._limit = max_active_runs
        self._max_queued = max_queued_runs
        self._scope_limit = max_runs_per_scope
        self._wait_s = wait_s
        self._active = 0
        self._inside = 0
        self._of_scope: Counter[str] = Counter()
        self._queue: deque[asyncio.Future[None]] = deque()

    @property
    def active(self) -> int:
        """How many runs have a place now."""
        return self._active

    @property
    def waiting(self) -> int:
        """How many runs are admitted and have no place yet: they wait for their session or for a place."""
        return self._inside - self._active

    def check(self, scope: str | None = None) -> None:
        """Raise OverloadedError where one more run, of this scope, would be refused at once."""
        if self._inside >= self._limit + self._max_queued:
            raise OverloadedError(max_active_runs=self._limit)
        if scope is not None and self._scope_limit is not None and self._of_scope[scope] >= self._scope_limit:
            raise OverloadedError(max_active_runs=self._scope_limit, of_scope=True)

    @contextmanager
    def admitted(self, scope: str | None) -> Generator[None]:
        """Be counted among the active and waiting runs; raises OverloadedError where they are too many."""
        self.check(scope)
        self._inside += 1
        if scope is not None:
            self._of_scope[scope] += 1
        try:
            yield
        finally:
            self._inside -= 1
            if scope is not None:
                self._of_scope[scope] -= 1
                if not self._of_scope[scope]:
                    del self._of_scope[scope]

    @asynccontextmanager
    async def place(self) -> AsyncGenerator[None]:
        """Hold one of the places, waiting for it if need be; raises OverloadedError where the wait is too long."""
        if self._active < self._limit:
            self._active += 1
        else:
            await self._wait()
        try:
            yield
        finally:
            self._give_back()

    async def _wait(self) -> None:
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queue.append(turn)
        try:
            async with asyncio.timeout(self._wait_s):
                await turn
        except BaseException as error:
            if turn.done() and not turn.cancelled():
                self._give_back()  # the place came just when we gave up
            elif turn in self._queue:
                self._queue.remove(turn)
            if isinstance(error, TimeoutError):
                raise OverloadedError(max_active_runs=self._limit) from None
            raise

    def _give_back(self) -> None:
        while self._queue:
            turn = self._queue.popleft()
            if not turn.done():
                turn.set_result(None)  # the place goes to the next, so the count stays
                return
        self._active -= 1
