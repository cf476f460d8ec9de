"""Histories as the scripts answer them: in pieces, from the newest to the oldest."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic_ai.conversation_store import ConversationEntry
from pydantic_ai.messages import ModelMessage
from pydantic_core import from_json

from ..message_json import unpack_messages
from .entry_id import EntryId


@dataclass(frozen=True)
class Place:
    """Where a piece of a history begins, and how far it goes back."""

    family: str
    entry_id: str
    count: int
    """How many messages are wanted; -1 for all."""

    floor: str
    """What else is wanted: nothing (empty), the rest of the run of the oldest (`+`), or all down to this depth."""

    @staticmethod
    def after(family: str, answer: Sequence[Any]) -> Place | None:
        """Return where the next piece begins, of its id, count and floor as a script answers them."""
        entry_id, count, floor = answer
        return Place(family, entry_id.decode(), count, floor.decode()) if entry_id else None


ReadPiece = Callable[[Place], Awaitable[Any]]


class History:
    """The messages of some pieces.

    Args:
        family: Where they are.
    """

    def __init__(self, family: str) -> None:
        self._family = family
        self._messages: list[bytes] = []
        self._ids: list[bytes] = []
        self._parent = b""

    async def read(self, place: Place | None, read_piece: ReadPiece) -> None:
        """Read all pieces from a place on."""
        while place is not None:
            messages, *following, parent, ids = await read_piece(place)
            self.add(messages, parent, ids)
            place = Place.after(self._family, following)

    def add(self, messages: bytes, parent: bytes = b"", ids: bytes = b"[]") -> None:
        """Add a piece that is older than those before.

        Args:
            messages: Their JSON, joined by commas.
            parent: The id before the oldest, where that is stored.
            ids: Their ids, oldest first, as JSON.
        """
        if messages:
            self._messages.append(messages)
            self._ids.append(ids)
        self._parent = parent

    @property
    def is_complete(self) -> bool:
        """Whether nothing older is stored."""
        return not self._parent

    def messages(self) -> list[ModelMessage]:
        """Return the messages, oldest first."""
        return unpack_messages(self._messages[::-1])

    def entries(self) -> list[ConversationEntry]:
        """Return the messages as entries, oldest first."""
        entries: list[ConversationEntry] = []
        parent = EntryId(self._parent.decode(), self._family) if self._parent else None
        ids: list[str] = [entry_id for piece in reversed(self._ids) for entry_id in from_json(piece)]
        for text, message in zip(ids, self.messages(), strict=True):
            entry_id = EntryId(text, self._family)
            entries.append(ConversationEntry(id=entry_id, parent_id=parent, message=message))
            parent = entry_id
        return entries
