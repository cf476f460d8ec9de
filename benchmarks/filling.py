"""Sessions to measure with: written in bulk, through the calls that every memory has."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from pydantic_ai.messages import ModelMessage, ModelRequest, ModelResponse, TextPart, UserPromptPart
from pydantic_ai.usage import RunUsage

from pais_sdk.memory import Memory, new_session_id

from .agents import ANSWER, QUESTION

_AT_ONCE = 1000  # messages in one write
_TOGETHER = 50  # writes at a time


def turns(count: int) -> list[ModelMessage]:
    """Return the messages of so many runs, two each."""
    messages: list[ModelMessage] = []
    for _ in range(count):
        run_id = new_session_id()
        messages.append(ModelRequest([UserPromptPart(QUESTION)], run_id=run_id))
        messages.append(ModelResponse([TextPart(ANSWER)], run_id=run_id, model_name="bench"))
    return messages


async def take_and_append(memory: Memory, session_id: str, messages: Sequence[ModelMessage], *, limit: int) -> None:
    """Do what a run does to a memory."""
    async with memory.open_session(session_id, limit=limit) as session:
        await session.append(messages, usage=RunUsage(requests=1))


async def fill_session(memory: Memory, session_id: str, messages: int) -> None:
    """Add so many messages to a session."""
    for begin in range(0, messages, _AT_ONCE):
        await take_and_append(memory, session_id, turns(min(_AT_ONCE, messages - begin) // 2), limit=0)


async def fill_sessions(memory: Memory, *, sessions: int, runs: int) -> None:
    """Add so many runs to each of so many sessions, to one after the other."""
    for number in range(sessions):
        await take_and_append(memory, f"s{number}", turns(runs), limit=0)


async def create_sessions(memory: Memory, count: int) -> None:
    """Create so many sessions with nothing in them."""
    for begin in range(0, count, _TOGETHER):
        numbers = range(begin, min(begin + _TOGETHER, count))
        await asyncio.gather(*(memory.create_session(f"s{number}") for number in numbers))
