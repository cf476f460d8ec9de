"""What the tests of the contract put into a memory, and how they look at it again."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from anyio import fail_after
from pydantic_ai import Agent
from pydantic_ai.conversation import Conversation
from pydantic_ai.conversation_store import ConversationStore
from pydantic_ai.messages import (
    ModelMessage,
    ModelRequest,
    ModelResponse,
    TextPart,
    ToolCallPart,
    ToolReturnPart,
    UserPromptPart,
)
from pydantic_ai.models.function import AgentInfo, FunctionModel

from ..base import Memory
from ..events import MemoryEvent

START = datetime(2026, 1, 1, tzinfo=UTC)


def exchange(text: str, *, minute: float = 0, tools: int = 0, run_id: str | None = None) -> list[ModelMessage]:
    """Return the messages of one run, with as many rounds of tools as asked for, all of one minute after `START`."""
    at = START + timedelta(minutes=minute)
    run_id = f"run-{text}" if run_id is None else run_id
    messages: list[ModelMessage] = [ModelRequest([UserPromptPart(text, timestamp=at)], run_id=run_id)]
    for number in range(tools):
        call_id = f"{run_id}-{number}"
        messages.append(ModelResponse([ToolCallPart("t", {"n": number}, call_id)], run_id=run_id, timestamp=at))
        messages.append(ModelRequest([ToolReturnPart("t", number, call_id, timestamp=at)], run_id=run_id))
    messages.append(ModelResponse([TextPart(f"re: {text}")], run_id=run_id, timestamp=at))
    return messages


def user_texts(messages: Sequence[ModelMessage]) -> list[str]:
    """Return what users said, in order."""
    return [
        str(part.content)
        for message in messages
        if isinstance(message, ModelRequest)
        for part in message.parts
        if isinstance(part, UserPromptPart)
    ]


def echo_agent() -> Agent[None, str]:
    """Return an agent that answers with the newest user text and the number of messages it sees."""

    async def answer(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
        return ModelResponse([TextPart(f"{user_texts(messages)[-1]} ({len(messages)})")])

    return Agent(FunctionModel(answer))


async def eventually(holds: Callable[[], Awaitable[bool]], *, limit_s: float = 20) -> None:
    """Return as soon as something holds that time brings about."""
    with fail_after(limit_s):
        while not await holds():  # noqa: ASYNC110 - what time brings about sets no event
            await asyncio.sleep(0.01)


async def append(
    memory: Memory,
    session_id: str,
    messages: Sequence[ModelMessage],
    annotations: Sequence[MemoryEvent] = (),
    **options: Any,
) -> None:
    """Add messages and events to a session as a run does, without a look at its history."""
    async with memory.open_session(session_id, limit=0) as session:
        await session.append(messages, annotations, **options)


async def history(memory: Memory, session_id: str, limit: int | None = None) -> list[ModelMessage]:
    """Return what a run in a session would see."""
    async with memory.open_session(session_id, limit=limit) as session:
        return session.history


async def said(memory: Memory, session_id: str) -> list[str]:
    """Return what users said in a session."""
    return user_texts(await history(memory, session_id))


async def save(store: ConversationStore, conversation_id: str, *texts: str, **options: Any) -> Conversation:
    """Add one exchange for each text to a conversation, as one who uses the store alone does."""
    conversation = await store.load(conversation_id) or Conversation(conversation_id=conversation_id)
    for text in texts:
        conversation.messages.extend(exchange(text))
    await store.save(conversation, **options)
    return conversation
