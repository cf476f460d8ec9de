"""What is stored for a session, and its events in the order in which they happened."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from pydantic_ai.conversation_store import ConversationEntry

from .events import MemoryEvent, events_of


@dataclass(frozen=True)
class Annotation:
    """An event that was added beside the messages."""

    event: MemoryEvent

    after: int
    """How many messages the session had then."""


@dataclass(frozen=True)
class SessionLog:
    """The newest part of what is stored for a session."""

    entries: Sequence[ConversationEntry]
    """Stored messages, oldest first; whole runs."""

    annotations: Sequence[Annotation]
    """Those with `after` at `start` or later, in the order in which they were added."""

    start: int
    """How many messages came before `entries`, dropped ones too."""

    complete: bool
    """Whether nothing older is stored."""

    lacks_annotations: bool = False
    """Whether older ones with `after` at `start` or later were left out."""


def in_order(log: SessionLog) -> list[MemoryEvent]:
    """Return events in the order of the messages, inside each by time, and annotations where they were added.

    One that was added while a run went on is among that run's events, by time; but annotations stay in their order, for
    then the newest of them have the same place whether or not the older ones are there.
    """
    end = log.start + len(log.entries)
    added: dict[int, list[MemoryEvent]] = {}
    for annotation in log.annotations:
        added.setdefault(min(max(annotation.after, log.start), end), []).append(annotation.event)
    events: list[MemoryEvent] = []
    position = log.start
    for run in _runs(log.entries):
        waiting = _waiting(added, range(position, position + len(run)))
        for entry in run:
            for event in sorted(events_of(entry), key=when_of):
                while waiting and waiting[0].after <= position and waiting[0].when < when_of(event):
                    events.append(waiting.popleft().event)
                events.append(event)
            position += 1
        events.extend(late.event for late in waiting)
    events.extend(added.get(end, ()))
    if log.lacks_annotations and log.annotations:  # what came before the first of them is not all here
        ids = {annotation.event.event_id for annotation in log.annotations}
        first = next(index for index, event in enumerate(events) if event.event_id in ids)
        del events[:first]
    return events


@dataclass(frozen=True)
class _Waiting:
    """An annotation that is to find its place in a run."""

    event: MemoryEvent
    after: int
    when: float


def _waiting(added: Mapping[int, Sequence[MemoryEvent]], positions: range) -> deque[_Waiting]:
    """Return what was added at these positions; none counts as later than one that was added after it."""
    waiting: deque[_Waiting] = deque()
    when = float("inf")
    for after in reversed(positions):
        for event in reversed(added.get(after, ())):
            when = min(when, when_of(event))
            waiting.appendleft(_Waiting(event, after, when))
    return waiting


def _runs(entries: Sequence[ConversationEntry]) -> Iterator[Sequence[ConversationEntry]]:
    """Yield the entries of one run after another; an entry of no run is alone."""
    for run_id, run in groupby(entries, key=lambda entry: entry.message.run_id):
        if run_id is None:
            yield from ([entry] for entry in run)
        else:
            yield list(run)


def when_of(event: MemoryEvent) -> float:
    """Return the time of an event in seconds since 1970."""
    return event.timestamp.timestamp()
