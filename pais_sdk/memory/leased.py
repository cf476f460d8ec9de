"""A memory whose sessions several processes share: they hold them by leases."""

from __future__ import annotations

import asyncio
import logging
import random
import time
import uuid
import weakref
from abc import abstractmethod
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

from pydantic_ai.messages import ModelMessage
from pydantic_ai.usage import RunUsage

from .._shield import to_its_end
from ..errors import ConfigurationError, MemoryUnavailableError, SessionBusyError
from .base import Memory, OnBusy
from .events import MemoryEvent
from .leases import Lease, LeaseKeeper, LeaseState
from .locks import Hold, SessionLocks
from .retention import LONGEST_S, Retention
from .session import MemorySession
from .session_id import from_internal

_log = logging.getLogger("pais_sdk.memory")

LEASE_S = 20.0
_FIRST_LOOK_S, _LAST_LOOK_S = 0.01, 0.2
_TRY_S = 1.0
_SHORTEST_S = 0.01


@dataclass(frozen=True)
class SessionWindow:
    """What a run sees of a session that it has just taken."""

    history: list[ModelMessage]
    exists: bool


class LeasedMemory(Memory):
    """Runs of one process queue in order; among processes, who waits longest is next.

    A backend implements `_take`, `_renew`, `_release` and `_append` beside what every memory implements.

    Args:
        retention: What is kept.
        stateless_ttl_s: Seconds that sessions of callers who sent no id are kept; None to keep them as the others.
        lease_s: Seconds after which a session is free again whose holder died.
        renew_every_s: Seconds between two prolongations of what is held.

    Raises:
        ConfigurationError: The lease is none.
    """

    def __init__(
        self, *, retention: Retention, stateless_ttl_s: float | None, lease_s: float, renew_every_s: float | None = None
    ) -> None:
        self._renew_every_s = lease_s / 3 if renew_every_s is None else min(renew_every_s, lease_s / 3)
        if not _SHORTEST_S <= lease_s <= LONGEST_S:
            raise ConfigurationError(f"lease_s={lease_s!r} is no time; use {_SHORTEST_S} seconds or more")
        self._retention = retention
        self.stateless_ttl_s = stateless_ttl_s
        self._lease_s = lease_s
        self._process = uuid.uuid4().hex
        self._locks = SessionLocks()
        self._keepers: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, LeaseKeeper] = weakref.WeakKeyDictionary()

    @abstractmethod
    async def _take(self, lease: Lease, *, limit: int | None, on_busy: OnBusy) -> SessionWindow | None:
        """Take a lease where nobody else holds the session, and read the window, in one round trip.

        Where somebody does, return None; and unless `on_busy` is `reject`, reserve the session for this process for
        about a second, where no other has reserved it: a free session that is reserved for another process is not to
        be had. With `interrupt`, tell the holder by the next `_renew`, where the store can. To be asked again with a
        lease that is held already is no error, for an answer may be lost.
        """

    @abstractmethod
    async def _renew(self, leases: Sequence[Lease]) -> Sequence[LeaseState]:
        """Prolong leases by their whole time; say of each, in order, what became of it."""

    @abstractmethod
    async def _release(self, lease: Lease) -> None:
        """Give a lease back; nothing where it is not held any more."""

    @abstractmethod
    async def _append(
        self,
        lease: Lease,
        messages: Sequence[ModelMessage],
        annotations: Sequence[MemoryEvent],
        usage: RunUsage | None,
        ttl_s: float | None,
    ) -> None:
        """Store all of it after what is the newest message now, and give the lease back, in one atomic write.

        It is stored whether or not the lease is still held, for a run that is paid must not be lost; but only its own
        lease is given back. It is never cancelled.
        """

    @asynccontextmanager
    async def open_session(
        self, session_id: str, *, limit: int | None = None, wait_s: float = 30, on_busy: OnBusy = "queue"
    ) -> AsyncGenerator[MemorySession]:
        session = _LeasedSession(self, Lease(session_id, self._process), self._keeper(), self._locks)
        began = time.monotonic()
        session.hold = await self._locks.acquire(session_id, session.interrupt, wait_s=wait_s, on_busy=on_busy)
        try:
            await self._hold(session, limit, began, wait_s, on_busy)
            yield session
        finally:
            await session.leave()

    async def close(self) -> None:
        """Close what `open` opened; what is held on this event loop is prolonged no longer."""
        keeper = self._keepers.pop(asyncio.get_running_loop(), None)
        if keeper is not None:
            await keeper.close()

    async def _hold(
        self, session: _LeasedSession, limit: int | None, began: float, wait_s: float, on_busy: OnBusy
    ) -> None:
        look_s = _FIRST_LOOK_S
        while True:
            try:
                # To its end, so that the lease is not given back before the store has heard that it is to be taken.
                window = await to_its_end(self._take(session.lease, limit=limit, on_busy=on_busy))
            except BaseException:
                session.perhaps_taken = True  # the store may have got that far
                raise
            if window is not None:
                break
            left_s = began + wait_s - time.monotonic()
            waited_s = time.monotonic() - began
            if on_busy == "reject" or left_s <= 0:
                raise SessionBusyError(session.session_id, waited_s=0 if on_busy == "reject" else round(waited_s, 3))
            await asyncio.sleep(min(left_s, look_s * random.uniform(0.5, 1)))  # noqa: S311 - so that they do not march in step
            look_s = min(look_s * 1.5, _LAST_LOOK_S)
        session.taken = True
        session.history, session.exists = window.history, window.exists
        session.keeper.keep(session.lease, session)

    def _keeper(self) -> LeaseKeeper:
        loop = asyncio.get_running_loop()
        keeper = self._keepers.get(loop)
        if keeper is None:
            keeper = self._keepers[loop] = LeaseKeeper(self._renew, self._renew_every_s)
        return keeper


