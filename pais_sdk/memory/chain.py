"""Messages as chains in memory: each stored once, shared by forks, and gone when no session reaches it."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic_ai.conversation_store import ConversationEntry
from pydantic_ai.messages import ModelMessage

from .message_json import unpack_messages


class _Link:
    __slots__ = ("data", "depth", "holders", "parent_id", "run_id", "run_start")

    def __init__(self, parent_id: str | None, parent: _Link | None, run_id: str | None, data: bytes) -> None:
        self.parent_id = parent_id
        self.run_id = run_id
        self.data = data
        self.depth = 0 if parent is None else parent.depth + 1
        same_run = parent is not None and run_id is not None and parent.run_id == run_id
        self.run_start = parent.run_start if parent is not None and same_run else self.depth
        self.holders = 0  # links that follow this one, and sessions that end here


class MessageChains:
    """A message is kept as JSON, so that nobody's change to an object reaches the store, as in every other backend.

    Its depth is how many messages came before it; that stays when older ones are dropped.
    """

    def __init__(self) -> None:
        self._links: dict[str, _Link] = {}

    def __len__(self) -> int:
        return len(self._links)

    def has(self, entry_id: str) -> bool:
        return entry_id in self._links

    def add(self, entry: ConversationEntry, data: bytes) -> None:
        """Add a message after its parent, held by nobody yet; one that is there already stays as it is."""
        if entry.id in self._links:
            return
        parent = None if entry.parent_id is None else self._links.get(entry.parent_id)
        if parent is not None:
            parent.holders += 1
        parent_id = None if parent is None else entry.parent_id
        self._links[entry.id] = _Link(parent_id, parent, entry.message.run_id, data)

    def hold(self, entry_id: str) -> None:
        """Count one more session that ends at a message."""
        if (link := self._links.get(entry_id)) is not None:
            link.holders += 1

    def release(self, entry_id: str | None) -> None:
        """Count one less, and drop what nobody reaches any more."""
        while entry_id is not None and (link := self._links.get(entry_id)) is not None:
            link.holders -= 1
            if link.holders > 0:
                return
            del self._links[entry_id]
            entry_id = link.parent_id

    def drop_unheld(self, entry_id: str) -> None:
        """Drop a message that no session reaches, and what only it reached."""
        link = self._links.get(entry_id)
        if link is not None and link.holders == 0:
            self.hold(entry_id)
            self.release(entry_id)

    def end(self, head_id: str | None) -> int:
        """Return how many messages a history has had up to one, dropped ones too."""
        link = None if head_id is None else self._links.get(head_id)
        return 0 if link is None else link.depth + 1

    def length(self, head_id: str | None) -> int:
        """Return how many messages a history has."""
        return len(self._ids(head_id, None))

    def entry(self, entry_id: str) -> ConversationEntry:
        """Return one message; LookupError where there is none."""
        return self._entries([entry_id])[0]

    def read(self, head_id: str | None, limit: int | None) -> list[ConversationEntry]:
        """Return the newest `limit` messages up to one, oldest first; LookupError where that one is gone."""
        return self._entries(self._ids(head_id, limit))

    def read_runs(self, head_id: str | None, limit: int | None) -> tuple[list[ConversationEntry], int, bool]:
        """Return what `window` does as entries, how many messages came before, and whether none of those is left."""
        ids = self._runs(head_id, limit)
        if not ids:
            return [], self.end(head_id), head_id is None
        oldest = self._links[ids[0]]
        return self._entries(ids), oldest.depth, oldest.parent_id is None

    def window(self, head_id: str | None, limit: int | None) -> list[ModelMessage]:
        """Return the newest `limit` messages, extended back to the start of the run that holds the oldest."""
        return unpack_messages([self._links[entry_id].data for entry_id in self._runs(head_id, limit)])

    def trim(self, head_id: str, keep: int) -> tuple[int, int] | None:
        """Drop what lies before the newest `keep` messages in whole runs.

        Returns:
            How many messages are left, and how many came before them; None where a fork shares them, and nothing was
            dropped.
        """
        ids = self._runs(head_id, keep)
        if any(self._links[entry_id].holders > 1 for entry_id in ids):
            return None
        oldest = self._links[ids[0]]
        dropped, oldest.parent_id = oldest.parent_id, None
        self.release(dropped)
        return len(ids), oldest.depth

    def _runs(self, head_id: str | None, limit: int | None) -> list[str]:
        ids = self._ids(head_id, limit)
        if not ids or limit is None:
            return ids
        oldest = self._links[ids[0]]
        run_start = oldest.run_start
        earlier: list[str] = []
        while oldest.depth > run_start and oldest.parent_id is not None:
            earlier.append(oldest.parent_id)
            oldest = self._links[oldest.parent_id]
        return [*reversed(earlier), *ids] if earlier else ids

    def _ids(self, head_id: str | None, limit: int | None) -> list[str]:
        ids: list[str] = []
        entry_id = head_id
        while entry_id is not None and (limit is None or len(ids) < limit):
            ids.append(entry_id)
            entry_id = self._links[entry_id].parent_id
        ids.reverse()
        return ids

    def _entries(self, ids: Sequence[str]) -> list[ConversationEntry]:
        links = [self._links[entry_id] for entry_id in ids]
        messages = unpack_messages([link.data for link in links])
        return [
            ConversationEntry(id=entry_id, parent_id=link.parent_id, message=message)
            for entry_id, link, message in zip(ids, links, messages, strict=True)
        ]
