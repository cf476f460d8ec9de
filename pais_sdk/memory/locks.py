"""Who holds which session inside this process: first come, first served, on any event loop."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

from ..errors import SessionBusyError
from .base import OnBusy
from .session_id import from_internal


@dataclass(eq=False)
class Hold:
    """Who holds a session: given back with `SessionLocks.release`."""

    session_id: str
    loop: asyncio.AbstractEventLoop
    interrupt: Callable[[], None] | None  # None between the release and the moment when the next one wakes up


@dataclass(eq=False)
class _Waiter:
    loop: asyncio.AbstractEventLoop
    granted: asyncio.Future[None]
    hold: Hold
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
class _Lock:
    hold: Hold
    waiting: deque[_Waiter] = field(default_factory=deque[_Waiter])


class SessionLocks:
    """One lock for each session, with a queue in order of arrival; safe from any thread.

    A holder whose event loop was closed holds nothing any more.
    """

    def __init__(self) -> None:
        self._held: dict[str, _Lock] = {}
        self._guard = threading.Lock()

    def is_held(self, session_id: str) -> bool:
        lock = self._held.get(session_id)
        return lock is not None and not lock.hold.loop.is_closed()

    async def acquire(self, session_id: str, interrupt: Callable[[], None], *, wait_s: float, on_busy: OnBusy) -> Hold:
        """Take the lock, or raise SessionBusyError.

        Args:
            session_id: The store's own id.
            interrupt: Called, on any thread, when another run wants to take the holder's place.
            wait_s: How long to wait, in seconds.
            on_busy: `reject` does not wait; `interrupt` asks the holder to stop first.
        """
        began = time.monotonic()
        loop = asyncio.get_running_loop()
        with self._guard:
            lock = self._held.get(session_id)
            if lock is not None and lock.hold.loop.is_closed():
                self._pass_on(lock)
                lock = self._held.get(session_id)
            if lock is None:
                hold = Hold(session_id, loop, interrupt)
                self._held[session_id] = _Lock(hold)
                return hold
            if on_busy == "reject" or wait_s <= 0:
                raise SessionBusyError(from_internal(session_id))
            waiter = _Waiter(loop, loop.create_future(), Hold(session_id, loop, None), on_busy == "interrupt")
            lock.waiting.append(waiter)
            stop_holder = lock.hold.interrupt if waiter.interrupts else None
        try:
            if stop_holder is not None:
                with suppress(RuntimeError):  # its loop was closed just now
                    stop_holder()
            async with asyncio.timeout(wait_s):
                await waiter.granted
        except BaseException as error:
            self._give_up(waiter)
            if isinstance(error, TimeoutError):
                raise SessionBusyError(from_internal(session_id), waited_s=round(time.monotonic() - began, 3)) from None
            raise
        with self._guard:
            waiter.hold.interrupt = interrupt
            unwanted = any(waiter.interrupts for waiter in lock.waiting)
        if unwanted:  # somebody who came later wants our place already
            interrupt()
        return waiter.hold

    def release(self, hold: Hold) -> None:
        """Hand the lock to the next in the queue, if there is one; nothing where it is held no more."""
        with self._guard:
            lock = self._held.get(hold.session_id)
            if lock is not None and lock.hold is hold:
                self._pass_on(lock)

    def _pass_on(self, lock: _Lock) -> None:
        session_id = lock.hold.session_id
        while lock.waiting:
            waiter = lock.waiting.popleft()
            lock.hold = waiter.hold
            if waiter.wake():
                return
        del self._held[session_id]

    def _give_up(self, waiter: _Waiter) -> None:
        with self._guard:
            lock = self._held.get(waiter.hold.session_id)
            if lock is not None and waiter in lock.waiting:
                lock.waiting.remove(waiter)
                return
        self.release(waiter.hold)  # it was handed over just when its waiter gave up
