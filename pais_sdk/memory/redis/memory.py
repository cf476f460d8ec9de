"""RedisMemory: sessions in Redis, for many processes and machines."""

from __future__ import annotations

import uuid
import weakref
from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Self

from pydantic_ai.conversation_store import ConversationConflict, ConversationEntry, ConversationRecord
from pydantic_ai.messages import ModelMessage
from pydantic_ai.usage import RunUsage

from ...errors import ConfigurationError, MemoryUnavailableError
from ..append import appended, new_record
from ..base import STATELESS_TTL_S, OnBusy
from ..event_log import Annotation, SessionLog
from ..events import MemoryEvent
from ..leased import LEASE_S, LeasedMemory, SessionWindow
from ..leases import Lease, LeaseState
from ..message_json import pack_event, pack_record, unpack_event, unpack_messages, unpack_record
from ..page import SessionPage, from_cursor, to_cursor
from ..retention import Retention
from ..session_id import from_internal, to_internal
from .clients import GivenClient, UrlClient
from .entry_id import family_of, located
from .history import History, Place
from .rows import Row, rows_of
from .runner import ScriptRunner
from .scripts import RedisClient
from .write import EPOCH, Write, label_of, or_empty, to_microseconds, to_milliseconds

TTL_S = 604_800.0
_SOME = 500  # of what is many: so many in one round trip


