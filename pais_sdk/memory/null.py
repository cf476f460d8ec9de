"""NullMemory: keeps nothing, and every call works."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from pydantic_ai.agent import AgentRunResult
from pydantic_ai.conversation import Conversation
from pydantic_ai.conversation_store import ConversationEntry, ConversationRecord
from pydantic_ai.messages import ModelMessage
from pydantic_ai.usage import RunUsage

from .base import Memory, OnBusy
from .event_log import SessionLog
from .events import MemoryEvent
from .page import SessionPage
from .session import MemorySession
from .session_id import from_internal


class NullMemory(Memory):
    """For stateless agents: no session has a history, and nobody waits for a session."""

    telemetry_name = "null"

    def scoped(self, scope: str | None) -> Memory:
        return self  # there is nothing to keep apart

    @asynccontextmanager
    async def open_session(
        self, session_id: str, *, limit: int | None = None, wait_s: float = 30, on_busy: OnBusy = "queue"
    ) -> AsyncGenerator[MemorySession]:
        yield _NullSession(from_internal(session_id), [], exists=False)

    async def annotate(self, session_id: str, events: Sequence[MemoryEvent]) -> None: ...

    async def read_page(self, *, scope: str | None = None, limit: int = 100, cursor: str | None = None) -> SessionPage:
        return SessionPage()

    async def read_log(self, session_id: str, *, limit: int | None = None) -> SessionLog | None:
        return None

    async def read_record(self, conversation_id: str) -> ConversationRecord | None:
        return None

    async def read_records(self, *, scope: str | None = None, limit: int | None = None) -> Sequence[ConversationRecord]:
        return []

    async def write_record(
        self,
        record: ConversationRecord,
        *,
        new_entries: Sequence[ConversationEntry] = (),
        expected_revision: str | None,
    ) -> None: ...

    async def delete_record(self, conversation_id: str, *, expected_revision: str) -> None: ...

    async def read_entry(self, entry_id: str) -> ConversationEntry:
        raise LookupError(entry_id)

    async def save(
        self, conversation: Conversation | AgentRunResult[Any], *, scope: str | None = None
    ) -> list[ConversationEntry]:
        return []

    async def branch(
        self,
        conversation_id: str,
        *,
        at: int | None = None,
        from_entry: str | None = None,
        expected_revision: str | None,
        scope: str | None = None,
    ) -> Conversation:
        return Conversation(conversation_id=conversation_id)

    async def fork(
        self,
        conversation_id: str,
        *,
        at: int | None = None,
        from_entry: str | None = None,
        new_conversation_id: str | None = None,
        scope: str | None = None,
        source_scope: str | None = None,
    ) -> Conversation:
        return Conversation() if new_conversation_id is None else Conversation(conversation_id=new_conversation_id)


class _NullSession(MemorySession):
    protects_append = True

    async def append(
        self,
        messages: Sequence[ModelMessage],
        annotations: Sequence[MemoryEvent] = (),
        *,
        usage: RunUsage | None = None,
        ttl_s: float | None = None,
    ) -> None: ...