class _LeasedSession(MemorySession):
    protects_append = True

    def __init__(self, memory: LeasedMemory, lease: Lease, keeper: LeaseKeeper, locks: SessionLocks) -> None:
        super().__init__(from_internal(lease.session_id), [], exists=False)
        self.lease = lease
        self.keeper = keeper
        self.hold: Hold | None = None
        self.taken = False
        self.perhaps_taken = False
        self._memory = memory
        self._locks = locks

    async def append(
        self,
        messages: Sequence[ModelMessage],
        annotations: Sequence[MemoryEvent] = (),
        *,
        usage: RunUsage | None = None,
        ttl_s: float | None = None,
    ) -> None:
        await to_its_end(self._append(messages, annotations, usage, ttl_s))

    async def _append(
        self,
        messages: Sequence[ModelMessage],
        annotations: Sequence[MemoryEvent],
        usage: RunUsage | None,
        ttl_s: float | None,
    ) -> None:
        # From here on it is not prolonged: a prolongation that comes after the write would find it lost.
        self.keeper.let_go(self.lease)
        await self._memory._append(self.lease, messages, annotations, usage, ttl_s)  # pyright: ignore[reportPrivateUsage]
        self.taken = False
        self._let_go()

    async def leave(self) -> None:
        """Give the session free where `append` has not done it."""
        try:
            if self.taken:
                await to_its_end(self._release())
            elif self.perhaps_taken:
                await to_its_end(self._try_to_release())
        finally:
            self._let_go()

    async def _release(self) -> None:
        self.keeper.let_go(self.lease)
        try:
            await self._memory._release(self.lease)  # pyright: ignore[reportPrivateUsage]
        except MemoryUnavailableError as error:
            _log.warning("session %r is given free only when its lease runs out: %s", self.session_id, error)

    async def _try_to_release(self) -> None:
        """Release what may not be taken; where the store is away, its fault is told already."""
        with suppress(MemoryUnavailableError, TimeoutError):
            async with asyncio.timeout(_TRY_S):
                await self._memory._release(self.lease)  # pyright: ignore[reportPrivateUsage]

    def _let_go(self) -> None:
        self.keeper.let_go(self.lease)
        if self.hold is not None:
            self._locks.release(self.hold)