class RedisMemory(LeasedMemory):
    """Keeps sessions in Redis 6.2 or newer. All processes with the same prefix share them.

    A session that was deleted is gone at once, with all messages that no fork shares. A record that exists can be given
    messages that follow its own, but none that follow those of a session that it shares nothing with: that is a
    ConversationConflict. A new record can begin after any message.

    Args:
        client: A client of `redis.asyncio`, which its owner closes; it serves one event loop.
        prefix: What all keys begin with, in braces, so that they are in one slot of a cluster.
        max_sessions: How many sessions are kept; None for all.
        max_session_messages: How many messages of a session are kept, and as many annotations; None for all. What is
            shared with a fork is never trimmed.
        ttl_s: Seconds after its last write until a session is forgotten; None for never.
        stateless_ttl_s: The same for sessions of callers who sent no id.
        lease_s: Seconds after which a session is free again whose holder died.

    Raises:
        ConfigurationError: A limit would keep nothing, or the prefix holds braces.
    """

    telemetry_name = "redis"

    def __init__(
        self,
        client: RedisClient | UrlClient,
        *,
        prefix: str = "pais",
        max_sessions: int | None = None,
        max_session_messages: int | None = None,
        ttl_s: float | None = TTL_S,
        stateless_ttl_s: float | None = STATELESS_TTL_S,
        lease_s: float = LEASE_S,
    ) -> None:
        retention = Retention(max_sessions=max_sessions, max_session_messages=max_session_messages, ttl_s=ttl_s)
        # A wish to interrupt is heard when the lease is renewed, so that is within a second.
        super().__init__(retention=retention, stateless_ttl_s=stateless_ttl_s, lease_s=lease_s, renew_every_s=1.0)
        if not prefix or set(prefix) & set("{}"):
            raise ConfigurationError(f"prefix={prefix!r} does not work; use one without braces")
        self._clients = client if isinstance(client, UrlClient) else GivenClient(client)
        self._root = f"{{{prefix}}}:"
        self._scripts = ScriptRunner(self._clients, self._root)
        self._limits = (or_empty(max_session_messages), or_empty(max_sessions))
        # The record that a run's `append` updates, as it was taken, so that the run needs no third round trip; weak,
        # because a run may end without an append.
        self._records: weakref.WeakKeyDictionary[Lease, bytes] = weakref.WeakKeyDictionary()

    @classmethod
    def from_url(
        cls,
        url: str,
        *,
        prefix: str = "pais",
        max_sessions: int | None = None,
        max_session_messages: int | None = None,
        ttl_s: float | None = TTL_S,
        stateless_ttl_s: float | None = STATELESS_TTL_S,
        lease_s: float = LEASE_S,
    ) -> Self:
        """Return a memory that makes its own clients, and works on any event loop.

        Args:
            url: `redis://user:password@host:6379/0`, `rediss://...` for TLS, or `unix:///path/to/socket`.
            prefix: This and the rest are the arguments of the class.

        Raises:
            ConfigurationError: The URL cannot be read, or a limit would keep nothing.
        """
        return cls(
            UrlClient(url),
            prefix=prefix,
            max_sessions=max_sessions,
            max_session_messages=max_session_messages,
            ttl_s=ttl_s,
            stateless_ttl_s=stateless_ttl_s,
            lease_s=lease_s,
        )

    async def open(self) -> None:
        await self._clients.open()

    async def close(self) -> None:
        await super().close()
        await self._clients.close()

    async def annotate(self, session_id: str, events: Sequence[MemoryEvent]) -> None:
        record = new_record(session_id)
        packed = [pack_event(event) for event in events]
        await self._scripts.run(
            "annotate",
            session_id,
            record.revision,
            pack_record(record),
            label_of(record),
            to_microseconds(record.updated_at),
            to_milliseconds(self._retention.ttl_of(None)),
            *self._limits,
            *packed,
        )

    async def read_page(self, *, scope: str | None = None, limit: int = 100, cursor: str | None = None) -> SessionPage:
        after = ("", "")
        if cursor is not None:
            used_us, session_id = from_cursor(cursor)
            after = (str(used_us), to_internal(scope, session_id))
        index = f"{self._root}s" if scope is None else f"{self._root}s:{scope}"
        rows = await self._list(index, after, limit + 1)
        page = SessionPage(from_internal(row.session_id) for row in rows[:limit])
        page.used = [EPOCH + timedelta(microseconds=int(row.score)) for row in rows[:limit]]
        page.next = to_cursor(int(rows[limit - 1].score), page[-1]) if len(rows) > limit else None
        return page

    async def read_log(self, session_id: str, *, limit: int | None = None) -> SessionLog | None:
        answer = await self._scripts.run("log", session_id, -1 if limit is None else limit)
        if not answer:
            return None
        family, messages, *following, parent, ids, depth, annotations, greatest = answer
        history = History(family.decode())
        history.add(messages, parent, ids)
        await history.read(Place.after(family.decode(), following), self._read_piece)
        entries = history.entries()
        start = depth - len(entries)
        added = [_annotation(annotation) for annotation in annotations]
        return SessionLog(
            entries,
            [annotation for annotation in added if annotation.after >= start],
            start,
            complete=history.is_complete,
            lacks_annotations=greatest >= start,
        )

    async def read_record(self, conversation_id: str) -> ConversationRecord | None:
        answer = await self._scripts.run("record", conversation_id)
        return located(unpack_record(answer[0]), answer[1].decode()) if answer else None

    async def read_records(self, *, scope: str | None = None, limit: int | None = None) -> Sequence[ConversationRecord]:
        index = f"{self._root}i" if scope is None else f"{self._root}i:{scope}"
        rows = await self._list(index, ("", ""), limit, with_records=True)
        return [row.record for row in rows if row.record is not None]

    async def write_record(
        self,
        record: ConversationRecord,
        *,
        new_entries: Sequence[ConversationEntry] = (),
        expected_revision: str | None,
    ) -> None:
        family = ""
        if expected_revision is None:  # it may be a fork, whose messages are where those are that it shares
            new = {entry.id for entry in new_entries}
            shared = new_entries[0].parent_id if record.head_id in new else record.head_id
            family = "" if shared is None else await self._find(shared)
        ttl_s = self._retention.ttl_of(None)
        write = Write(record, new_entries, (), expected_revision, "", ttl_s, uuid.uuid4().hex, family)
        answer = await self._scripts.run("write", record.conversation_id, *write.arguments(self._limits))
        if answer != 1:
            raise ConversationConflict(record.conversation_id)

    async def delete_record(self, conversation_id: str, *, expected_revision: str) -> None:
        answer = await self._scripts.run("delete", conversation_id, expected_revision, uuid.uuid4().hex)
        if not answer:
            raise ConversationConflict(conversation_id)
        more = answer == 2
        while more:
            more = await self._scripts.run("collect", "")

    async def read_entry(self, entry_id: str) -> ConversationEntry:
        return (await self.read_history(entry_id, limit=1))[0]

    async def read_history(self, head_id: str | None, *, limit: int | None = None) -> list[ConversationEntry]:
        if head_id is None or limit == 0:
            return []
        family = await self._find(head_id)
        history = History(family)
        if family:
            place = Place(family, head_id, -1 if limit is None else limit, floor="")
            await history.read(place, self._read_piece)
        entries = history.entries()
        if not entries:
            raise LookupError(f"there is no message {head_id!r}")
        return entries

    async def _take(self, lease: Lease, *, limit: int | None, on_busy: OnBusy) -> SessionWindow | None:
        count = -1 if limit is None else limit
        answer = await self._scripts.run(
            "take", lease.session_id, lease.token, lease.process, on_busy, to_milliseconds(self._lease_s), count
        )
        if answer == 0:
            return None
        if not answer:
            return SessionWindow([], exists=False)
        self._records[lease] = answer[0]
        if len(answer) < 3:
            return SessionWindow(unpack_messages(answer[1:]), exists=True)
        _, messages, family, *following = answer  # a long one
        history = History(family.decode())
        history.add(messages)
        await history.read(Place.after(family.decode(), following), self._read_piece)
        return SessionWindow(history.messages(), exists=True)

    async def _renew(self, leases: Sequence[Lease]) -> Sequence[LeaseState]:
        states: list[LeaseState] = []
        for start in range(0, len(leases), _SOME):
            pairs = [text for lease in leases[start : start + _SOME] for text in (lease.session_id, lease.token)]
            answer = await self._scripts.run("renew", "", to_milliseconds(self._lease_s), *pairs)
            states.extend(state.decode() for state in answer)
        return states

    async def _release(self, lease: Lease) -> None:
        await self._scripts.run("release", lease.session_id, lease.token)

    async def _append(
        self,
        lease: Lease,
        messages: Sequence[ModelMessage],
        annotations: Sequence[MemoryEvent],
        usage: RunUsage | None,
        ttl_s: float | None,
    ) -> None:
        stored = self._records.pop(lease, None)
        while True:
            record = unpack_record(stored) if stored else None
            updated, entries = appended(lease.session_id, record, messages, usage)
            revision = None if record is None else record.revision
            kept_s = self._retention.ttl_of(ttl_s)
            write = Write(updated, entries, annotations, revision, lease.token, kept_s, key=updated.revision)
            answer = await self._scripts.insist("write", lease.session_id, *write.arguments(self._limits))
            if answer == 1:
                return
            if answer == 2:
                raise MemoryUnavailableError("the newest message of this session is not in Redis; are keys evicted?")
            stored = answer[0]  # somebody wrote or deleted it meanwhile: after that, then

    async def _read_piece(self, place: Place) -> Any:
        return await self._scripts.run("history", "", place.family, place.entry_id, place.count, place.floor)

    async def _find(self, entry_id: str) -> str:
        """Return the family of a message, or the empty text. One that is known by its plain id is looked for."""
        family, start = family_of(entry_id), 0
        while not family and start >= 0:
            found, start = await self._scripts.run("find", entry_id, start)
            family = found.decode() if found else ""
        return family

    async def _list(
        self, index: str, after: tuple[str, str], wanted: int | None, *, with_records: bool = False
    ) -> list[Row]:
        rows: list[Row] = []
        more = True
        while more and (wanted is None or len(rows) < wanted):
            size = _SOME if wanted is None else min(wanted - len(rows), _SOME)
            answer = await self._scripts.run("page", index, *after, size, int(with_records))
            more, *last = answer[2:5]
            after = (last[0].decode(), last[1].decode())
            rows.extend(rows_of(answer, with_records=with_records))
        return rows


def _annotation(stored: bytes) -> Annotation:
    after, _, event = stored.split(b" ", 2)
    return Annotation(unpack_event(event), int(after))
