"""A server as the main thing of a process: it runs until a signal ends it."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import threading
from collections.abc import Callable
from socket import socket
from typing import TYPE_CHECKING, Any

from .._listen import claim_socket, is_loopback, serve_socket, url_of

if TYPE_CHECKING:
    from .app import AgentServer

_log = logging.getLogger("pais_sdk.server")
_CLOSING_S = 6.0
_AT_ONCE_S = 2.0
_CUT_S = 0.2


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

    Args:
        server: Opened here, and closed again.
        host: In place of the settings'.
        port: In place of the settings'.
        listener: A socket that listens already, in place of both.
        orphaned: A file descriptor whose end of file counts as a signal: the other end is with a parent process.
        started: Called once, when requests are taken.
    """
    if listener is None:
        settings = server.settings
        listener = claim_socket(host or settings.agent_host, settings.agent_port if port is None else port)
    _log.info("agent %r listens on %s", server.runtime.name, url_of(listener))
    server.gate.listens_on(listener.getsockname()[0])
    if server.gate.admits == "everyone" and not is_loopback(listener.getsockname()[0]):
        _log.warning("whoever reaches this address may use the agent; AGENT_API_KEYS keeps strangers out")
    process = _Process(server, listener, orphaned, started)
    try:
        with listener, asyncio.Runner() as runner:  # the listener is closed here where it never came to serve
            runner.run(process.serve())
    except asyncio.CancelledError:
        _log.warning("agent %r was ended before it had opened, or by a second signal", server.runtime.name)
        return
    finally:
        process.last_resort.cancel()
    _log.info("agent %r has stopped", server.runtime.name)


class _Process:
    def __init__(
        self, server: AgentServer, listener: socket, orphaned: int | None, started: Callable[[], None] | None
    ) -> None:
        self._server = server
        self._listener = listener
        self._orphaned = orphaned
        self._started = started
        self._grace_s = server.settings.agent_grace_s
        # A thread of its own: what does not end may be the event loop itself.
        self.last_resort = threading.Timer(self._grace_s + _CLOSING_S, _leave)
        self.last_resort.daemon = True

    async def serve(self) -> None:
        self._server.stopping = False
        self._stop, self._at_once = asyncio.Event(), asyncio.Event()
        self._opened = False
        self._loop = asyncio.get_running_loop()
        self._task = asyncio.current_task()
        self._loop.set_exception_handler(self._on_loop_error)
        if self._orphaned is None:
            for signal_number in (signal.SIGINT, signal.SIGTERM):
                self._loop.add_signal_handler(signal_number, self._on_signal)
        else:
            # A worker may get SIGTERM from its parent and from who ended the parent: both mean the same.
            self._loop.add_signal_handler(signal.SIGTERM, self._on_first_signal)
            self._loop.add_signal_handler(signal.SIGINT, self._end_at_once)
            self._loop.add_reader(self._orphaned, self._on_orphaned, self._orphaned)
        async with self._server.runtime.held():
            self._opened = True
            if self._started is not None:
                self._loop.call_soon(self._started)
            await serve_socket(
                self._server.without_lifespan,
                self._listener,
                shutdown_trigger=self._stopped,
                access_log=self._server.settings.agent_access_log,
                stalled_s=self._server.stalled_s,
            )

    async def _stopped(self) -> float:
        """Return, when a signal has come and what was begun is over, the seconds that are left of the grace."""
        await self._stop.wait()
        began = self._loop.time()
        drained = asyncio.create_task(self._server.drain(self._grace_s))
        told_again = asyncio.create_task(self._at_once.wait())
        await asyncio.wait([drained, told_again], return_when=asyncio.FIRST_COMPLETED)
        told_again.cancel()
        if drained.done():
            drained.result()
            return max(1.0, began + self._grace_s - self._loop.time())
        drained.cancel()
        await self._server.cancel_runs()
        return _CUT_S

    def _on_signal(self) -> None:
        if self._stop.is_set() or not self._opened:
            self._end_at_once()
            return
        _log.info("agent %r takes no more runs and ends within %g s", self._server.runtime.name, self._grace_s)
        self._server.stopping = True
        self._stop.set()
        self.last_resort.start()

    def _on_first_signal(self) -> None:
        if not self._stop.is_set():
            self._on_signal()

    def _on_orphaned(self, end: int) -> None:
        self._loop.remove_reader(end)
        self._on_first_signal()

    def _on_loop_error(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        # asyncio reports a connection that is cut off at the end as a fault of its own callbacks.
        if not (self._stop.is_set() and isinstance(context.get("exception"), asyncio.CancelledError)):
            loop.default_exception_handler(context)

    def _end_at_once(self) -> None:
        self._loop.call_later(_AT_ONCE_S, _leave)
        if self._opened:
            self._stop.set()
            self._at_once.set()
        else:
            assert self._task is not None
            self._task.cancel()


def _leave() -> None:
    _log.critical("something does not end: the process leaves it behind")
    os._exit(1)
