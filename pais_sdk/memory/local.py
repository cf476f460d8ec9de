"""LocalMemory: sessions in this process, for cells and tests; bounded, and gone with the process."""

from __future__ import annotations

import itertools
import threading
import time
from collections import OrderedDict
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace

from pydantic_ai.conversation_store import ConversationConflict, ConversationEntry, ConversationRecord
from pydantic_ai.messages import ModelMessage
from pydantic_ai.usage import RunUsage

from ..errors import ConfigurationError, InvalidRequestError
from .append import appended, new_record
from .base import STATELESS_TTL_S, Memory, OnBusy
from .chain import MessageChains
from .event_log import SessionLog, SessionPage
from .events import MemoryEvent
from .locks import SessionLocks
from .session import MemorySession
from .session_id import from_internal, scope_of


class _Session:
    """What is stored for one session beside its messages."""

    __slots__ = ("annotations", "expires_at", "length", "record", "used")

    def __init__(self, record: ConversationRecord) -> None:
        self.record = record
        self.annotations: list[MemoryEvent] = []
        self.length = 0
        self.used = 0  # a number that grows with every use of any session
        self.expires_at: float | None = None

    @property
    def expired(self) -> bool:
        return self.expires_at is not None and self.expires_at <= time.monotonic()


class LocalMemory(Memory):
    """Keeps sessions in this process. The least recently used ones go first, never one whose run is active.

    Args:
        max_sessions: How many sessions are kept; None for all.
        max_session_messages: How many messages of a session are kept, and as many annotations; None for all.
            What is shared with a fork is never trimmed.
        ttl_s: Seconds after its last write until a session is forgotten; None for never.
        stateless_ttl_s: The same for sessions of callers who sent no id.
    """

    is_shared = False

    def __init__(
        self,
        *,
        max_sessions: int | None = 1000,
        max_session_messages: int | None = 500,
        ttl_s: float | None = None,
        stateless_ttl_s: float | None = STATELESS_TTL_S,
    ) -> None:
        for name, value in (("max_sessions", max_sessions), ("max_session_messages", max_session_messages)):
            if value is not None and value < 1:
                raise ConfigurationError(f"{name}={value!r} keeps nothing; use 1 or more, None for no limit")
        self._max_sessions = max_sessions
        self._max_messages = max_session_messages
        self._ttl_s = ttl_s
        self.stateless_ttl_s = stateless_ttl_s
        self._sessions: OrderedDict[str, _Session] = OrderedDict()  # the least recently written first
        self._chains = MessageChains()
        self._locks = SessionLocks()
        self._next_expiry = float("inf")
        self._uses = itertools.count(1)
        self._guard = threading.RLock()  # a cell may look while a run on another thread writes

    async def check(self) -> None: ...

    @asynccontextmanager
    async def open_session(
        self, session_id: str, *, limit: int | None = None, wait_s: float = 30, on_busy: OnBusy = "queue"
    ) -> AsyncGenerator[MemorySession]:
        held = _LocalSession(self, session_id)
        await self._locks.acquire(session_id, held.interrupt, wait_s=wait_s, on_busy=on_busy)
        try:
            held.read(limit)
            yield held
        finally:
            held.release()

    async def annotate(self, session_id: str, events: Sequence[MemoryEvent]) -> None:
        with self._guard:
            session = self._get(session_id)
            if session is None:
                session = self._put(_Session(new_record(session_id)), ttl_s=None)
            self._add_annotations(session, events)

    async def read_page(self, *, scope: str | None = None, limit: int = 100, cursor: str | None = None) -> SessionPage:
        with self._guard:
            newest_first = list(reversed(self._sessions))
            live = [(key, self._get(key)) for key in newest_first if scope_of(key) == scope]
            used = [(key, session.used) for key, session in live if session is not None]
        if cursor is not None:
            if not (cursor.isascii() and cursor.isdigit() and len(cursor) < 20):
                raise InvalidRequestError("the cursor is none of this list; begin again without it", param="cursor")
            used = [(key, number) for key, number in used if number < int(cursor)]
        page = SessionPage(from_internal(key) for key, _ in used[:limit])
        page.next = str(used[limit - 1][1]) if page and limit < len(used) else None
        return page

    async def read_log(self, session_id: str, *, limit: int | None = None) -> SessionLog | None:
        with self._guard:
            session = self._get(session_id)
            if session is None:
                return None
            entries = self._chains.read(session.record.head_id, limit)
            complete = not entries or not self._chains.has(entries[0].parent_id)
            annotations = list(session.annotations)
        if not complete:
            since = entries[0].message.timestamp
            annotations = [event for event in annotations if since is None or event.timestamp >= since]
        return SessionLog(entries, annotations, complete)

    async def read_record(self, conversation_id: str) -> ConversationRecord | None:
        with self._guard:
            session = self._get(conversation_id)
            return None if session is None else _copy(session.record)

    async def read_records(self, *, scope: str | None = None, limit: int | None = None) -> Sequence[ConversationRecord]:
        with self._guard:
            live = [self._get(key) for key in list(self._sessions)]
        records = [entry.record for entry in live if entry and scope in (None, entry.record.scope)]
        records.sort(key=lambda record: record.updated_at, reverse=True)
        return [_copy(record) for record in records[:limit]]

    async def write_record(
        self,
        record: ConversationRecord,
        *,
        new_entries: Sequence[ConversationEntry] = (),
        expected_revision: str | None,
    ) -> None:
        with self._guard:
            stored = self._get(record.conversation_id)
            if (stored.record.revision if stored else None) != expected_revision:
                raise ConversationConflict(record.conversation_id)
            new_ids = {entry.id for entry in new_entries}
            if record.head_id is not None and record.head_id not in new_ids and not self._chains.has(record.head_id):
                raise ConversationConflict(record.conversation_id)
            self._write(_copy(record), new_entries, ttl_s=None)

    async def delete_record(self, conversation_id: str, *, expected_revision: str) -> None:
        with self._guard:
            stored = self._get(conversation_id)
            if stored is None or stored.record.revision != expected_revision:
                raise ConversationConflict(conversation_id)
            self._drop(conversation_id)

    async def read_entry(self, entry_id: str) -> ConversationEntry:
        with self._guard:
            return self._chains.entry(entry_id)

    async def read_history(self, head_id: str | None, *, limit: int | None = None) -> list[ConversationEntry]:
        with self._guard:
            return self._chains.read(head_id, limit)

    def _get(self, session_id: str) -> _Session | None:
        session = self._sessions.get(session_id)
        if session is not None and session.expired and not self._locks.is_held(session_id):
            self._drop(session_id)
            return None
        return session

    def _window(self, session_id: str, limit: int | None) -> list[ModelMessage] | None:
        """Return the history for a run that has just taken the session; None where nothing is stored."""
        with self._guard:
            session = self._sessions.get(session_id)
            if session is not None and session.expired:
                self._drop(session_id)
                session = None
            return None if session is None else self._chains.window(session.record.head_id, limit)

    def _append(
        self,
        session_id: str,
        messages: Sequence[ModelMessage],
        annotations: Sequence[MemoryEvent],
        usage: RunUsage | None,
        ttl_s: float | None,
    ) -> None:
        with self._guard:
            session = self._get(session_id)
            record = None if session is None else session.record
            updated, entries = appended(session_id, record, messages, usage)
            self._add_annotations(self._write(updated, entries, ttl_s=ttl_s), annotations)

    def _add_annotations(self, session: _Session, annotations: Sequence[MemoryEvent]) -> None:
        session.annotations.extend(annotations)
        if self._max_messages is not None:
            del session.annotations[: -self._max_messages]

    def _write(
        self, record: ConversationRecord, entries: Sequence[ConversationEntry], *, ttl_s: float | None
    ) -> _Session:
        packed = [
            (entry, MessageChains.pack(entry.message)) for entry in entries
        ]  # all that can fail, before anything changes
        session = self._sessions.get(record.conversation_id)
        held = () if session is None else _tips(session.record)
        for entry, data in packed:
            self._chains.add(entry, data)
        for tip in _tips(record):
            self._chains.hold(tip)
        for tip in held:
            self._chains.release(tip)
        if session is None:
            session = _Session(record)
        session.length += len(entries)
        session.record = record
        self._put(session, ttl_s=ttl_s)
        if self._max_messages is not None and session.length > self._max_messages + self._max_messages // 8:
            session.length = self._chains.trim(session.record.head_id, self._max_messages)
        return session

    def _put(self, session: _Session, *, ttl_s: float | None) -> _Session:
        key = session.record.conversation_id
        self._sessions[key] = session
        self._sessions.move_to_end(key)
        session.used = next(self._uses)
        ttl_s = self._ttl_s if ttl_s is None else ttl_s if self._ttl_s is None else min(ttl_s, self._ttl_s)
        session.expires_at = None if ttl_s is None else time.monotonic() + ttl_s
        if session.expires_at is not None:
            self._next_expiry = min(self._next_expiry, session.expires_at)
        self._evict()
        return session

    def _evict(self) -> None:
        now = time.monotonic()
        if now >= self._next_expiry:
            for key in list(self._sessions):
                self._get(key)
            times = [entry.expires_at for entry in self._sessions.values() if entry.expires_at is not None]
            self._next_expiry = max(min(times, default=float("inf")), now + 1)  # at most one sweep a second
        if self._max_sessions is not None and len(self._sessions) > self._max_sessions:
            newest = next(reversed(self._sessions))
            idle = (key for key in self._sessions if key != newest and not self._locks.is_held(key))
            for oldest in list(itertools.islice(idle, len(self._sessions) - self._max_sessions)):
                self._drop(oldest)

    def _drop(self, session_id: str) -> None:
        session = self._sessions.pop(session_id)
        for tip in _tips(session.record):
            self._chains.release(tip)


class _LocalSession(MemorySession):
    append_suspends = False

    def __init__(self, memory: LocalMemory, internal_id: str) -> None:
        super().__init__(from_internal(internal_id), [], exists=False)
        self._memory = memory
        self._internal_id = internal_id
        self._held = True

    def read(self, limit: int | None) -> None:
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
        self.release()

    def release(self) -> None:
        if self._held:
            self._held = False
            self._memory._locks.release(self._internal_id)  # pyright: ignore[reportPrivateUsage]


def _tips(record: ConversationRecord) -> list[str]:
    return [*([] if record.head_id is None else [record.head_id]), *record.branches]


def _copy(record: ConversationRecord) -> ConversationRecord:
    return replace(record, usage=replace(record.usage), branches=list(record.branches))
