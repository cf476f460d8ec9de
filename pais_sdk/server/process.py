"""A server as the main thing of a process: it runs until a signal ends it."""

from __future__ import annotations

import asyncio
import contextvars
import importlib
import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from socket import socket
from types import FrameType
from typing import TYPE_CHECKING, Any

from .._listen import claim_socket, is_loopback, serve_socket, url_of

if TYPE_CHECKING:
    from ..telemetry import Telemetry
    from .app import AgentServer

_log = logging.getLogger("pais_sdk.server")
_LAST_RESORT_S = 6.0
_AT_ONCE_S = 2.0
_CUT_S = 0.2
_FLUSH_S = 5.0
_LEAVING_S = 0.5
_LOOK_S = 0.05


def run_server(
    server: AgentServer,
    *,
    host: str | None = None,
    port: int | None = None,
    listener: socket | None = None,
    orphaned: int | None = None,
    started: Callable[[], None] | None = None,
) -> None:
    """Serve until SIGINT or SIGTERM, and answer first what was begun, as far as AGENT_GRACE_SECONDS allow.

    Telemetry is set up where the environment asks for it, and what it still holds at the end is sent.

    Args:
        server: Opened here, and closed again.
        host: In place of the settings'.
        port: In place of the settings'.
        listener: A socket that listens already, in place of both.
        orphaned: A file descriptor whose end of file counts as a signal: the other end is with a parent process.
        started: Called once, when requests are taken.

    Raises:
        MissingExtraError: OTEL_ENABLED=true, and the extra `otel` is not installed.
    """
    if listener is None:
        listener = claim_socket(*server.settings.address(host, port))
    server.gate.listens_on(listener.getsockname()[0])
    process = _Process(server, listener, orphaned, started)
    try:
        with listener, process.hearing_signals(), process.telling():  # closes a listener that never served
            _run(process, server.runtime.name)
    finally:
        for timer in process.timers:
            timer.cancel()


def _run(process: _Process, name: str) -> None:
    try:
        with asyncio.Runner() as runner:
            runner.run(process.serve())
    except asyncio.CancelledError:
        _log.warning("agent %r was ended before it had opened", name)
    else:
        _log.info("agent %r has stopped", name)


class _Unawaited(ThreadPoolExecutor):
    """Threads that nobody waits for: the loop would, before it closes, for whatever `asyncio.to_thread` does."""

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        super().shutdown(wait=False, cancel_futures=True)


