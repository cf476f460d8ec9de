"""SQLMemory: sessions in SQLite or PostgreSQL."""

from __future__ import annotations

import logging
import weakref
from collections.abc import Sequence
from functools import partial
from os import PathLike, fspath

from pydantic_ai.conversation_store import ConversationEntry, ConversationRecord
from pydantic_ai.messages import ModelMessage
from pydantic_ai.usage import RunUsage
from sqlalchemy import URL

from ..._shield import to_its_end
from ...errors import MemoryUnavailableError
from ..base import STATELESS_TTL_S, OnBusy
from ..event_log import SessionLog
from ..events import MemoryEvent
from ..leased import LEASE_S, LeasedMemory, SessionWindow
from ..leases import Lease, LeaseState
from ..message_json import pack_event
from ..page import SessionPage
from ..per_loop import PerLoop
from ..retention import Retention
from . import reading
from .appending import Append, release_steps
from .changes import Written, annotate, delete_record, write_record
from .connection import Step
from .database import Database
from .dropping import drop_expired
from .housekeeping import Housekeeper
from .places import pack_entries
from .state import SessionState
from .statements import RENEW, RESERVE, TAKE
from .texts import check_texts
from .trimming import trim
from .urls import dialect_of, sqlite_url

_log = logging.getLogger("pais_sdk.memory")

_RESERVE_S = 1


