"""LocalMemory: sessions in this process, for cells and tests; bounded, and gone with the process."""

from __future__ import annotations

import threading
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from copy import deepcopy
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import islice

from pydantic_ai.conversation_store import ConversationConflict, ConversationEntry, ConversationRecord
from pydantic_ai.messages import ModelMessage
from pydantic_ai.usage import RunUsage

from .append import appended, new_record
from .base import STATELESS_TTL_S, Memory, OnBusy
from .event_log import Annotation, SessionLog
from .events import MemoryEvent
from .locks import Hold, SessionLocks
from .message_json import pack_event, pack_message, pack_record, unpack_event, unpack_record
from .page import SessionPage, from_cursor, to_cursor
from .retention import Retention
from .session import MemorySession
from .session_id import from_internal, to_internal
from .shelf import Shelf, StoredSession

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class LocalMemory(Memory):
    """Keeps sessions in this process. The least recently used ones go first, never one whose run is active.

    Args:
        max_sessions: How many sessions are kept; None for all. The scope that has the most gives up its own.
        max_session_messages: How many messages of a session are kept, and as many annotations; None for all.
            What is shared with a fork is never trimmed.
        ttl_s: Seconds after its last write until a session is forgotten; None for never.
        stateless_ttl_s: The same for sessions of callers who sent no id.
    """

    is_shared = False
    telemetry_name = "local"

    def __init__(
        self,
        *,
        max_sessions: int | None = 1000,
        max_session_messages: int | None = 500,
        ttl_s: float | None = None,
        stateless_ttl_s: float | None = STATELESS_TTL_S,
    ) -> None:
        self._retention = Retention(max_sessions=max_sessions, max_session_messages=max_session_messages, ttl_s=ttl_s)
        self.stateless_ttl_s = stateless_ttl_s
        self._locks = SessionLocks()
        self._shelf = Shelf(self._retention, self._locks.is_held)
        self._guard = threading.RLock()  # a cell may look while a run on another thread writes

    async def check(self) -> None: ...

    @asynccontextmanager
    async def open_session(
        self, session_id: str, *, limit: int | None = None, wait_s: float = 30, on_busy: OnBusy = "queue"
    ) -> AsyncGenerator[MemorySession]:
        held = _LocalSession(self, session_id)
        hold = await self._locks.acquire(session_id, held.interrupt, wait_s=wait_s, on_busy=on_busy)
        try:
            held.begin(hold, limit)
            yield held
        finally:
            self._locks.release(hold)

    async def annotate(self, session_id: str, events: Sequence[MemoryEvent]) -> None:
        packed = [pack_event(event) for event in events]
        with self._guard:
            session = self._shelf.get(session_id)
            if session is None:
                session = StoredSession(new_record(session_id), self._retention.ttl_of(None))
            elif not packed:
                return
            self._shelf.annotate(session, packed)

    async def read_page(self, *, scope: str | None = None, limit: int = 100, cursor: str | None = None) -> SessionPage:
        before = None if cursor is None else from_cursor(cursor)
        if before is not None:
            before = before[0], to_internal(scope, before[1])
        with self._guard:
            found = list(islice(self._shelf.newest(scope, before), limit + 1))
        uses = [(used_us, from_internal(session_id)) for used_us, session_id in found[:limit]]
        page = SessionPage(session_id for _, session_id in uses)
        page.used = [_EPOCH + timedelta(microseconds=used_us) for used_us, _ in uses]
        page.next = to_cursor(*uses[-1]) if uses and len(found) > limit else None
        return page

    async def read_log(self, session_id: str, *, limit: int | None = None) -> SessionLog | None:
        with self._guard:
            session = self._shelf.get(session_id)
            if session is None:
                return None
            entries, start, complete = self._shelf.chains.read_runs(session.record.head_id, limit)
            added = [(after, packed) for after, packed in session.annotations if after >= start]
        lacks = limit is not None and len(added) > limit
        newest = added[len(added) - limit :] if limit is not None and lacks else added
        annotations = [Annotation(unpack_event(packed), after) for after, packed in newest]
        return SessionLog(entries, annotations, start, complete, lacks_annotations=lacks)

    async def read_record(self, conversation_id: str) -> ConversationRecord | None:
        with self._guard:
            session = self._shelf.get(conversation_id)
            return None if session is None else _copy(session.record)

    async def read_records(self, *, scope: str | None = None, limit: int | None = None) -> Sequence[ConversationRecord]:
        with self._guard:
            records = [session.record for session in self._shelf if scope in (None, session.record.scope)]
            records.sort(key=lambda record: record.updated_at, reverse=True)
            return [_copy(record) for record in records[:limit]]

    async def write_record(
        self,
        record: ConversationRecord,
        *,
        new_entries: Sequence[ConversationEntry] = (),
        expected_revision: str | None,
    ) -> None:
        packed = [(entry, pack_message(entry.message)) for entry in new_entries]
        record = _copy(record)
        with self._guard:
            stored = self._shelf.get(record.conversation_id)
            if (stored.record.revision if stored else None) != expected_revision:
                raise ConversationConflict(record.conversation_id)
            known = {None, *(entry.id for entry in new_entries)}
            if record.head_id not in known and not self._shelf.chains.has(record.head_id or ""):
                raise ConversationConflict(record.conversation_id)
            self._shelf.write(record, packed, (), self._retention.ttl_of(None))

    async def delete_record(self, conversation_id: str, *, expected_revision: str) -> None:
        with self._guard:
            stored = self._shelf.get(conversation_id)
            if stored is None or stored.record.revision != expected_revision:
                raise ConversationConflict(conversation_id)
            self._shelf.drop(conversation_id)

    async def read_entry(self, entry_id: str) -> ConversationEntry:
        with self._guard:
            return self._shelf.chains.entry(entry_id)

    async def read_history(self, head_id: str | None, *, limit: int | None = None) -> list[ConversationEntry]:
        with self._guard:
            return self._shelf.chains.read(head_id, limit)

    def _window(self, session_id: str, limit: int | None) -> list[ModelMessage] | None:
        """Return the history for a run that has just taken the session; None where nothing is stored."""
        with self._guard:
            session = self._shelf.take(session_id)
            return None if session is None else self._shelf.chains.window(session.record.head_id, limit)

    def _append(
        self,
        session_id: str,
        messages: Sequence[ModelMessage],
        annotations: Sequence[MemoryEvent],
        usage: RunUsage | None,
        ttl_s: float | None,
    ) -> None:
        packed_messages = [pack_message(message) for message in messages]  # what can fail, before anything changes
        packed_events = [pack_event(event) for event in annotations]
        with self._guard:
            session = self._shelf.get(session_id)
            record, entries = appended(session_id, None if session is None else session.record, messages, usage)
            packed = list(zip(entries, packed_messages, strict=True))
            self._shelf.write(record, packed, packed_events, self._retention.ttl_of(ttl_s))


class _LocalSession(MemorySession):
    protects_append = True

    def __init__(self, memory: LocalMemory, internal_id: str) -> None:
        super().__init__(from_internal(internal_id), [], exists=False)
        self._memory = memory
        self._internal_id = internal_id
        self._hold: Hold | None = None

    def begin(self, hold: Hold, limit: int | None) -> None:
        self._hold = hold
        window = self._memory._window(self._internal_id, limit)  # pyright: ignore[reportPrivateUsage]
        self.exists, self.history = window is not None, window or []

    async def append(
        self,
        messages: Sequence[ModelMessage],
        annotations: Sequence[MemoryEvent] = (),
        *,
        usage: RunUsage | None = None,
        ttl_s: float | None = None,
    ) -> None:
        self._memory._append(self._internal_id, messages, annotations, usage, ttl_s)  # pyright: ignore[reportPrivateUsage]
        if self._hold is not None:
            self._memory._locks.release(self._hold)  # pyright: ignore[reportPrivateUsage]


def _copy(record: ConversationRecord) -> ConversationRecord:
    if record.deferred_tool_requests is not None:  # its arguments may be anything
        return unpack_record(pack_record(record))
    return replace(record, usage=deepcopy(record.usage), branches=list(record.branches))