class _Process:
    def __init__(
        self, server: AgentServer, listener: socket, orphaned: int | None, started: Callable[[], None] | None
    ) -> None:
        self._server = server
        self._listener = listener
        self._orphaned = orphaned
        self._started = started
        self._grace_s = server.settings.agent_grace_s
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop, self._at_once = asyncio.Event(), asyncio.Event()
        self._opened = self._told = self._told_again = False
        self._left_behind_at = float("inf")
        self.timers: list[threading.Timer] = []

    @contextmanager
    def hearing_signals(self) -> Generator[None]:
        """Take SIGINT and SIGTERM while the block runs, also while the event loop is blocked."""
        before = {number: signal.signal(number, self._heard) for number in (signal.SIGINT, signal.SIGTERM)}
        if self._orphaned is not None:
            threading.Thread(target=self._wait_for_parent, args=(self._orphaned,), daemon=True).start()
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, signal.SIG_DFL if handler is None else handler)

    @contextmanager
    def telling(self) -> Generator[None]:
        """Record what the block does, where the environment asks for it; send at its end what is not sent yet."""
        from ..telemetry import telemetry_for_server

        telemetry = telemetry_for_server(self._server.settings, self._server.runtime.name)
        try:
            yield
        finally:
            if telemetry is not None:
                self._shut_down(telemetry)

    def _shut_down(self, telemetry: Telemetry) -> None:
        """Wait for it as long as there is time, which a second signal makes shorter."""
        until = time.monotonic() + _FLUSH_S
        timeout_s = min(_FLUSH_S, self._left_s())
        shut_down = threading.Thread(target=telemetry.shutdown, kwargs={"timeout_s": timeout_s}, daemon=True)
        shut_down.start()
        while shut_down.is_alive() and (left_s := min(until - time.monotonic(), self._left_s())) > 0:
            shut_down.join(min(_LOOK_S, left_s))

    def _left_s(self) -> float:
        return max(0.0, self._left_behind_at - _LEAVING_S - time.monotonic())

    async def serve(self) -> None:
        self._server.stopping = False
        self._loop = asyncio.get_running_loop()
        self._loop.set_default_executor(_Unawaited())
        self._loop.set_exception_handler(self._on_loop_error)
        self._task = asyncio.current_task()
        if self._told:
            return
        async with self._server.held():
            self._opened = True
            self._say()
            if self._started is not None:
                asyncio.get_running_loop().call_soon(self._started)
            await serve_socket(
                self._server.without_lifespan,
                self._listener,
                shutdown_trigger=self._stopped,
                access_log=self._server.settings.agent_access_log,
                stalled_s=self._server.stalled_s,
            )

    def _say(self) -> None:
        host = self._listener.getsockname()[0]
        if self._server.gate.admits == "everyone" and not is_loopback(host):
            _log.warning("whoever reaches %s may use the agent; AGENT_API_KEYS keeps strangers out", host)
        _log.info("agent %r listens on %s", self._server.runtime.name, url_of(self._listener))

    async def _stopped(self) -> float:
        """Return, when a signal has come and what was begun is over, the seconds that are left of the grace."""
        loop = asyncio.get_running_loop()
        await self._stop.wait()
        began = loop.time()
        drained = asyncio.create_task(self._server.drain(self._grace_s))
        told_again = asyncio.create_task(self._at_once.wait())
        await asyncio.wait([drained, told_again], return_when=asyncio.FIRST_COMPLETED)
        told_again.cancel()
        if drained.done():
            drained.result()
            return max(_CUT_S, began + self._grace_s - loop.time())
        drained.cancel()
        await self._server.cancel_runs()
        return _CUT_S

    def _heard(self, number: int, frame: FrameType | None) -> None:
        # To a worker its parent says the second signal as SIGINT: it may get SIGTERM from others, too.
        again = number == signal.SIGINT if self._orphaned is not None else self._told
        self._tell(at_once=again)

    def _wait_for_parent(self, end: int) -> None:
        os.read(end, 1)
        self._tell(at_once=False)

    def _tell(self, *, at_once: bool) -> None:
        """Tell the loop to end, and make sure of it by a thread: what does not end may be the loop itself."""
        first, self._told = not self._told, True
        if first and not at_once and self._opened:
            self._end_within(self._grace_s + _LAST_RESORT_S)
        elif (at_once or first) and not self._told_again:
            self._told_again = True
            self._end_within(_AT_ONCE_S)
        if self._loop is not None:
            with suppress(RuntimeError):  # it has closed just now
                # Not in the trace of the request in whose midst a signal is heard.
                self._loop.call_soon_threadsafe(self._end, context=contextvars.Context())

    def _end_within(self, seconds: float) -> None:
        timer = threading.Timer(seconds, leave_behind, (1,))
        timer.daemon = True
        self._left_behind_at = min(self._left_behind_at, time.monotonic() + seconds)
        self.timers.append(timer)
        timer.start()

    def _end(self) -> None:
        if not self._opened:
            assert self._task is not None
            self._task.cancel()
            return
        if not self._stop.is_set():
            _log.info("agent %r takes no more runs and ends within %g s", self._server.runtime.name, self._grace_s)
            self._server.stopping = True
            self._stop.set()
        if self._told_again:
            self._at_once.set()

    def _on_loop_error(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        # asyncio reports a connection that is cut off at the end as a fault of its own callbacks.
        if not (self._stop.is_set() and isinstance(context.get("exception"), asyncio.CancelledError)):
            loop.default_exception_handler(context)


def leave(code: int) -> None:
    """End the process now, whatever else it still does."""
    # Logfire's package puts a function in place of os._exit that waits for its service.
    importlib.import_module(os.name)._exit(code)


def leave_behind(code: int) -> None:
    """Say so, where logging itself does not hang, and end the process."""
    text = "something does not end: the process leaves it behind"
    with suppress(RuntimeError):  # where the interpreter ends already, it starts no thread any more
        telling = threading.Thread(target=_log.critical, args=(text,), daemon=True)
        telling.start()
        telling.join(_LEAVING_S)
    leave(code)
