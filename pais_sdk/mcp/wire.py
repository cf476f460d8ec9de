"""The wire to an MCP server: the standard streams of a command, or streamable HTTP."""

from __future__ import annotations

import asyncio
import json
import logging
import os
from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from types import TracebackType
from typing import IO, Any, Self

import anyio
import httpx2
from mcp import types
from mcp.client.stdio import StdioServerParameters, stdio_client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.message import SessionMessage
from opentelemetry import propagate
from pydantic import ValidationError

from .config import HttpServer, MCPServerConfig, StdioServer
from .link import Link, sending

_log = logging.getLogger("pais_sdk.mcp")
_CHUNK = 65_536
_WORDS = 500
_CONNECT_S = 30.0

Streams = tuple[Any, Any]
"""What a session reads from and writes to; the MCP SDK keeps their types to itself."""


def open_wire(name: str, config: MCPServerConfig, link: Link) -> AbstractAsyncContextManager[Streams]:
    """Connect; what happens on the wire is noted in `link`. A command is ended, and if need be killed, at the end."""
    return _stdio(name, config, link) if isinstance(config, StdioServer) else _http(config, link)


@asynccontextmanager
async def _stdio(name: str, config: StdioServer, link: Link) -> AsyncGenerator[Streams]:
    parameters = StdioServerParameters(
        command=config.command,
        args=list(config.args),
        env=dict(config.env),
        cwd=config.cwd,
        encoding_error_handler="replace",  # "strict" stops reading for good at the first byte that is no UTF-8
    )
    errors_in, errors_out = os.pipe()
    with os.fdopen(errors_in, "rb") as said, os.fdopen(errors_out, "w") as errors:
        async with anyio.create_task_group() as group:
            group.start_soon(_log_errors, name, said, link)
            try:
                async with stdio_client(parameters, errlog=errors) as (read, write):
                    errors.close()  # only the command has it now, so that it ends with the command
                    yield _Watched(read, link), write
            finally:
                group.cancel_scope.cancel()


async def _log_errors(name: str, pipe: IO[bytes], link: Link) -> None:
    """Log what a command writes to its standard error; nobody reads it otherwise, and a full pipe would stop it."""
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), pipe)
    try:
        rest = b""
        while chunk := await reader.read(_CHUNK):
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines if len(rest) < _CHUNK else (*lines, rest):
                if text := line.decode(errors="replace").strip():
                    link.last_words = text[:_WORDS]
                    _log.debug("MCP server %r says: %s", name, text)
            rest = b"" if len(rest) >= _CHUNK else rest
    finally:
        transport.close()


class _Watched:
    """A stream that notes its end: a command whose standard output is closed is no server any more."""

    def __init__(self, stream: Any, link: Link) -> None:
        self._stream = stream
        self._link = link

    async def receive(self) -> Any:
        try:
            return _mended(await self._stream.receive())
        except (anyio.EndOfStream, anyio.ClosedResourceError):
            self._link.end()
            raise

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Any:
        try:
            return await self.receive()
        except anyio.EndOfStream:
            raise StopAsyncIteration from None

    async def aclose(self) -> None:
        await self._stream.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()


def _mended(message: Any) -> Any:
    """Return a message as it is, or with a text that was cut within a character made whole.

    The SDK cannot read such a message, and whoever waits for it would wait for ever.
    """
    if not isinstance(message, ValidationError):
        return message
    try:
        line = json.dumps(json.loads(message.errors()[0]["input"]), ensure_ascii=False)
        return SessionMessage(types.jsonrpc_message_adapter.validate_json(line.encode(errors="replace"), by_name=False))
    except (TypeError, ValueError):
        return message


@asynccontextmanager
async def _http(config: HttpServer, link: Link) -> AsyncGenerator[Streams]:
    # No limit on the wait for an answer: how long a call may take is the caller's to say.
    timeout = httpx2.Timeout(_CONNECT_S, read=None, pool=None)
    # Nor on the number of calls at a time: each has a connection of its own.
    limits = httpx2.Limits(max_keepalive_connections=20)
    async with (
        _Client(link, headers=dict(config.headers), timeout=timeout, limits=limits) as client,
        streamable_http_client(config.url, http_client=client, max_sse_event_size=None) as (read, write),
    ):
        yield read, write


class _Client(httpx2.AsyncClient):
    """Notes what became of requests, and says which trace they belong to."""

    def __init__(self, link: Link, **options: Any) -> None:
        super().__init__(**options)
        self._link = link

    async def send(self, request: httpx2.Request, **options: Any) -> httpx2.Response:
        if request.method == "DELETE" and self._link.is_new_server:
            return httpx2.Response(204, request=request)  # there is no session to end
        note = sending.get()
        propagate.inject(request.headers)  # the MCP SDK puts it into messages alone, where no proxy sees it
        try:
            response = await super().send(request, **options)
        except (httpx2.ConnectError, httpx2.ConnectTimeout):
            if note is not None:
                note.unsent = True
            raise
        except httpx2.TransportError:
            if note is None:
                raise
            note.broken_off = True
            return httpx2.Response(502, request=request)  # an error would end the connection, for all calls
        if request.method == "POST":
            self._link.http_status = response.status_code if response.status_code >= 300 else None
        if response.status_code == 404 and "mcp-session-id" in request.headers:
            if note is not None:
                note.unsent = True
            self._link.is_new_server = True
            self._link.end()
        return response
