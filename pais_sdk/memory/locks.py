"""Who holds which session inside this process: first come, first served, on any event loop."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from ..errors import SessionBusyError
from .base import OnBusy
from .session_id import from_internal


@dataclass(eq=False)
class _Waiter:
    loop: asyncio.AbstractEventLoop
    granted: asyncio.Future[None]
    interrupts: bool

    def wake(self) -> bool:
        try:
            self.loop.call_soon_threadsafe(self._grant)
        except RuntimeError:  # its loop is closed: it will never run
            return False
        return True

    def _grant(self) -> None:
        if not self.granted.done():
            self.granted.set_result(None)


@dataclass(eq=False)
class _Holder:
    interrupt: Callable[[], None] | None  # None between the release and the moment when the next one wakes up
    waiting: deque[_Waiter] = field(default_factory=deque[_Waiter])


class SessionLocks:
    """One lock for each session, with a queue in order of arrival; safe from any thread."""

    def __init__(self) -> None:
        self._held: dict[str, _Holder] = {}
        self._guard = threading.Lock()

    def is_held(self, session_id: str) -> bool:
        return session_id in self._held

    async def acquire(self, session_id: str, interrupt: Callable[[], None], *, wait_s: float, on_busy: OnBusy) -> None:
        """Take the lock, or raise SessionBusyError.

        Args:
            session_id: The store's own id.
            interrupt: Called, on any thread, when another run wants to take the holder's place.
            wait_s: How long to wait, in seconds.
            on_busy: `reject` does not wait; `interrupt` asks the holder to stop first.
        """
        began = time.monotonic()
        with self._guard:
            holder = self._held.get(session_id)
            if holder is None:
                self._held[session_id] = _Holder(interrupt)
                return
            if on_busy == "reject" or wait_s <= 0:
                raise SessionBusyError(from_internal(session_id))
            loop = asyncio.get_running_loop()
            waiter = _Waiter(loop, loop.create_future(), interrupts=on_busy == "interrupt")
            holder.waiting.append(waiter)
            stop_holder = holder.interrupt if waiter.interrupts else None
        if stop_holder is not None:
            stop_holder()
        try:
            async with asyncio.timeout(wait_s):
                await waiter.granted
        except BaseException as error:
            self._give_up(session_id, waiter)
            if isinstance(error, TimeoutError):
                raise SessionBusyError(from_internal(session_id), waited_s=round(time.monotonic() - began, 3)) from None
            raise
        with self._guard:
            holder = self._held[session_id]
            holder.interrupt = interrupt
            unwanted = any(waiter.interrupts for waiter in holder.waiting)
        if unwanted:  # somebody who came later wants our place already
            interrupt()

    def release(self, session_id: str) -> None:
        """Hand the lock to the next in the queue, if there is one."""
        with self._guard:
            holder = self._held[session_id]
            while holder.waiting:
                holder.interrupt = None
                if holder.waiting.popleft().wake():
                    return
            del self._held[session_id]

    def _give_up(self, session_id: str, waiter: _Waiter) -> None:
        with self._guard:
            holder = self._held.get(session_id)
            if holder is not None and waiter in holder.waiting:
                holder.waiting.remove(waiter)
                return
        self.release(session_id)  # it was handed over just when its waiter gave up
