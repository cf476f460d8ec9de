"""Listen on a socket: Hypercorn around one ASGI application, inside the caller's event loop."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from .errors import ConfigurationError, MissingExtraError

_log = logging.getLogger("pais_sdk.hypercorn")
_log.setLevel(logging.WARNING)
_CLOSING_S = 1.0


def open_socket(host: str, port: int) -> socket.socket:
    """Bind and listen at once, so that the address is final and a client can connect before the app has started.

    Args:
        host: A name or address of this machine.
        port: 0 for one that the system picks.
    """
    if not 0 <= port <= 65535:
        raise ConfigurationError(f"port {port} is none; use 1 to 65535, or 0 for a free one")
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(1024)
        listener.setblocking(False)
    except BaseException:
        listener.close()
        raise
    return listener


def url_of(listener: socket.socket) -> str:
    """Return the base URL of a listening socket, without a slash at its end."""
    address: tuple[str, int] = listener.getsockname()[:2]
    host, port = address
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # every interface: name the one that is always there
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


async def serve_socket(
    app: Any,
    listener: socket.socket,
    *,
    shutdown_trigger: Callable[[], Awaitable[object]],
    grace_s: float = 3.0,
    access_log: bool = False,
) -> None:
    """Serve until `shutdown_trigger` returns; takes the socket over and closes it.

    Args:
        app: An ASGI application; its lifespan is run.
        listener: A socket from `open_socket`.
        shutdown_trigger: Awaited; when it returns, the listener closes and open connections get `grace_s` seconds.
        grace_s: Seconds that open connections have after the trigger.
        access_log: Whether each request is logged (logger `pais_sdk.access`).
    """
    try:
        from hypercorn.asyncio import serve  # pyright: ignore[reportUnknownVariableType]
        from hypercorn.config import Config
    except ImportError as error:
        listener.close()
        raise MissingExtraError("serving over HTTP", extra="server") from error

    config = Config()
    config.bind = [f"fd://{listener.detach()}"]
    config.graceful_timeout = grace_s
    config.errorlog = _log
    config.include_server_header = False
    if access_log:
        config.accesslog = logging.getLogger("pais_sdk.access")
    triggered = asyncio.Event()

    async def trigger() -> None:
        await shutdown_trigger()
        triggered.set()

    serving = asyncio.create_task(serve(app, config, shutdown_trigger=trigger))
    waiting = asyncio.create_task(triggered.wait())
    try:
        await asyncio.wait([serving, waiting], return_when=asyncio.FIRST_COMPLETED)
        # Hypercorn waits without end for a connection whose client has stopped reading: it is let go of here.
        await asyncio.wait([serving], timeout=grace_s + _CLOSING_S)
    finally:
        waiting.cancel()
        cut = not serving.done()
        if cut:
            await _end(serving)
    if not cut:
        serving.result()


async def _end(serving: asyncio.Task[None]) -> None:
    serving.cancel()
    await asyncio.wait([serving], timeout=_CLOSING_S)
    if serving.done() and not serving.cancelled() and (error := serving.exception()) is not None:
        _log.warning("connections were cut at the end: %r", error)


@asynccontextmanager
async def listening(app: Any, *, host: str = "127.0.0.1", port: int = 0, grace_s: float = 3.0) -> AsyncGenerator[str]:
    """Serve an ASGI application in this event loop while the block runs; gives its base URL."""
    listener = open_socket(host, port)
    url = url_of(listener)
    stop = asyncio.Event()
    task = asyncio.create_task(serve_socket(app, listener, shutdown_trigger=stop.wait, grace_s=grace_s))
    try:
        yield url
    finally:
        stop.set()
        await task
