"""Sessions kept in this process: what is stored for each, in what order they were used, and which of them go."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence

from pydantic_ai.conversation_store import ConversationEntry, ConversationRecord

from .chain import MessageChains
from .recency import Recency
from .retention import Retention
from .session_id import scope_of


class StoredSession:
    """What is stored for one session beside its messages."""

    __slots__ = ("annotations", "expires_at", "length", "record", "trim_at", "ttl_s")

    def __init__(self, record: ConversationRecord, ttl_s: float | None) -> None:
        self.record = record
        self.annotations: list[tuple[int, bytes]] = []  # how many messages there were, and the event
        self.length = 0  # messages that are stored
        self.trim_at = 0  # messages from which on it may be trimmed
        self.ttl_s = ttl_s
        self.expires_at: float | None = None


class Shelf:
    """Not safe from several threads; whoever has it sees to that.

    Args:
        retention: What is kept.
        is_held: Says of a session whether it is held; such a one is never taken away.
    """

    def __init__(self, retention: Retention, is_held: Callable[[str], bool]) -> None:
        self.chains = MessageChains()
        self._retention = retention
        self._is_held = is_held
        self._sessions: dict[str, StoredSession] = {}
        self._orders: dict[str | None, Recency] = {}  # by scope
        self._last_us = 0
        self._next_expiry = float("inf")

    def __len__(self) -> int:
        return len(self._sessions)

    def __iter__(self) -> Iterator[StoredSession]:
        """Yield all sessions that have not expired, in no order."""
        for session_id in list(self._sessions):
            session = self.get(session_id)
            if session is not None:
                yield session

    def get(self, session_id: str) -> StoredSession | None:
        """Return a session that has not expired."""
        session = self._sessions.get(session_id)
        if session is None or session.expires_at is None or self._is_held(session_id):
            return session
        return self.take(session_id)

    def take(self, session_id: str) -> StoredSession | None:
        """Return a session that had not expired when its holder took it, which is now."""
        session = self._sessions.get(session_id)
        if session is not None and session.expires_at is not None and session.expires_at <= time.monotonic():
            self.drop(session_id)
            return None
        return session

    def newest(self, scope: str | None, before: tuple[int, str] | None) -> Iterator[tuple[int, str]]:
        """Yield the time of use in microseconds and the id of each session of a scope, the last used first."""
        order = self._orders.get(scope)
        return iter(()) if order is None else (use for use in order.newest(before) if self.get(use[1]) is not None)

    def write(
        self,
        record: ConversationRecord,
        messages: Sequence[tuple[ConversationEntry, bytes]],
        annotations: Sequence[bytes],
        ttl_s: float | None,
    ) -> None:
        """Store a record in place of the one that is there, and what comes with it."""
        session = self._sessions.get(record.conversation_id)
        replaced = None if session is None else session.record
        for entry, packed in messages:
            self.chains.add(entry, packed)
        for tip in _tips(record):
            self.chains.hold(tip)
        if replaced is not None:
            for tip in _tips(replaced):
                self.chains.release(tip)
        for entry, _ in messages:
            self.chains.drop_unheld(entry.id)
        if session is None:
            session = StoredSession(record, ttl_s)
        session.record, session.ttl_s = record, ttl_s
        if replaced is not None and messages and messages[0][0].parent_id == replaced.head_id:
            session.length += len(messages)
        elif replaced is None or replaced.head_id != record.head_id:
            session.length = self.chains.length(record.head_id)
            session.trim_at = 0
        self._trim(session)
        self.annotate(session, annotations)

    def annotate(self, session: StoredSession, annotations: Sequence[bytes]) -> None:
        """Add events to a session, which may be new, and note that it was used."""
        if annotations:
            after = self.chains.end(session.record.head_id)
            session.annotations.extend((after, packed) for packed in annotations)
            if self._retention.max_session_messages is not None:
                del session.annotations[: -self._retention.max_session_messages]
        session_id = session.record.conversation_id
        self._sessions[session_id] = session
        self._last_us = max(time.time_ns() // 1000, self._last_us + 1)
        scope = scope_of(session_id)
        order = self._orders.get(scope)
        if order is None:
            order = self._orders[scope] = Recency()
        order.use(session_id, self._last_us)
        session.expires_at = None if session.ttl_s is None else time.monotonic() + session.ttl_s
        if session.expires_at is not None:
            self._next_expiry = min(self._next_expiry, session.expires_at)
        self._evict(session_id)

    def drop(self, session_id: str) -> None:
        """Take a session away, and what no other one shares with it."""
        session = self._sessions.pop(session_id)
        scope = scope_of(session_id)
        order = self._orders[scope]
        order.drop(session_id)
        if not len(order):
            del self._orders[scope]
        for tip in _tips(session.record):
            self.chains.release(tip)

    def _trim(self, session: StoredSession) -> None:
        keep, head_id = self._retention.max_session_messages, session.record.head_id
        if keep is None or head_id is None or session.length < session.trim_at:
            return
        if not self._retention.is_over(session.length):
            return
        trimmed = self.chains.trim(head_id, keep)
        if trimmed is not None:
            session.length, start = trimmed
            session.annotations = [added for added in session.annotations if added[0] >= start]
        session.trim_at = session.length + max(1, keep // 8)  # not at every write, where a fork shares them

    def _evict(self, written: str) -> None:
        now = time.monotonic()
        if now >= self._next_expiry:
            times = [session.expires_at for session in self if session.expires_at is not None]
            self._next_expiry = max(min(times, default=float("inf")), now + 1)  # at most one sweep a second
        limit = self._retention.max_sessions
        while limit is not None and len(self._sessions) > limit:
            session_id = self._least_used(written)
            if session_id is None:
                return
            self.drop(session_id)

    def _least_used(self, written: str) -> str | None:
        """Return the session that is to go: one of the scope that has the most, and so of nobody who has fewer."""
        orders = list(self._orders.values())
        while orders:
            largest = min(orders, key=lambda order: (-len(order), next(order.oldest())))
            for _, session_id in largest.oldest():
                if session_id != written and not self._is_held(session_id):
                    return session_id
            orders.remove(largest)
        return None


def _tips(record: ConversationRecord) -> list[str]:
    return [*([] if record.head_id is None else [record.head_id]), *record.branches]
