"""Where messages are in their history."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from pydantic_ai.conversation_store import ConversationEntry

from ..message_json import pack_message


class Place(NamedTuple):
    """Where a message is in its history."""

    depth: int
    """How many messages came before it."""

    run_start: int
    """How many messages came before the first of its run."""

    run_id: str | None


def after(parent: Place | None, run_id: str | None) -> Place:
    """Return the place of a message that follows another, or is the first."""
    if parent is None:
        return Place(0, 0, run_id)
    depth = parent.depth + 1
    return Place(depth, parent.run_start if run_id is not None and run_id == parent.run_id else depth, run_id)


class PlacedEntry(NamedTuple):
    """An entry as it is stored."""

    id: str
    parent_id: str | None
    place: Place
    message: str

    def row(self, family: str) -> dict[str, Any]:
        """Return the values of its row."""
        return {
            "id": self.id,
            "parent_id": self.parent_id,
            "family": family,
            "depth": self.place.depth,
            "run_start": self.place.run_start,
            "run_id": self.place.run_id,
            "message": self.message,
        }


def pack_entries(entries: Sequence[ConversationEntry]) -> list[str]:
    """Return the messages of entries as they are stored.

    Raises:
        MemoryUnavailableError: One cannot be.
    """
    return [pack_message(entry.message).decode() for entry in entries]


def placed(
    entries: Sequence[ConversationEntry], packed: Sequence[str], stored: Mapping[str, Place]
) -> list[PlacedEntry]:
    """Return entries, each after the one it points at, with their places.

    Args:
        entries: In order.
        packed: Their messages.
        stored: The places of stored entries they follow; one that follows nothing known is the first.
    """
    places = dict(stored)
    found: list[PlacedEntry] = []
    for entry, message in zip(entries, packed, strict=True):
        parent = None if entry.parent_id is None else places.get(entry.parent_id)
        places[entry.id] = place = after(parent, entry.message.run_id)
        found.append(PlacedEntry(entry.id, entry.parent_id, place, message))
    return found
