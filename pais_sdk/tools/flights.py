"""Calls under way, which others may wait for instead of making the same call."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Hashable
from typing import Generic, TypeVar, cast

from .._shield import to_its_end

T = TypeVar("T")


class Flight(Generic[T]):
    """One call, in a task of its own, so that who gives up takes it from nobody else; the last who does ends it.

    Args:
        work: The call.
        on_end: Called when nobody can join it any more.
    """

    def __init__(self, work: Coroutine[None, None, T], on_end: Callable[[Flight[T]], None]) -> None:
        self._on_end = on_end
        self._waiting = 0
        # SystemExit in a task ends the event loop, so what was raised is handed over and not raised there.
        self._task = asyncio.create_task(_settled(work))
        self._task.add_done_callback(lambda _: on_end(self))

    @property
    def is_over(self) -> bool:
        """Whether the call has ended."""
        return self._task.done()

    async def wait(self) -> T:
        """Return what the call returned, or raise what it raised."""
        self._waiting += 1
        try:
            await asyncio.wait([self._task])
        except asyncio.CancelledError:
            if self._waiting == 1 and not self._task.done():
                self._on_end(self)
                self._task.cancel()
                await to_its_end(asyncio.wait([self._task]))
            raise
        finally:
            self._waiting -= 1
        value, error = self._task.result()
        if error is not None:
            raise error
        return cast("T", value)


class Flights(Generic[T]):
    """The calls under way, by key, on each event loop its own."""

    def __init__(self) -> None:
        self._flights: dict[asyncio.AbstractEventLoop, dict[Hashable, Flight[T]]] = {}

    def join(self, key: Hashable, make: Callable[[], Coroutine[None, None, T]]) -> tuple[Flight[T], bool]:
        """Return the call under way for a key, or begin it; and whether it began here."""
        loop = asyncio.get_running_loop()
        if loop not in self._flights:
            self._forget_ended()
        flights = self._flights.setdefault(loop, {})
        flight = flights.get(key)
        if flight is not None and not flight.is_over:
            return flight, False

        def leave(ended: Flight[T]) -> None:
            if flights.get(key) is ended:
                del flights[key]

        flight = flights[key] = Flight(make(), leave)
        return flight, True

    def clear(self) -> None:
        """Let nobody join what is under way; who waits for it still gets it."""
        for flights in [*self._flights.values()]:
            flights.clear()

    def _forget_ended(self) -> None:
        for loop in [*self._flights]:
            if loop.is_closed():
                self._flights.pop(loop, None)


async def _settled(work: Coroutine[None, None, T]) -> tuple[T | None, BaseException | None]:
    try:
        return await work, None
    except (Exception, SystemExit) as error:  # noqa: BLE001 - raised again in everyone who waits for it
        return None, error
