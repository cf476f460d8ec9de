"""An agent whose model takes its time, as real ones do, and the process that serves it."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager

from pydantic_ai import Agent
from pydantic_ai.messages import ModelMessage, ModelResponse, TextPart
from pydantic_ai.models.function import AgentInfo, FunctionModel

ANSWER_S = 0.05
TOKENS = 50
TOKEN_S = 0.02


async def _answer(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
    await asyncio.sleep(ANSWER_S)
    return ModelResponse([TextPart("An answer of a few words.")])


async def _tokens(messages: list[ModelMessage], info: AgentInfo) -> AsyncIterator[str]:
    for number in range(TOKENS):
        await asyncio.sleep(TOKEN_S)
        yield f"{number},"


agent = Agent(FunctionModel(_answer, stream_function=_tokens, model_name="waiting"), name="waiting")


class Served:
    """A process that serves the agent."""

    def __init__(self, process: asyncio.subprocess.Process, url: str) -> None:
        self._process = process
        self.url = url

    async def stop(self) -> int:
        """Send SIGTERM, unless it has ended, and return the exit code."""
        if self._process.returncode is None:
            self._process.send_signal(signal.SIGTERM)
        return await self._process.wait()


@asynccontextmanager
async def serving(**environment: str) -> AsyncGenerator[Served]:
    """Serve the agent with `python -m pais_sdk.serve` while the block runs."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "pais_sdk.serve", f"{__file__}:agent", "--port", "0"),
        env={**os.environ, "LOG_LEVEL": "INFO", **environment},
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stderr is not None
    try:
        line = ""
        while "listens on" not in line:
            line = (await process.stderr.readline()).decode()
            if not line:
                raise SystemExit("the server ended before it listened")
        served = Served(process, line.split()[-1])
        rest = asyncio.create_task(process.stderr.read())
        yield served
        await served.stop()
        await rest
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