class SQLMemory(LeasedMemory):
    """Keeps sessions in a database that several processes share: a file of SQLite, or PostgreSQL.

    Args:
        url: `sqlite:///file.db` (the extra `sql`) or `postgresql://user:password@host/database` (`postgres`).
        max_sessions: How many sessions are kept; None for all.
        max_session_messages: How many messages of a session are kept, and as many annotations; None for all.
            What is shared with a fork is never trimmed.
        ttl_s: Seconds after its last write until a session is forgotten; None for never.
        stateless_ttl_s: The same for sessions of callers who sent no id.
        lease_s: Seconds after which a session is free again whose process died in a run.

    Raises:
        ConfigurationError: The URL is none that it knows, or a limit keeps nothing.
        MissingExtraError: The driver is not installed.
    """

    def __init__(
        self,
        url: str | URL,
        *,
        max_sessions: int | None = None,
        max_session_messages: int | None = None,
        ttl_s: float | None = None,
        stateless_ttl_s: float | None = STATELESS_TTL_S,
        lease_s: float = LEASE_S,
    ) -> None:
        retention = Retention(max_sessions=max_sessions, max_session_messages=max_session_messages, ttl_s=ttl_s)
        super().__init__(retention=retention, stateless_ttl_s=stateless_ttl_s, lease_s=lease_s)
        self._dialect = dialect_of(url)
        self.telemetry_name = self._dialect.telemetry_name
        self._databases = PerLoop(self._open_database, Database.close)
        self._housekeeper = Housekeeper(retention)
        self._known: weakref.WeakKeyDictionary[Lease, SessionState] = weakref.WeakKeyDictionary()

    async def open(self) -> None:
        await self._databases.get()

    async def close(self) -> None:
        await super().close()
        await self._databases.close()

    async def check(self) -> None:
        await (await self._database()).check()
        await super().check()

    async def _take(self, lease: Lease, *, limit: int | None, on_busy: OnBusy) -> SessionWindow | None:
        check_texts([lease.session_id])
        database = await self._database()
        values = {"id": lease.session_id, "process": lease.process}
        take = Step(TAKE, {**values, "token": lease.token, "lease_us": round(self._lease_s * 1_000_000)}, needed=True)
        results = await database.run(take, reading.window_step(lease.session_id, limit))
        if results is None:
            if on_busy != "reject":
                await database.change(RESERVE, **values, reserve_us=_RESERVE_S * 1_000_000)
            return None
        state, expired, history = reading.window_of(results[1], limit)
        if expired:
            await database.write(partial(drop_expired, ids=[lease.session_id]))
        if state is None or expired:
            return SessionWindow([], exists=False)
        self._known[lease] = state
        return SessionWindow(history, exists=True)

    async def _renew(self, leases: Sequence[Lease]) -> Sequence[LeaseState]:
        database = await self._database()
        pack = self._dialect.pack_ids
        rows = await database.change(
            RENEW,
            ids=pack([lease.session_id for lease in leases]),
            tokens=pack([lease.token for lease in leases]),
            lease_us=round(self._lease_s * 1_000_000),
        )
        kept = {row[0] for row in rows}
        return ["kept" if lease.token in kept else "lost" for lease in leases]

    async def _release(self, lease: Lease) -> None:
        database = await self._database()
        await database.run(*release_steps(lease))

    async def _append(
        self,
        lease: Lease,
        messages: Sequence[ModelMessage],
        annotations: Sequence[MemoryEvent],
        usage: RunUsage | None,
        ttl_s: float | None,
    ) -> None:
        work = Append(
            lease,
            self._known.get(lease),
            messages,
            [pack_event(event).decode() for event in annotations],
            usage,
            self._retention.ttl_of(ttl_s),
            self._retention.max_session_messages,
        )
        database = await self._database()
        await self._written(database, await work.at_once(database) or await database.write(work, sees_itself=True))

    async def annotate(self, session_id: str, events: Sequence[MemoryEvent]) -> None:
        check_texts([session_id])
        work = partial(
            annotate,
            session_id=session_id,
            events=[pack_event(event).decode() for event in events],
            ttl_s=self._retention.ttl_of(None),
            keep=self._retention.max_session_messages,
        )
        database = await self._database()

        async def write() -> None:
            await self._written(database, await database.write(work))

        await to_its_end(write())

    async def read_page(self, *, scope: str | None = None, limit: int = 100, cursor: str | None = None) -> SessionPage:
        return await reading.read_page(await self._database(), scope, limit, cursor)

    async def read_log(self, session_id: str, *, limit: int | None = None) -> SessionLog | None:
        return await reading.read_log(await self._database(), session_id, limit)

    async def read_record(self, conversation_id: str) -> ConversationRecord | None:
        return await reading.read_record(await self._database(), conversation_id)

    async def read_records(self, *, scope: str | None = None, limit: int | None = None) -> Sequence[ConversationRecord]:
        return await reading.read_records(await self._database(), scope, limit)

    async def write_record(
        self,
        record: ConversationRecord,
        *,
        new_entries: Sequence[ConversationEntry] = (),
        expected_revision: str | None,
    ) -> None:
        check_texts([record.conversation_id, record.scope, record.head_id, record.revision, *record.branches])
        check_texts(text for entry in new_entries for text in (entry.id, entry.parent_id, entry.message.run_id))
        work = partial(
            write_record,
            record=record,
            entries=[*new_entries],
            packed=pack_entries(new_entries),
            expected=expected_revision,
            ttl_s=self._retention.ttl_of(None),
        )
        database = await self._database()

        async def write() -> None:
            await self._written(database, await database.write(work))

        await to_its_end(write())

    async def delete_record(self, conversation_id: str, *, expected_revision: str) -> None:
        work = partial(delete_record, session_id=conversation_id, expected=expected_revision)
        await to_its_end((await self._database()).write(work))

    async def read_entry(self, entry_id: str) -> ConversationEntry:
        return await reading.read_entry(await self._database(), entry_id)

    async def read_history(self, head_id: str | None, *, limit: int | None = None) -> list[ConversationEntry]:
        if head_id is None or (limit is not None and limit <= 0):
            return []
        return await reading.read_history(await self._database(), head_id, limit)

    async def _open_database(self) -> Database:
        database = await Database.open(self._dialect)
        try:
            await self._housekeeper.opened(database)
        except BaseException:
            await database.close()
            raise
        return database

    async def _database(self) -> Database:
        database = self._databases.ready()
        if database is not None and database.lost:
            await self._databases.close()
            database = None
        return database or await self._databases.get()

    async def _written(self, database: Database, written: Written) -> None:
        """Keep what retention says; what has just been written is stored whether or not that succeeds."""
        retention = self._retention
        try:
            if retention.is_over(written.depth - written.dropped) and written.depth >= written.trim_at:
                await database.write(partial(trim, session_id=written.session_id, retention=retention))
            if written.created:
                await self._housekeeper.created(database, written.session_id)
        except MemoryUnavailableError as error:
            _log.warning("old sessions or messages are not dropped yet: %s", error)


class SQLiteMemory(SQLMemory):
    """Keeps sessions in a file, which is made where there is none, with its folder.

    Args:
        path: The file. Not on a network disk: SQLite's write-ahead log needs memory that processes share.
        max_sessions: As of `SQLMemory`.
        max_session_messages: As of `SQLMemory`.
        ttl_s: As of `SQLMemory`.
        stateless_ttl_s: As of `SQLMemory`.
        lease_s: As of `SQLMemory`.

    Raises:
        ConfigurationError: There can be no such file, or a limit keeps nothing.
        MissingExtraError: The extra `sql` is not installed.
    """

    def __init__(
        self,
        path: str | PathLike[str] = "pais.db",
        *,
        max_sessions: int | None = None,
        max_session_messages: int | None = None,
        ttl_s: float | None = None,
        stateless_ttl_s: float | None = STATELESS_TTL_S,
        lease_s: float = LEASE_S,
    ) -> None:
        super().__init__(
            sqlite_url(fspath(path)),
            max_sessions=max_sessions,
            max_session_messages=max_session_messages,
            ttl_s=ttl_s,
            stateless_ttl_s=stateless_ttl_s,
            lease_s=lease_s,
        )
