"""Read what happened from a memory: the newest events of a session, or of all sessions of a scope."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

from pydantic_ai.conversation_store import ConversationEntry

from ..errors import InvalidRequestError
from .events import MemoryEvent, events_of


class SessionPage(list[str]):
    """Session ids, the most recently used first.

    Attributes:
        next: Pass it as `cursor` for the following page; None after the last.
    """

    next: str | None = None


@dataclass(frozen=True)
class SessionLog:
    """The newest part of what is stored for a session."""

    entries: Sequence[ConversationEntry]
    """Stored messages, oldest first."""

    annotations: Sequence[MemoryEvent]
    """Events that were added beside the messages: those since the first of `entries`, oldest first."""

    complete: bool
    """Whether nothing older is stored."""


class _Readable(Protocol):
    async def read_log(self, session_id: str, *, limit: int | None = None) -> SessionLog | None: ...

    async def read_page(
        self, *, scope: str | None = None, limit: int = 100, cursor: str | None = None
    ) -> SessionPage: ...


async def session_events(
    memory: _Readable, session_id: str, *, types: Collection[str] | None, limit: int | None, before: str | None
) -> list[MemoryEvent]:
    window = None if limit is None else max(2 * limit, 16)
    while True:
        log = await memory.read_log(session_id, limit=window)
        if log is None:
            log = SessionLog((), (), complete=True)
        events, found = _cut(_in_order(log), types, before)
        if log.complete or window is None or (found and limit is not None and len(events) >= limit):
            _check_found(found)
            return events if limit is None else events[-limit:]
        window *= 4


async def scope_events(
    memory: _Readable, *, types: Collection[str] | None, limit: int | None, before: str | None
) -> list[MemoryEvent]:
    events: list[MemoryEvent] = []
    cursor: str | None = None
    while True:
        page = await memory.read_page(limit=100, cursor=cursor)
        for session_id in page:
            enough = None if before else limit
            found = await session_events(memory, session_id, types=types, limit=enough, before=None)
            # Sessions come newest first: once this one ends before the oldest that is wanted, so do all others.
            if enough is not None and types is None and found and len(events) >= enough:
                newest = sorted(events, key=_when)[-enough:]
                if found[-1].timestamp < newest[0].timestamp:
                    return newest
            events.extend(found)
        cursor = page.next
        if cursor is None:
            ordered, found_it = _cut(sorted(events, key=_when), None, before)
            _check_found(found_it)
            return ordered if limit is None else ordered[-limit:]


def _when(event: MemoryEvent) -> float:
    return event.timestamp.timestamp()


def _in_order(log: SessionLog) -> list[MemoryEvent]:
    """Return the messages' events in the messages' order, inside each by time, and the annotations where they came."""
    waiting = deque(sorted(log.annotations, key=_when))
    events: list[MemoryEvent] = []
    for entry in log.entries:
        for event in sorted(events_of(entry), key=_when):
            while waiting and _when(waiting[0]) < _when(event):
                events.append(waiting.popleft())
            events.append(event)
    return [*events, *waiting]


def _check_found(found: bool) -> None:
    if not found:
        raise InvalidRequestError("there is no such event to begin before; begin again without it", param="before")


def _cut(
    events: list[MemoryEvent], types: Collection[str] | None, before: str | None
) -> tuple[list[MemoryEvent], bool]:
    """Return the events before one, of some types, and whether that one was there."""
    found = before is None
    if before is not None:
        position = next((index for index, event in enumerate(events) if event.event_id == before), None)
        found = position is not None
        events = events[:position] if found else []
    return [event for event in events if types is None or event.event_type in types], found
