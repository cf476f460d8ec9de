"""Messages as chains in memory: each stored once, shared by forks, and gone when no session reaches it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from typing import Any, cast

from pydantic import TypeAdapter
from pydantic_ai.conversation_store import ConversationEntry
from pydantic_ai.messages import ModelMessage, ModelMessagesTypeAdapter, ModelRequest, ModelResponse
from pydantic_core import to_jsonable_python

from ..errors import MemoryUnavailableError


@cache
def _writer(kind: type[ModelMessage]) -> TypeAdapter[Any]:
    """Return the adapter of one class of messages: to write it takes half the time of that of the union."""
    return TypeAdapter(kind)


class _Link:
    __slots__ = ("data", "holders", "parent_id", "run_id")

    def __init__(self, parent_id: str | None, run_id: str | None, data: bytes) -> None:
        self.parent_id = parent_id
        self.run_id = run_id
        self.data = data
        self.holders = 0  # links that follow this one, and sessions that end here


class MessageChains:
    """A message is kept as JSON, so that nobody's change to an object reaches the store, as in every other backend."""

    def __init__(self) -> None:
        self._links: dict[str, _Link] = {}

    @staticmethod
    def pack(message: ModelMessage) -> bytes:
        """Return a message as it is stored; what JSON cannot hold becomes text.

        Raises:
            MemoryUnavailableError: It cannot be written all the same.
        """
        # A model of somebody else's may return a subclass, with fields that no schema can be made of.
        writer = _writer(ModelRequest if isinstance(message, ModelRequest) else ModelResponse)
        try:
            try:
                return writer.dump_json(message, fallback=_as_text)
            except ValueError:  # half a character, such as file names have that are not UTF-8
                data = writer.dump_python(message, fallback=_as_text)
                return json.dumps(_whole(to_jsonable_python(data, fallback=_as_text)), ensure_ascii=False).encode()
        except ValueError as error:
            raise MemoryUnavailableError(f"a message cannot be stored as JSON: {error}") from error

    def has(self, entry_id: str | None) -> bool:
        return entry_id in self._links

    def add(self, entry: ConversationEntry, data: bytes) -> None:
        """Add a message after its parent, held by nobody yet."""
        self._links[entry.id] = _Link(entry.parent_id, entry.message.run_id, data)
        if (parent := self._links.get(entry.parent_id or "")) is not None:
            parent.holders += 1

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

    def entry(self, entry_id: str) -> ConversationEntry:
        """Return one message; LookupError where there is none."""
        link = self._links[entry_id]
        [message] = self._unpack([entry_id])
        return ConversationEntry(id=entry_id, parent_id=self._parent(link), message=message)

    def read(self, head_id: str | None, limit: int | None) -> list[ConversationEntry]:
        """Return the newest `limit` messages up to one, oldest first; LookupError where that one is gone."""
        ids = self._ids(head_id, limit)
        return [
            ConversationEntry(id=entry_id, parent_id=self._parent(self._links[entry_id]), message=message)
            for entry_id, message in zip(ids, self._unpack(ids), strict=True)
        ]

    def window(self, head_id: str | None, limit: int | None) -> list[ModelMessage]:
        """Return the newest `limit` messages, extended back to the start of the run that holds the oldest."""
        ids = self._ids(head_id, limit)
        if ids and limit is not None:
            oldest = self._links[ids[0]]
            run_id = oldest.run_id
            earlier: list[str] = []
            while run_id is not None and (parent_id := self._parent(oldest)) is not None:
                oldest = self._links[parent_id]
                if oldest.run_id != run_id:
                    break
                earlier.append(parent_id)
            ids = [*reversed(earlier), *ids]
        return self._unpack(ids)

    def trim(self, head_id: str | None, keep: int) -> int:
        """Drop what lies before the newest `keep` messages, unless a fork shares it; return how many are left."""
        ids = self._ids(head_id, None)
        start = max(0, len(ids) - keep)
        if any(self._links[entry_id].holders > 1 for entry_id in ids[start:]):
            return len(ids)
        while start and (run_id := self._links[ids[start]].run_id) == self._links[ids[start - 1]].run_id and run_id:
            start -= 1  # a run is never cut
        if start:
            self._links[ids[start]].parent_id = None
            self.release(ids[start - 1])
        return len(ids) - start

    def _ids(self, head_id: str | None, limit: int | None) -> list[str]:
        ids: list[str] = []
        entry_id = head_id
        while entry_id is not None and (limit is None or len(ids) < limit):
            ids.append(entry_id)
            entry_id = self._parent(self._links[entry_id])
        ids.reverse()
        return ids

    def _parent(self, link: _Link) -> str | None:
        return link.parent_id if link.parent_id in self._links else None

    def _unpack(self, ids: Sequence[str]) -> list[ModelMessage]:
        if not ids:
            return []
        return ModelMessagesTypeAdapter.validate_json(b"[" + b",".join(self._links[i].data for i in ids) + b"]")


def _as_text(value: object) -> str:
    try:
        return str(value)
    except Exception:  # noqa: BLE001 - a tool may return anything; its run is not lost for that
        return f"<{type(value).__name__}>"


def _whole(value: Any) -> Any:
    """Return JSON data in which every text can be written in UTF-8."""
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")  # two halves become one again
    if isinstance(value, list):
        return [_whole(item) for item in cast("list[Any]", value)]
    if isinstance(value, dict):
        return {_whole(key): _whole(item) for key, item in cast("dict[Any, Any]", value).items()}
    return value
