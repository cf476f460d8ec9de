"""Servers as processes of their own, and agents in them that say what the test tells them, when it tells them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
from anyio import fail_after

SERVE = (sys.executable, "-W", "error", "-m", "pais_sdk.serve")

TOLD_AGENT = '''
"""Each run connects to the test, says who it is, and then says line by line what it is told, until the line is cut."""

import asyncio
import json
import os

from pydantic_ai import Agent
from pydantic_ai.messages import ModelResponse, TextPart
from pydantic_ai.models.function import FunctionModel

from pais_sdk import LocalMemory, NullMemory, serve


class Memory(NullMemory if os.environ.get("MEMORY_TYPE") == "null" else LocalMemory):
    async def close(self):
        events = [[event.event_type, event.content] for event in await self.get_events("s")]
        with open("closed.json", "w") as file:
            json.dump(events, file)


async def stream(messages, info):
    reader, writer = await asyncio.open_connection("127.0.0.1", int(os.environ["TEST_PORT"]))
    try:
        writer.write(f"{os.getpid()} {messages[-1].parts[-1].content}\\n".encode())
        while line := await reader.readline():
            yield line.decode().rstrip()
    finally:
        writer.close()


async def whole(messages, info):
    return ModelResponse([TextPart("".join([word async for word in stream(messages, info)]))])


agent = Agent(FunctionModel(whole, stream_function=stream), name=f"told-{os.getpid()}")
'''

TOLD_SERVER = TOLD_AGENT + "\napp = serve(agent, memory=Memory())\n"


@dataclass
class Told:
    """One run of such an agent."""

    pid: int
    prompt: str
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    def say(self, word: str) -> None:
        self.writer.write(f"{word}\n".encode())

    def end(self, *words: str) -> None:
        """Say these words, and no more."""
        for word in words:
            self.say(word)
        self.writer.close()

    async def cancelled(self) -> None:
        """Return when the run was cancelled, or its process has ended."""
        assert await self.reader.read() == b""


@dataclass
class Runs:
    """The runs that have begun, in order."""

    port: int
    _begun: asyncio.Queue[Told] = field(default_factory=lambda: asyncio.Queue[Told]())
    _writers: list[asyncio.StreamWriter] = field(default_factory=lambda: list[asyncio.StreamWriter]())

    async def next(self) -> Told:
        return await self._begun.get()

    async def named(self, *prompts: str) -> list[Told]:
        """Wait for these runs, and no others; return them in this order."""
        found = {told.prompt: told for told in [await self.next() for _ in prompts]}
        return [found[prompt] for prompt in prompts]

    async def begin(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.append(writer)
        pid, _, prompt = (await reader.readline()).decode().strip().partition(" ")
        self._begun.put_nowait(Told(int(pid), prompt, reader, writer))

    async def close(self) -> None:
        for writer in self._writers:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()


@asynccontextmanager
async def told_runs() -> AsyncGenerator[Runs]:
    """Listen for the runs of told agents, whichever process they are in."""
    runs = Runs(0)
    server = await asyncio.start_server(runs.begin, "127.0.0.1", 0)
    runs.port = server.sockets[0].getsockname()[1]
    try:
        yield runs
    finally:
        server.close()
        await runs.close()


@dataclass
class Process:
    """A command that serves, its log, and a client for it."""

    process: asyncio.subprocess.Process
    log: list[str]
    http: httpx.AsyncClient
    _logging: asyncio.Task[None]
    _logged: asyncio.Event

    @property
    def pid(self) -> int:
        return self.process.pid

    def stop(self, signal_number: signal.Signals = signal.SIGTERM) -> None:
        self.process.send_signal(signal_number)

    async def ended(self) -> int:
        """Return the exit code; the log is whole then."""
        code = await self.process.wait()
        await self._logging
        return code

    async def says(self, words: str, times: int) -> None:
        """Return when so many lines of the log have these words."""
        while sum(words in line for line in self.log) < times:
            self._logged.clear()
            await self._logged.wait()

    async def not_ready(self) -> None:
        """Return when the process has heard the signal."""
        while (answer := await self.http.get("/ready")).status_code == 200:
            pass
        assert (answer.status_code, answer.json()["reasons"]) == (503, ["draining"])


@asynccontextmanager
async def process(folder: Path, *arguments: str, **environment: str) -> AsyncGenerator[Process]:
    """Run a command that serves, from when it listens until the block ends; whatever is left then is killed."""
    child = await asyncio.create_subprocess_exec(
        *SERVE,
        *("--port", "0"),
        *arguments,
        cwd=folder,
        env={**os.environ, **environment},
        stderr=asyncio.subprocess.PIPE,
    )
    stderr = child.stderr
    assert stderr is not None
    log: list[str] = []
    logged = asyncio.Event()
    try:
        while "listens on" not in (log[-1] if log else ""):
            line = (await stderr.readline()).decode()
            assert line, f"the command ended: {''.join(log)}"
            log.append(line)
        url = log[-1].rpartition("listens on ")[2].split('"')[0].strip()

        async def keep_log() -> None:
            while line := await stderr.readline():
                log.append(line.decode())
                logged.set()

        logging = asyncio.create_task(keep_log())
        async with httpx.AsyncClient(base_url=url, timeout=20) as http:
            yield Process(child, log, http, logging, logged)
            with fail_after(20):
                if child.returncode is None:
                    child.kill()
                await child.wait()
                await logging
    finally:
        if child.returncode is None:
            child.kill()
        await child.wait()


def is_alive(pid: int) -> bool:
    """Tell whether a process is there and no zombie."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"
