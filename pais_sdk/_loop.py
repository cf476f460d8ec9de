"""The SDK's own event loop, in a thread beside the caller's code."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class LoopThread:
    """An event loop in a daemon thread, so that blocking code beside it does not stop it."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.at_exit: set[Callable[[], Coroutine[Any, Any, None]]] = set()
        """Called, and awaited on the loop, when the interpreter ends, before everything else there is cancelled."""
        self._stopping = False
        self._thread = threading.Thread(target=self._main, name="pais_sdk", daemon=True)
        self._thread.start()

    def run(self, call: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Run `call()` on the loop and block until it returns; an interrupt (Ctrl-C) cancels it.

        Raises:
            RuntimeError: Called on the loop's own thread, where it would wait for itself.
        """
        if threading.current_thread() is self._thread:
            raise RuntimeError("this thread runs the event loop; use await instead of a blocking call")
        future = asyncio.run_coroutine_threadsafe(call(), self.loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def _main(self) -> None:
        asyncio.set_event_loop(self.loop)
        while not self._stopping:  # a SystemExit in a task ends run_forever, but not what others do here
            with contextlib.suppress(SystemExit):
                self.loop.run_forever()
        self.loop.close()

    def _stop(self) -> None:
        try:
            asyncio.run_coroutine_threadsafe(self._end(), self.loop).result(timeout=5)
        except (TimeoutError, RuntimeError):
            pass  # the interpreter is ending: what does not stop by now ends with it
        self._stopping = True
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(timeout=5)

    async def _end(self) -> None:
        await asyncio.gather(*(call() for call in self.at_exit), return_exceptions=True)
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


_guard = threading.Lock()
_thread: LoopThread | None = None


def loop_thread() -> LoopThread:
    """Return the one loop thread of this process, started on first use and ended with the interpreter."""
    global _thread
    with _guard:
        if _thread is None:
            _thread = LoopThread()
            atexit.register(_thread._stop)  # pyright: ignore[reportPrivateUsage]
        return _thread
