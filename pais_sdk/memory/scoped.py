"""A view of a memory in which every session belongs to one scope."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace

from pydantic_ai.conversation_store import ConversationConflict, ConversationEntry, ConversationRecord

from .base import Memory, OnBusy
from .event_log import SessionLog
from .events import MemoryEvent
from .page import SessionPage
from .session import MemorySession
from .session_id import check_scope, check_session_id, from_internal, scope_of, to_internal


class ScopedMemory(Memory):
    """The sessions of one scope; opening and closing stays with the memory behind it."""

    def __init__(self, memory: Memory, scope: str) -> None:
        self._memory = memory
        self._scope = check_scope(scope)
        self.stateless_ttl_s = memory.stateless_ttl_s
        self.is_shared = memory.is_shared
        self.telemetry_name = memory.telemetry_name

    def scoped(self, scope: str | None) -> Memory:
        return self._memory.scoped(scope)

    async def check(self) -> None:
        await self._memory.check()

    @asynccontextmanager
    async def open_session(
        self, session_id: str, *, limit: int | None = None, wait_s: float = 30, on_busy: OnBusy = "queue"
    ) -> AsyncGenerator[MemorySession]:
        async with self._memory.open_session(
            self._internal(session_id), limit=limit, wait_s=wait_s, on_busy=on_busy
        ) as session:
            yield session

    async def annotate(self, session_id: str, events: Sequence[MemoryEvent]) -> None:
        await self._memory.annotate(self._internal(session_id), events)

    async def read_page(self, *, scope: str | None = None, limit: int = 100, cursor: str | None = None) -> SessionPage:
        return await self._memory.read_page(scope=self._scope, limit=limit, cursor=cursor)

    async def read_log(self, session_id: str, *, limit: int | None = None) -> SessionLog | None:
        return await self._memory.read_log(self._internal(session_id), limit=limit)

    async def read_record(self, conversation_id: str) -> ConversationRecord | None:
        record = await self._memory.read_record(self._internal(conversation_id))
        return None if record is None else self._outward(record)

    async def read_records(self, *, scope: str | None = None, limit: int | None = None) -> Sequence[ConversationRecord]:
        if scope not in (None, self._scope):
            return []
        wanted = limit
        while True:
            records = await self._memory.read_records(scope=self._scope, limit=wanted)
            # A session outside may have been saved with a scope of this name.
            ours = [record for record in records if scope_of(record.conversation_id) == self._scope]
            if wanted is None or len(records) < wanted or len(ours) >= (limit or 0):
                return [self._outward(record) for record in ours[:limit]]
            wanted *= 4

    async def write_record(
        self,
        record: ConversationRecord,
        *,
        new_entries: Sequence[ConversationEntry] = (),
        expected_revision: str | None,
    ) -> None:
        if record.scope not in (None, self._scope):
            raise ConversationConflict(record.conversation_id)
        inward = replace(
            record,
            conversation_id=self._internal(record.conversation_id),
            forked_from=None if record.forked_from is None else self._internal(record.forked_from),
            scope=self._scope,
        )
        try:
            await self._memory.write_record(inward, new_entries=new_entries, expected_revision=expected_revision)
        except ConversationConflict:
            raise ConversationConflict(record.conversation_id) from None

    async def delete_record(self, conversation_id: str, *, expected_revision: str) -> None:
        try:
            await self._memory.delete_record(self._internal(conversation_id), expected_revision=expected_revision)
        except ConversationConflict:
            raise ConversationConflict(conversation_id) from None

    async def read_entry(self, entry_id: str) -> ConversationEntry:
        return await self._memory.read_entry(entry_id)

    async def read_history(self, head_id: str | None, *, limit: int | None = None) -> list[ConversationEntry]:
        return await self._memory.read_history(head_id, limit=limit)

    def _internal(self, session_id: str) -> str:
        return to_internal(self._scope, check_session_id(session_id))

    def _outward(self, record: ConversationRecord) -> ConversationRecord:
        return replace(
            record,
            conversation_id=from_internal(record.conversation_id),
            forked_from=None if record.forked_from is None else from_internal(record.forked_from),
        )
