"""MCP servers as processes of the test's own; `mcp_process.py` and `mcp_plain.py` say what they can do."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import anyio

from pais_sdk.mcp import MCPServer

from .mcp_forks import FORKS, serve
from .processes import Told

SCRIPT = Path(__file__).with_name("mcp_process.py")
PLAIN = Path(__file__).with_name("mcp_plain.py")
START_S = 30
"""Seconds that a process may take to start: it imports a good second's worth, beside everything else that runs."""


def stdio() -> dict[str, Any]:
    """Return the configuration of a server that speaks over its standard streams."""
    return {"command": sys.executable, "args": [str(SCRIPT)]}


def plain() -> dict[str, Any]:
    """Return the configuration of one that starts at once, for what begins and ends."""
    return {"command": sys.executable, "args": [str(PLAIN)]}


class HttpServerProcess:
    """Speaks streamable HTTP, on a port that it keeps over a restart."""

    def __init__(self, *options: str) -> None:
        self._options = options
        # Bound, and not listening: while the process is down, connections are refused.
        self._port = socket.socket()
        self._port.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        self._port.bind(("127.0.0.1", 0))
        self.port: int = self._port.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/mcp"
        self._process: BaseProcess | None = None

    def start(self) -> None:
        """Return when it listens; this waits without the event loop, so start what takes long before that."""
        ours, theirs = FORKS.Pipe(duplex=False)
        with ours:
            with theirs:
                self._process = FORKS.Process(target=serve, args=(self.port, self._options, theirs), daemon=True)
                self._process.start()
            assert ours.recv() == "listens"  # an EOFError: it has ended

    def kill(self) -> None:
        """End the process as a crash would."""
        if self._process is not None:
            self._process.kill()
            self._process.join()
            self._process.close()
            self._process = None

    def stop(self) -> None:
        """Let the process hang: the system accepts connections, and nobody answers."""
        self._signal(signal.SIGSTOP)

    def go_on(self) -> None:
        self._signal(signal.SIGCONT)

    def _signal(self, number: int) -> None:
        assert self._process is not None
        assert self._process.pid is not None
        os.kill(self._process.pid, number)

    def close(self) -> None:
        self.kill()
        self._port.close()


@contextmanager
def http_server(*options: str) -> Generator[HttpServerProcess]:
    """Run a server with these options while the block runs."""
    server = HttpServerProcess(*options)
    try:
        server.start()
        yield server
    finally:
        server.close()


@asynccontextmanager
async def calls() -> AsyncGenerator[Calls]:
    """Listen for the calls of `hold` and `hold_again`."""
    begun = Calls()
    server = await asyncio.start_server(begun.begin, "127.0.0.1", 0)
    begun.port = server.sockets[0].getsockname()[1]
    try:
        yield begun
    finally:
        server.close()
        for told in begun.all:
            told.writer.close()


@dataclass
class Calls:
    """Calls that wait for what the test says; give `port` to the tool."""

    port: int = 0
    all: list[Told] = field(default_factory=lambda: list[Told]())
    _begun: asyncio.Queue[Told] = field(default_factory=lambda: asyncio.Queue[Told]())

    async def begin(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        pid = int(await reader.readline())
        told = Told(pid, "", reader, writer)
        self.all.append(told)
        self._begun.put_nowait(told)

    async def next(self) -> Told:
        return await self._begun.get()


@dataclass
class Pauses:
    """In place of the pauses before a new attempt: each lasts until the test ends it."""

    counts: list[int] = field(default_factory=lambda: list[int]())
    _begun: asyncio.Event = field(default_factory=asyncio.Event)
    _end: asyncio.Event = field(default_factory=asyncio.Event)

    async def __call__(self, count: int) -> None:
        self.counts.append(count)
        self._end.clear()
        self._begun.set()
        await self._end.wait()
        self._begun.clear()

    async def begun(self) -> None:
        """Return when one has begun, and has not ended."""
        await self._begun.wait()

    async def end_until_ready(self, server: MCPServer) -> None:
        """End each until the server is up."""
        while server.status.state != "ready":
            self._end.set()
            await anyio.sleep(0.001)


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
