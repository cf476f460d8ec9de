"""Leases: who holds which session among several processes, for how long, and how that is prolonged."""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from ..errors import MemoryUnavailableError
from .session import MemorySession

_log = logging.getLogger("pais_sdk.memory")

LeaseState: TypeAlias = Literal["kept", "lost", "wanted"]
"""What became of a lease that was to be prolonged: it is ours, it is not, or it is and somebody wants to interrupt."""


@dataclass(frozen=True, eq=False)
class Lease:
    """The right to run in one session, until its time is over or it is given back."""

    session_id: str
    """The store's own id."""

    process: str
    """Who asks; the next holder is reserved by process, so that no queue inside one process shuts out another."""

    token: str = field(default_factory=lambda: uuid.uuid4().hex)
    """Known to the holder only: a lease is prolonged and given back with it."""


class LeaseKeeper:
    """Prolongs all leases of one event loop, in one call each time; costs nothing while none is held.

    Args:
        renew: Prolongs leases and says what became of each.
        every_s: Seconds between two calls.
    """

    def __init__(self, renew: Callable[[Sequence[Lease]], Awaitable[Sequence[LeaseState]]], every_s: float) -> None:
        self._renew = renew
        self._every_s = every_s
        self._held: dict[Lease, MemorySession] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None
        self._failing = False

    def keep(self, lease: Lease, session: MemorySession) -> None:
        """Prolong a lease until `let_go`; the session hears of it when somebody wants to interrupt."""
        self._held[lease] = session
        if self._timer is None and self._task is None:
            self._wait()

    def let_go(self, lease: Lease) -> None:
        """Prolong a lease no longer."""
        self._held.pop(lease, None)
        if not self._held and self._timer is not None:
            self._timer.cancel()  # it would keep its loop
            self._timer = None

    async def close(self) -> None:
        """Stop prolonging anything."""
        for lease in list(self._held):
            self.let_go(lease)
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    def _wait(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(self._every_s, self._begin)

    def _begin(self) -> None:
        self._timer = None
        self._task = asyncio.get_running_loop().create_task(self._renew_all())

    async def _renew_all(self) -> None:
        leases = list(self._held)
        try:
            states = await self._renew(leases)
        except MemoryUnavailableError as error:
            if not self._failing:
                _log.warning("%d sessions are held, and their leases cannot be prolonged: %s", len(leases), error)
            self._failing = True
        else:
            self._failing = False
            for lease, state in zip(leases, states, strict=True):
                self._tell(lease, state)
        finally:
            self._task = None
            if self._held:
                self._wait()

    def _tell(self, lease: Lease, state: LeaseState) -> None:
        session = self._held.get(lease)  # None: it was given back meanwhile
        if session is None:
            return
        if state == "wanted":
            session.interrupt()
        elif state == "lost":
            self.let_go(lease)
            _log.warning(
                "the lease of session %r ran out during its run, so another may run in it at the same time; was the "
                "event loop blocked?",
                session.session_id,
            )
