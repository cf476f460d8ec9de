"""Several processes on one socket: started, started again where one dies, and ended together."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import sys
import uuid
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from socket import socket

from .._listen import claim_socket, url_of
from ..settings import Settings
from ..settings.peers import identity_of
from .worker import Worker

_log = logging.getLogger("pais_sdk.serve")
_LONGEST_PAUSE_S = 30.0
_AT_ONCE_S = 4.0
_LAST_RESORT_S = 8.0


def run_workers(arguments: Sequence[str], settings: Settings, *, host: str | None, port: int | None) -> int:
    """Serve with AGENT_WORKERS processes until a signal comes; returns the exit code.

    Each is `python -m pais_sdk.serve` with these arguments, on the socket that is opened here. This process loads no
    agent: it only looks after the others. The first one starts alone, so that what is wrong is said once.

    Raises:
        ConfigurationError: It cannot listen there, or AGENT_IDENTITY cannot be used.
    """
    listener = claim_socket(*settings.address(host, port))
    # The end to write to is open here only: when this process ends, however it does, the workers see it.
    with listener, _pipe() as (parent, _):
        return asyncio.run(_Workers(arguments, settings, listener, parent).run())


@contextmanager
def _pipe() -> Generator[tuple[int, int]]:
    reader, writer = os.pipe()
    try:
        yield reader, writer
    finally:
        for end in (reader, writer):
            with contextlib.suppress(OSError):
                os.close(end)


class _Workers:
    def __init__(self, arguments: Sequence[str], settings: Settings, listener: socket, parent: int) -> None:
        self._arguments = arguments
        self._count = settings.agent_workers
        self._grace_s = settings.agent_grace_s
        # One agent to those that it delegates to, whichever of its processes they come back to.
        self._environment = {**os.environ, "AGENT_IDENTITY": identity_of(settings) or uuid.uuid4().hex}
        self._listener = listener
        self._parent = parent
        self._running: set[asyncio.subprocess.Process] = set()
        self._stopping = asyncio.Event()

    async def run(self) -> int:
        loop = asyncio.get_running_loop()
        for signal_number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(signal_number, self._on_signal)
        first, ready = await self._start()
        if not ready:
            code = await self._ended(first)
            return code or (0 if self._stopping.is_set() else 1)
        _log.info("%d workers listen on %s", self._count, url_of(self._listener))
        others = [asyncio.create_task(self._kept_alive()) for _ in range(self._count - 1)]
        codes = await asyncio.gather(self._kept_alive(first), *others)
        _log.info("all %d workers have ended", self._count)
        return 1 if any(codes) else 0

    async def _kept_alive(self, process: asyncio.subprocess.Process | None = None) -> int:
        """Return the exit code of a worker that ended when it should; one that ended before has a successor."""
        failures = 0
        while not self._stopping.is_set():
            if process is None:
                process, ready = await self._start()
                failures = 0 if ready else failures + 1
            code = await self._ended(process)
            if self._stopping.is_set():
                return code
            _log.error("worker %d ended with exit code %d; another one takes its place", process.pid, code)
            process = None
            if failures:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(min(2.0 ** min(failures, 10), _LONGEST_PAUSE_S)):
                        await self._stopping.wait()
        return 0

    async def _start(self) -> tuple[asyncio.subprocess.Process, bool]:
        """Start a worker and return it when it serves (True) or has ended before it did (False)."""
        with _pipe() as (reader, writer):
            worker = Worker(listener=self._listener.fileno(), ready=writer, parent=self._parent)
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                *(f"-W{option}" for option in sys.warnoptions),
                "-m",
                "pais_sdk.serve",
                f"--worker={worker}",
                *self._arguments,
                env=self._environment,
                pass_fds=(worker.listener, worker.ready, worker.parent),
                start_new_session=True,  # Ctrl-C in a terminal reaches this process only, which tells them once
            )
            self._running.add(process)
            if self._stopping.is_set():
                self._tell(process)
            os.close(writer)  # so that the end of the worker is the end of the file
            return process, bool(await _first_byte(reader))

    async def _ended(self, process: asyncio.subprocess.Process) -> int:
        code = await process.wait()
        self._running.discard(process)
        # It could not yet hear the signal that was to end it.
        return 0 if self._stopping.is_set() and code == -signal.SIGTERM else code

    def _on_signal(self) -> None:
        again = self._stopping.is_set()
        if not again:
            _log.info("%d workers take no more runs and end", len(self._running))
        self._stopping.set()
        asyncio.get_running_loop().call_later(_AT_ONCE_S if again else self._grace_s + _LAST_RESORT_S, self._kill)
        for process in list(self._running):
            self._tell(process, signal.SIGINT if again else signal.SIGTERM)

    def _kill(self) -> None:
        for process in list(self._running):
            _log.critical("worker %d does not end: it is killed", process.pid)
            with contextlib.suppress(ProcessLookupError):
                process.kill()

    def _tell(self, process: asyncio.subprocess.Process, what: signal.Signals = signal.SIGTERM) -> None:
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(what)


async def _first_byte(end: int) -> bytes:
    loop = asyncio.get_running_loop()
    readable = loop.create_future()
    loop.add_reader(end, lambda: readable.done() or readable.set_result(None))
    try:
        await readable
    finally:
        loop.remove_reader(end)
    return os.read(end, 1)
