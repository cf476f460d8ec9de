"""Pages of events: the newest of a session, or of all sessions of a scope, and what came before."""

from __future__ import annotations

import heapq
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
    _check_found(found)
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
    after: str | None = None
    while True:
        page = await memory.read_page(limit=100, cursor=after)
        for index, session_id in enumerate(page):
            # Sessions come newest first: one that was used before the oldest event that is wanted has none of them.
            if wanted is not None and len(newest) >= wanted and len(page.used) > index:
                newest = heapq.nlargest(wanted, newest, key=lambda placed: placed.place)
                if _us(page.used[index].timestamp()) < newest[-1].when_us:
                    return _page_of(newest, limit)
            last_us = _us(page.used[index].timestamp()) if len(page.used) > index else None
            newest.extend(await _newest_of(memory, session_id, last_us, types, wanted, border))
        after = page.next
        if after is None:
            return _page_of(newest, limit)


async def _border(memory: _Readable, before: str) -> _Before:
    if cursor := _CURSOR.fullmatch(before):
        return _Before((int(cursor[1]), cursor[2]), cursor[3])
    after: str | None = None  # an event's id says nothing about its place
    while True:
        page = await memory.read_page(limit=100, cursor=after)
        for index, session_id in enumerate(page):
            last_us = _us(page.used[index].timestamp()) if len(page.used) > index else None
            for placed in await _newest_of(memory, session_id, last_us, None, None, None):
                if placed.event.event_id == before:
                    return _Before(placed.place, before)
        after = page.next
        _check_found(after is not None)


async def _newest_of(
    memory: _Readable,
    session_id: str,
    last_us: int | None,
    types: Collection[str] | None,
    wanted: int | None,
    border: _Before | None,
) -> Sequence[_Placed]:
    """Return the events of one session that may be wanted, the newest first."""
    found: Sequence[_Placed] = ()
    async with aclosing(_windows(memory, session_id, wanted)) as windows:
        async for window in windows:
            found = _placed(session_id, window, last_us)
            if border is not None:
                found = border.cut(found)
            found = [placed for placed in found if types is None or placed.event.event_type in types]
            if wanted is not None and len(found) >= wanted:
                return found[:wanted]
    return found


async def _windows(memory: _Readable, session_id: str, limit: int | None) -> AsyncGenerator[list[MemoryEvent]]:
    """Yield ever more of a session's newest events, in order, until it is all that there is."""
    window = None if limit is None else max(limit + 1, 16)  # most messages are at least one event
    while True:
        log = await memory.read_log(session_id, limit=window)
        yield [] if log is None else in_order(log)
        if log is None or log.complete or window is None:
            return
        window *= 4


def _placed(session_id: str, events: Sequence[MemoryEvent], last_us: int | None) -> list[_Placed]:
    """Return a session's events, the newest first; none counts as later than one after it, or than its last use."""
    placed: list[_Placed] = []
    for event in reversed(events):
        when_us = _us(when_of(event))
        last_us = when_us if last_us is None else min(when_us, last_us)
        placed.append(_Placed(last_us, session_id, event))
    return placed


def _us(seconds: float) -> int:
    return round(seconds * 1e6)


def _page_of(newest: Iterable[_Placed], limit: int | None) -> EventPage:
    ordered = sorted(newest, key=lambda placed: placed.place, reverse=True)  # stable: each session's stay in order
    kept = ordered[:limit]
    page = EventPage(placed.event for placed in reversed(kept))
    page.next = kept[-1].cursor if len(ordered) > len(kept) else None
    return page


def _check_found(found: bool) -> None:
    if not found:
        raise InvalidRequestError("there is no such event to begin before; begin again without it", param="before")
