"""Runs without a server: Pydantic AI's own calls, and the runtime's."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable

from pais_sdk import AgentRuntime

from .agents import CHUNKS, QUESTION, agent

_RUNS = 60
_STREAMS = 6


async def in_process(*, backwards: bool) -> dict[str, float]:
    """Return the CPU seconds of a run, and of a streamed chunk, of the agent itself and of the runtime."""
    async with AgentRuntime(agent) as runtime:

        async def stream_agent() -> None:
            async with agent.run_stream_events(QUESTION) as events:
                async for _ in events:
                    pass

        async def stream_runtime() -> None:
            async with runtime.stream(QUESTION) as events:
                async for _ in events:
                    pass

        calls: dict[str, tuple[Callable[[], Awaitable[object]], int, int]] = {
            "agent.run": (lambda: agent.run(QUESTION), _RUNS, 1),
            "AgentRuntime.run": (lambda: runtime.run(QUESTION), _RUNS, 1),
            "AgentRuntime.run, store=False": (lambda: runtime.run(QUESTION, store=False), _RUNS, 1),
            "agent.run_stream_events": (stream_agent, _STREAMS, CHUNKS),
            "AgentRuntime.stream": (stream_runtime, _STREAMS, CHUNKS),
        }
        found: dict[str, float] = {}
        for name in reversed(calls) if backwards else calls:
            call, times, pieces = calls[name]
            began = time.process_time()
            for _ in range(times):
                await call()
            found[name] = (time.process_time() - began) / (times * pieces)
        return found
