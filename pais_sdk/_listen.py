"""Listen on a socket: Hypercorn around one ASGI application, inside the caller's event loop."""

from __future__ import annotations

import asyncio
import contextvars
import ipaddress
import logging
import socket
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from types import FrameType
from typing import Any

from opentelemetry import context

from .errors import ConfigurationError, MissingExtraError

_log = logging.getLogger("pais_sdk.hypercorn")
_log.setLevel(logging.WARNING)
_CLOSING_S = 0.5


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


def claim_socket(host: str, port: int) -> socket.socket:
    """Do the same as `open_socket`; raises ConfigurationError, with what to do, where the system refuses."""
    try:
        return open_socket(host, port)
    except OSError as error:
        why = error.strerror or str(error)
        raise ConfigurationError(f"cannot listen on {host}:{port}: {why}; choose another host or port") from error


def url_of(listener: socket.socket) -> str:
    """Return the base URL of a listening socket, without a slash at its end."""
    address: tuple[str, int] = listener.getsockname()[:2]
    host, port = address
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # every interface: name the one that is always there
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def is_loopback(host: str) -> bool:
    """Return whether a name or address is one that only this machine can reach."""
    address = address_of(host.partition("%")[0])
    return host == "localhost" or host.endswith(".localhost") if address is None else address.is_loopback


def address_of(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """Return the address that a host is written as; None where it is a name."""
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


async def serve_socket(
    app: Any,
    listener: socket.socket,
    *,
    shutdown_trigger: Callable[[], Awaitable[float]],
    access_log: bool = False,
    stalled_s: float | None = None,
) -> None:
    """Serve until `shutdown_trigger` returns; takes the socket over and closes it.

    Args:
        app: An ASGI application; its lifespan is run.
        listener: A socket from `open_socket`.
        shutdown_trigger: Awaited; when it returns, the listener closes, and open connections get as many seconds as it
            returns.
        access_log: Whether each request is logged (logger `pais_sdk.access`).
        stalled_s: Seconds after which the system cuts a connection whose client takes nothing; None for its own rule.
            Only Linux can do that.
    """
    try:
        from hypercorn.asyncio import serve  # pyright: ignore[reportUnknownVariableType]
        from hypercorn.config import Config
    except ImportError as error:
        listener.close()
        raise MissingExtraError("serving over HTTP", extra="server") from error

    if stalled_s is not None and hasattr(socket, "TCP_USER_TIMEOUT"):
        # Closing such a connection would wait for its client for ever. What is accepted inherits the option.
        milliseconds = min(int(stalled_s * 1000), 2**31 - 1)
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, milliseconds)
    logging.getLogger("hpack").setLevel(logging.WARNING)  # below that, it logs headers: keys are among them
    port: int = listener.getsockname()[1]
    config = Config()
    config.bind = [f"fd://{listener.detach()}"]
    config.errorlog = _log
    config.include_server_header = False
    if access_log:
        config.accesslog = logging.getLogger("pais_sdk.access")
    triggered = asyncio.Event()

    async def trigger() -> None:
        config.graceful_timeout = await shutdown_trigger()
        triggered.set()

    serving = asyncio.create_task(serve(app, config, shutdown_trigger=trigger))
    waiting = asyncio.create_task(triggered.wait())
    try:
        await asyncio.wait([serving, waiting], return_when=asyncio.FIRST_COMPLETED)
        await asyncio.wait([serving], timeout=config.graceful_timeout + _CLOSING_S)
        if not serving.done():
            _abort_connections(port)
            await asyncio.wait([serving], timeout=_CLOSING_S)
    finally:
        waiting.cancel()
        cut = not serving.done()
        if cut:
            await _end(serving)
    if not cut:
        serving.result()


def _abort_connections(port: int) -> None:
    """Let go of connections that do not close: Hypercorn waits without end for a client that has stopped reading.

    It keeps no list of them, but each has a task, and that task a writer.
    """
    for task in asyncio.all_tasks():
        frame: FrameType | None = getattr(task.get_coro(), "cr_frame", None)
        for value in () if frame is None else frame.f_locals.values():
            if isinstance(value, asyncio.StreamWriter) and value.get_extra_info("sockname")[1:2] == (port,):
                value.transport.abort()


async def _end(serving: asyncio.Task[None]) -> None:
    serving.cancel()
    await asyncio.wait([serving], timeout=_CLOSING_S)
    if serving.done() and not serving.cancelled() and (error := serving.exception()) is not None:
        _log.warning("connections were cut at the end: %r", error)


@asynccontextmanager
async def listening(
    app: Any, *, host: str = "127.0.0.1", port: int = 0, grace_s: float = 3.0, stalled_s: float | None = None
) -> AsyncGenerator[str]:
    """Serve an ASGI application in this event loop while the block runs; gives its base URL.

    At the end open connections get `grace_s` seconds.
    """
    listener = open_socket(host, port)
    url = url_of(listener)
    stop = asyncio.Event()

    async def stopped() -> float:
        await stop.wait()
        return grace_s

    variables = contextvars.copy_context()
    variables.run(context.attach, context.Context())  # what it answers is no part of the trace in which it was started
    serving = serve_socket(app, listener, shutdown_trigger=stopped, stalled_s=stalled_s)
    task = asyncio.create_task(serving, context=variables)
    try:
        yield url
    finally:
        stop.set()
        await task
