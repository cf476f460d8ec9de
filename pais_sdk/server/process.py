"""A server as the main thing of a process: it runs until a signal ends it."""

from __future__ import annotations

import asyncio
import logging
import signal
from socket import socket
from typing import TYPE_CHECKING

from .._listen import open_socket, serve_socket, url_of
from ..errors import ConfigurationError

if TYPE_CHECKING:
    from .app import AgentServer

_log = logging.getLogger("pais_sdk.server")


def run_server(server: AgentServer, *, host: str | None, port: int | None) -> None:
    """Serve until SIGINT or SIGTERM; runs that are active then are cancelled and stored."""
    settings = server.settings
    host = settings.agent_host if host is None else host
    port = settings.agent_port if port is None else port
    try:
        listener = open_socket(host, port)
    except OSError as error:
        why = error.strerror or str(error)
        raise ConfigurationError(f"cannot listen on {host}:{port}: {why}; choose another host or port") from error
    _log.info("agent %r listens on %s", server.runtime.name, url_of(listener))
    try:
        with listener, asyncio.Runner() as runner:  # the listener is closed here where it never came to serve
            runner.run(_serve(server, listener))
    except asyncio.CancelledError:
        _log.warning("agent %r was ended before it had opened, or by a second signal", server.runtime.name)
        return
    _log.info("agent %r has stopped", server.runtime.name)


async def _serve(server: AgentServer, listener: socket) -> None:
    stop, opened = asyncio.Event(), asyncio.Event()
    loop, myself = asyncio.get_running_loop(), asyncio.current_task()
    assert myself is not None

    def on_signal() -> None:
        if stop.is_set() or not opened.is_set():
            myself.cancel()
        stop.set()

    for signal_number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(signal_number, on_signal)

    async def stopped() -> None:
        await stop.wait()
        await server.cancel_runs()

    async with server.runtime.held():
        opened.set()
        await serve_socket(
            server.without_lifespan,
            listener,
            shutdown_trigger=stopped,
            access_log=server.settings.agent_access_log,
        )
