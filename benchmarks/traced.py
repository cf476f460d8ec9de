"""A process that runs an agent as often as its stdin says, and says what it took; with telemetry, or without.

A line is a Work as JSON; the answer is the seconds of CPU that each run took, all threads of this process together, and
what they left to export at once.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import random
import sys
import time
from collections.abc import AsyncIterator, Generator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import asdict, dataclass
from typing import Any

from pydantic_ai import Agent
from pydantic_ai.messages import ModelMessage, ModelResponse, TextPart, UserPromptPart
from pydantic_ai.models.function import AgentInfo, FunctionModel

from pais_sdk import AgentRuntime

from .agents import ANSWER, QUESTION
from .untold import untold

_FEW = 10


@dataclass(frozen=True, kw_only=True)
class Work:
    """What is asked for."""

    times: int
    """Runs."""

    chunks: int | None = None
    """Pieces in which each is streamed; None for a plain run."""

    alone: bool = False
    """Whether plain runs are those of the agent itself, without the runtime."""

    bare: bool = False
    """Whether runs without anything of ours that makes spans or metrics are measured, too, in turns with the others;
    then there are two numbers in the answer."""

    def line(self) -> str:
        return json.dumps(asdict(self))


async def _answer(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
    return ModelResponse([TextPart(ANSWER)])


async def _pieces(messages: list[ModelMessage], info: AgentInfo) -> AsyncIterator[str]:
    asked = messages[-1].parts[-1]
    assert isinstance(asked, UserPromptPart)
    for _ in range(int(str(asked.content))):
        yield "word "


agent = Agent(FunctionModel(_answer, stream_function=_pieces, model_name="bench"), name="bench")


async def _cpu_s(runtime: AgentRuntime[Any], work: Work, telemetry: Any) -> list[float]:
    if work.bare:
        return await _pairs_cpu_s(runtime, work.times)
    began = time.process_time()
    for _ in range(work.times):
        if work.alone:
            await agent.run(QUESTION)
        elif work.chunks is None:
            await runtime.run(QUESTION)
        else:
            async with runtime.stream(str(work.chunks)) as events:
                async for _ in events:
                    pass
    if telemetry is not None:
        assert telemetry.force_flush()
    return [(time.process_time() - began) / work.times]


async def _pairs_cpu_s(runtime: AgentRuntime[Any], times: int) -> list[float]:
    """Return what a run takes as it is, and bare; a few at a time, because a machine's speed changes all the time."""
    found = [0.0, 0.0]
    for _ in range(times // _FEW):
        for which in random.sample((0, 1), 2):  # so that collections of garbage meet both
            with untold() if which else nullcontext():
                await runtime.run(QUESTION)  # Python compiles anew what was changed
                began = time.process_time()
                for _ in range(_FEW):
                    await runtime.run(QUESTION)
                found[which] += (time.process_time() - began) / times
    return found


@contextmanager
def _set_up(endpoint: str | None) -> Generator[Any]:
    if endpoint is None:
        yield None
        return
    from pais_sdk import setup_telemetry

    with setup_telemetry("bench", endpoint=endpoint, keep_traces=0) as telemetry:
        yield telemetry


async def _work(telemetry: Any) -> None:
    gc.freeze()  # as in a server's process
    gc.set_threshold(10_000)
    async with AgentRuntime(agent) as runtime:
        for line in iter(sys.stdin.readline, ""):  # nothing else is to be done between two of them
            print(json.dumps(await _cpu_s(runtime, Work(**json.loads(line)), telemetry)), flush=True)


def main() -> None:
    """Work until stdin ends."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.traced", description=__doc__)
    parser.add_argument("--endpoint", help="the collector; without one, there is no telemetry")
    options = parser.parse_args()
    with ExitStack() as stack:
        telemetry = stack.enter_context(_set_up(options.endpoint))
        asyncio.run(_work(telemetry))


if __name__ == "__main__":
    main()
