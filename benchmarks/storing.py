"""A server whose runs say what they have seen, on the store of STORE_URL: `benchmarks.storing:app`.

The answer to `b` is `b after a` where `a` was said before it in the session. WITH_TOOL gives it a tool: then a run has
four messages. LEASE_S is for how long a session is held; FILL, for a
memory in the process, how many runs each of 1,000 sessions has, once or time after time.
"""

from __future__ import annotations

import asyncio
import os
import random

from pydantic_ai import Agent
from pydantic_ai.messages import ModelMessage, ToolReturnPart
from pydantic_ai.models.function import AgentInfo, DeltaToolCall

from pais_sdk import LocalMemory, serve
from pais_sdk.memory import Memory
from tests.agents import Pieces, model_of, user_texts

from .filling import fill_sessions
from .memories import memory_of
from .stored_runs import NOTHING


async def _stream(messages: list[ModelMessage], info: AgentInfo) -> Pieces:
    said = user_texts(messages)
    if info.function_tools and not isinstance(messages[-1].parts[-1], ToolReturnPart):
        yield {0: DeltaToolCall("look", f'{{"at": "{said[-1]}"}}', tool_call_id=f"call-{said[-1]}")}
        return
    yield said[-1]
    yield f" after {said[-2] if len(said) > 1 else NOTHING}"


async def look(at: str) -> str:
    """Look at something."""
    await asyncio.sleep(random.uniform(0, 0.02))  # noqa: S311 - so that runs are at different places at any moment
    return f"{at} was seen"


class _FilledMemory(LocalMemory):
    """Has what others find in their stores."""

    async def open(self) -> None:
        for runs in os.environ["FILL"].split(","):
            await fill_sessions(self, sessions=1000, runs=int(runs))


def _memory() -> Memory:
    if "FILL" in os.environ:
        return _FilledMemory(max_sessions=None, max_session_messages=None)
    lease = {"lease_s": float(os.environ["LEASE_S"])} if "LEASE_S" in os.environ else {}
    return memory_of(os.environ["STORE_URL"], **lease)


agent = Agent(model_of(_stream), name="storing", tools=[look] if os.environ.get("WITH_TOOL") else [])
app = serve(agent, memory=_memory())
