"""Lifetime: open things on one event loop and close them in the task that opened them."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
from concurrent.futures import Future
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from functools import partial
from typing import Any, TypeVar

T = TypeVar("T")


class Home:
    """One opening: the event loop it belongs to, and the task there that owns what was opened."""

    def __init__(self, loop: asyncio.AbstractEventLoop, *, by_holder: bool) -> None:
        self.loop = loop
        self.by_holder = by_holder
        self.closing = False
        self.stop = asyncio.Event()
        self.ready: Future[None] = Future()
        self.ready.set_running_or_notify_cancel()  # from here on a waiter that gives up does not cancel it
        self.task: asyncio.Task[None] | None = None
        self._calls: set[Future[Any]] = set()
        self._ended = False
        self._guard = threading.Lock()

    @property
    def over(self) -> bool:
        """Whether nothing can be asked of it any more, for it was closed or its loop does not run."""
        return self._ended or (self.task is not None and self.task.done()) or not self.loop.is_running()

    async def call(self, make: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Await `make()` on the loop, from any loop; context variables go along, cancellation too.

        Raises:
            RuntimeError: The loop ended meanwhile.
        """
        if self.loop is asyncio.get_running_loop():
            return await make()
        future = self.submit(make)
        try:
            return await asyncio.wrap_future(future)
        except asyncio.CancelledError:
            self.check_alive()
            raise

    def submit(self, make: Callable[[], Coroutine[Any, Any, T]]) -> Future[T]:
        """Begin `make()` on the loop, from another one; HomeGoneError where nothing can begin there any more."""
        with self._guard:
            if self.over:
                raise HomeGoneError
            future = asyncio.run_coroutine_threadsafe(make(), self.loop)
            self._calls.add(future)
        future.add_done_callback(self._calls.discard)
        return future

    def check_alive(self) -> None:
        """Raise where a cancellation came from the end of the other loop and not from whoever waits here."""
        task = asyncio.current_task()
        if task is None or not task.cancelling():
            raise loop_ended() from None

    def end(self) -> None:
        """Let go of everyone who waits from another loop; called on the loop, when nothing more will run there."""
        with self._guard:
            self._ended = True
            calls = tuple(self._calls)
        for future in calls:
            future.cancel()


class Lifetime:
    """Belongs to the loop that opens it first, until it is closed; then any loop may open it again.

    Some things, MCP sessions among them, must be left by the task that entered them: one owner task does both.

    Args:
        enter: Puts on the stack all that is to be closed again. It runs in the owner task.
    """

    def __init__(self, enter: Callable[[AsyncExitStack, Home], Awaitable[None]]) -> None:
        self._enter = enter
        self._home: Home | None = None
        self._holders = 0
        self._guard = threading.Lock()

    @property
    def home(self) -> Home | None:
        """Where it is open; None while it is closed."""
        home = self._home
        return None if home is None or home.over else home

    @property
    def loop(self) -> asyncio.AbstractEventLoop | None:
        """The loop it is open on; None while it is closed."""
        home = self.home
        return None if home is None else home.loop

    async def open(self) -> Home:
        """Open on this loop, unless it is open somewhere already."""
        while True:
            home = self._home
            if home is None or home.over:
                with self._guard:
                    home = self._home
                    if home is None or home.over:
                        home = self._home = self._begin(by_holder=self._holders > 0)
            if home.closing:
                await self._closed(home)
                continue
            if not home.ready.done():
                await asyncio.wrap_future(home.ready)
            home.ready.result()
            if not home.closing:
                return home

    async def call(self, make: Callable[[Home], Coroutine[Any, Any, T]]) -> T:
        """Open, and await `make(home)` where it is open."""
        while True:
            home = await self.open()
            try:
                return await home.call(partial(make, home))
            except HomeGoneError:
                continue  # closed before this began: open it again

    def _begin(self, *, by_holder: bool) -> Home:
        home = Home(asyncio.get_running_loop(), by_holder=by_holder)
        # An empty context: what is opened outlives the call, and the trace, that came first.
        home.task = home.loop.create_task(self._own(home), context=contextvars.Context())
        return home

    @asynccontextmanager
    async def held(self) -> AsyncGenerator[Home]:
        """Keep it open while the block runs; the last holder closes what a holder opened."""
        with self._guard:
            self._holders += 1
        try:
            yield await self.open()
        finally:
            with self._guard:
                self._holders -= 1
                last = not self._holders
            if last and (home := self.home) is not None and home.by_holder:
                await self.close()

    async def close(self) -> None:
        """Close what is open; nothing where nothing is."""
        home = self._home
        if home is None or home.over or home.task is None:
            return
        home.closing = True
        home.loop.call_soon_threadsafe(home.stop.set if home.ready.done() else home.task.cancel)
        await self._closed(home)

    async def _closed(self, home: Home) -> None:
        task = home.task
        assert task is not None
        with suppress(HomeGoneError):
            await home.call(lambda: asyncio.wait([task]))
        if task.done() and not task.cancelled() and (error := task.exception()) is not None:
            raise error

    async def _own(self, home: Home) -> None:
        try:
            async with AsyncExitStack() as stack:
                await self._enter(stack, home)
                home.ready.set_result(None)
                await home.stop.wait()
        except BaseException as error:
            if home.ready.done():
                raise
            if isinstance(error, asyncio.CancelledError):
                error = RuntimeError("the runtime was closed while it opened") if home.closing else loop_ended()
            home.ready.set_exception(error)
        finally:
            if not home.stop.is_set():  # the loop itself is ending
                home.end()


class HomeGoneError(RuntimeError):
    """The runtime was closed, or its loop ended, before something could begin there."""


def loop_ended() -> RuntimeError:
    """Return the error for whoever waited on a loop that has ended."""
    return RuntimeError("the event loop that the runtime was open on has ended; call again to open it on this one")
