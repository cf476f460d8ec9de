"""Pages of events: the newest of a session, or of all sessions of a scope, and what came before."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Collection, Iterable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Protocol

from ..errors import InvalidRequestError
from .event_log import SessionLog, in_order, when_of
from .events import MemoryEvent
from .page import SessionPage

_CURSOR = re.compile(r"(-?[0-9]{1,17})~([A-Za-z0-9._:-]{1,128})~(.+)")


class EventPage(list[MemoryEvent]):
    """Events, oldest first.

    Attributes:
        next: Pass it as `before` for the page of what came before; None where nothing did.
    """

    next: str | None = None


class _Readable(Protocol):
    async def read_log(self, session_id: str, *, limit: int | None = None) -> SessionLog | None: ...

    async def read_page(
        self, *, scope: str | None = None, limit: int = 100, cursor: str | None = None
    ) -> SessionPage: ...


@dataclass(frozen=True, slots=True)
class _Session:
    session_id: str
    used_us: int | None
    """When it was used last; None where the memory does not say."""


@dataclass(frozen=True, slots=True)
class _Placed:
    """An event and its place among those of all sessions."""

    when_us: int
    session_id: str
    event: MemoryEvent

    @property
    def place(self) -> tuple[int, str]:
        """Orders the events of different sessions; those of one come in their own order."""
        return self.when_us, self.session_id

    @property
    def cursor(self) -> str:
        return f"{self.when_us}~{self.session_id}~{self.event.event_id}"


@dataclass(frozen=True, slots=True)
class _Before:
    """Where a page ends."""

    place: tuple[int, str]
    event_id: str

    def cut(self, newest_first: Sequence[_Placed]) -> Sequence[_Placed]:
        """Return those of one session that came before; where the very event is gone, those of an earlier time."""
        for index, placed in enumerate(newest_first):
            if placed.session_id == self.place[1] and placed.event.event_id == self.event_id:
                return newest_first[index + 1 :]
        return [placed for placed in newest_first if placed.place < self.place]


async def session_events(
    memory: _Readable, session_id: str, *, types: Collection[str] | None, limit: int | None, before: str | None
) -> EventPage:
    """Return the newest events of a session, before one of them."""
    events: list[MemoryEvent] = []
    found = before is None
    async with aclosing(_windows(memory, session_id, limit)) as windows:
        async for window in windows:
            events, found = window, before is None
            if before is not None:
                position = next((index for index, event in enumerate(window) if event.event_id == before), None)
                events, found = window[:position], position is not None
            events = [event for event in events if types is None or event.event_type in types]
            if found and limit is not None and len(events) > limit:
                break
    if not found:
        raise _not_found()
    page = EventPage(events if limit is None else events[-limit:])
    page.next = page[0].event_id if len(events) > len(page) else None
    return page


async def scope_events(
    memory: _Readable, *, types: Collection[str] | None, limit: int | None, before: str | None
) -> EventPage:
    """Return the newest events of all sessions, before one of them; by the `next` of a page that is cheap."""
    border = None if before is None else await _border(memory, before)
    newest: list[_Placed] = []
    wanted = None if limit is None else limit + 1
    async with aclosing(_sessions(memory)) as sessions:
        async for session in sessions:
            # Sessions come newest first: one that was used before the oldest event that is wanted has none of them.
            if session.used_us is not None and session.used_us < _floor_us(newest, wanted):
                break
            newest = await _with_newest_of(memory, session, types, wanted, border, newest)
    return _page_of(newest, limit)


async def _border(memory: _Readable, before: str) -> _Before:
    if cursor := _CURSOR.fullmatch(before):
        return _Before((int(cursor[1]), cursor[2]), cursor[3])
    async with aclosing(_sessions(memory)) as sessions:  # an event's id says nothing about its place
        async for session in sessions:
            for placed in await _with_newest_of(memory, session, None, None, None, []):
                if placed.event.event_id == before:
                    return _Before(placed.place, before)
    raise _not_found()


async def _sessions(memory: _Readable) -> AsyncGenerator[_Session]:
    cursor: str | None = None
    size = 8  # the newest of a few sessions are often enough
    while True:
        page = await memory.read_page(limit=size, cursor=cursor)
        for index, session_id in enumerate(page):
            yield _Session(session_id, _us(page.used[index].timestamp()) if page.used else None)
        cursor, size = page.next, 100
        if cursor is None:
            return


async def _with_newest_of(
    memory: _Readable,
    session: _Session,
    types: Collection[str] | None,
    wanted: int | None,
    border: _Before | None,
    others: list[_Placed],
) -> list[_Placed]:
    """Return the newest events of others and of one more session, of which no more is read than that takes."""
    newest = others
    missing = None if wanted is None else max(wanted - len(others), 8)
    async with aclosing(_windows(memory, session.session_id, missing)) as windows:
        async for window in windows:
            placed = _placed(session, window)
            found = placed if border is None else border.cut(placed)
            found = [placed for placed in found if types is None or placed.event.event_type in types]
            newest = _newest_first([*others, *found])[:wanted]
            if placed and placed[-1].when_us < _floor_us(newest, wanted):
                break  # what came before is older than all that is wanted
    return newest


def _floor_us(newest_first: Sequence[_Placed], wanted: int | None) -> float:
    """Return the time before which nothing is wanted any more."""
    return float("-inf") if wanted is None or len(newest_first) < wanted else newest_first[wanted - 1].when_us


def _newest_first(events: Iterable[_Placed]) -> list[_Placed]:
    """Order events; it is stable, so that those of one session stay as they are."""
    return sorted(events, key=lambda placed: placed.place, reverse=True)


async def _windows(memory: _Readable, session_id: str, limit: int | None) -> AsyncGenerator[list[MemoryEvent]]:
    """Yield ever more of a session's newest events, in order, until it is all that there is."""
    window = None if limit is None else max(limit + 1, 8)  # most messages are at least one event
    while True:
        log = await memory.read_log(session_id, limit=window)
        yield [] if log is None else in_order(log)
        if log is None or log.complete or window is None:
            return
        window *= 4


def _placed(session: _Session, events: Sequence[MemoryEvent]) -> list[_Placed]:
    """Return a session's events, the newest first; none counts as later than one after it, or than its last use."""
    placed: list[_Placed] = []
    last_us = session.used_us
    for event in reversed(events):
        when_us = _us(when_of(event))
        last_us = when_us if last_us is None else min(when_us, last_us)
        placed.append(_Placed(last_us, session.session_id, event))
    return placed


def _us(seconds: float) -> int:
    return round(seconds * 1e6)


def _page_of(newest_first: Sequence[_Placed], limit: int | None) -> EventPage:
    kept = newest_first[:limit]
    page = EventPage(placed.event for placed in reversed(kept))
    page.next = kept[-1].cursor if len(newest_first) > len(kept) else None
    return page


def _not_found() -> InvalidRequestError:
    return InvalidRequestError("there is no such event to begin before; begin again without it", param="before")
