"""What PostgreSQL says differently, and connections to it."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping, Sequence
from typing import Any, ClassVar, Protocol, TypeVar

import asyncpg  # pyright: ignore[reportMissingTypeStubs]
from anyio import CancelScope
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection

from ...errors import ConfigurationError, InvalidRequestError, MemoryUnavailableError, PaisError
from .connection import Dialect, Row, SqlConnection, Step
from .texts import REFUSED

_LIST = '(SELECT unnest(CAST(:{name} AS TEXT[])) COLLATE "C" AS id) AS {name}'
_SCHEMA_LOCK, _FAMILY_LOCK = 0x70616973, 0x70616974
_CONNECT_S, _GIVE_UP_S, _ANSWER_S = 10.0, 25.0, 30.0

# Every statement is a look-up or a walk in an index. A planner that knows little of a table, or of a walk, prefers to
# read all of it, which is right only while it is small.
_PLANNER = {"enable_seqscan": "off", "enable_hashjoin": "off", "enable_mergejoin": "off", "jit": "off"}
CONNECT_ARGUMENTS: dict[str, Any] = {
    "timeout": _CONNECT_S,
    "command_timeout": _ANSWER_S,
    # The server gives up first: of what this side gives up, nobody knows whether it is stored.
    "server_settings": {
        **_PLANNER,
        "statement_timeout": f"{_GIVE_UP_S * 1000:.0f}",
        "application_name": "pais-sdk",
    },
}


class PostgresDialect(Dialect):
    words: ClassVar[Mapping[str, str]] = {
        "now": "CAST(EXTRACT(EPOCH FROM statement_timestamp()) * 1000000 AS BIGINT)",  # one clock for all machines
        "ids": _LIST.format(name="ids"),
        "tokens": _LIST.format(name="tokens"),
        "lock": "FOR UPDATE OF s",
        "id": 'TEXT COLLATE "C"',
        "clustered": "",
    }
    # Not `to_regclass`, which may not see what another transaction has made while this one waited for it.
    has_meta = "SELECT 1 FROM pg_catalog.pg_class WHERE relname = 'pais_meta' AND pg_catalog.pg_table_is_visible(oid)"
    shared = True
    connections = 10
    telemetry_name = "postgres"

    def pack_ids(self, ids: Sequence[str]) -> list[str]:
        return list(ids)

    async def connect(self, *, first: bool) -> PostgresConnection:
        return PostgresConnection(self, *await self._new_connection(self._engine))

    async def place(self) -> None: ...

    def failure(self, error: Exception, *, opening: bool) -> PaisError | None:
        url = self._engine.url  # of which only this is surely no secret
        server = f"the database {url.database!r} at {url.host or url.query.get('host') or 'this machine'}"
        state = _state(error)
        if state == "22021" or isinstance(error, (asyncpg.DataError, UnicodeError)):
            return InvalidRequestError(REFUSED)
        why = None if state is None else _SETUP.get(state, _SETUP.get(state[:2]))
        if opening and why is not None:
            return ConfigurationError(f"{server} {why}")
        if opening and isinstance(error, (TypeError, ValueError)):
            return ConfigurationError(f"{server} cannot be reached with this URL: {error}")
        if state is not None or isinstance(error, (*_LOST, TimeoutError)):
            return MemoryUnavailableError(f"{server} does not answer: {str(error) or type(error).__name__}")
        return None

    def may_succeed(self, error: Exception) -> bool:
        state = _state(error)
        if state is None:
            return isinstance(error, _LOST) and not isinstance(error, TimeoutError)
        # Another transaction was in the way, or the server ends this connection.
        return state in ("40001", "40P01") or state[:3] in ("080", "57P")


T = TypeVar("T")


class _Driver(Protocol):
    """What is used of asyncpg's connection, which says nothing about types."""

    async def fetch(self, query: str, *args: Any) -> list[Row]: ...

    async def execute(self, query: str) -> str: ...

    async def executemany(self, command: str, args: Sequence[Sequence[Any]]) -> None: ...

    def is_closed(self) -> bool: ...

    def is_in_transaction(self) -> bool: ...

    def terminate(self) -> None: ...


class PostgresConnection(SqlConnection):
    """SQLAlchemy makes it; statements go straight to asyncpg, which takes a third of the time."""

    def __init__(self, dialect: PostgresDialect, connection: AsyncConnection, driver: _Driver) -> None:
        super().__init__(dialect)
        self._connection = connection
        self._driver = driver
        self._broken = False

    @property
    def usable(self) -> bool:
        return not (self._broken or self._driver.is_closed() or self._driver.is_in_transaction())

    async def fetch(self, sql: str, **values: Any) -> Sequence[Row]:
        statement, names = self.dialect.compiled(sql)
        return await self._answer(self._driver.fetch(statement, *[values[name] for name in names]))

    async def run(self, steps: Sequence[Step], *, atomic: bool) -> Sequence[Sequence[Row]] | None:
        if atomic:
            await self.begin()
        results: list[Sequence[Row]] = []
        for step in steps:
            if isinstance(step.values, dict):
                results.append(await self.fetch(step.sql, **step.values))
                if step.needed and not results[-1]:
                    if atomic:
                        await self.rollback()
                    return None
            else:
                sql, names = self.dialect.compiled(step.sql)
                rows = [[row[name] for name in names] for row in step.values]
                await self._answer(self._driver.executemany(sql, rows))
                results.append([])
        if atomic:
            await self.commit()
        return results

    async def begin(self) -> None:
        await self._answer(self._driver.execute("BEGIN ISOLATION LEVEL READ COMMITTED"))

    async def commit(self) -> None:
        await self._answer(self._driver.execute("COMMIT"))

    async def rollback(self) -> None:
        await self._answer(self._driver.execute("ROLLBACK"))

    async def close(self) -> None:
        if not self.usable:
            self._driver.terminate()
        with CancelScope(shield=True):
            await self._connection.close()

    async def lock_schema(self) -> None:
        await self.fetch("SELECT pg_advisory_xact_lock(:key)", key=_SCHEMA_LOCK)

    async def lock_families(self, families: Sequence[str]) -> None:
        for family in sorted(families):
            await self.fetch(
                "SELECT pg_advisory_xact_lock(CAST(:key AS INTEGER), hashtext(:family))",
                key=_FAMILY_LOCK,
                family=family,
            )

    async def _answer(self, answer: Awaitable[T]) -> T:
        try:
            return await answer
        except BaseException as error:
            if _state(error) is None:  # it is not the server that says what is wrong: who knows what it does now
                self._broken = True
            raise


# Another connection may work where this one does not.
_LOST = (OSError, SQLAlchemyError, asyncpg.InterfaceError, asyncpg.InternalClientError)
_SETUP = {
    "28": "does not let this user in; change user or password",
    "3D": "is not there; create it, or name another",
    "3F": "has no schema to put tables in; create it, or let this user use one",
    "42501": "does not let this user make or use the tables; give it the right to",
}


def _state(error: BaseException) -> str | None:
    """Return the code of what the server says is wrong; None where it is not the server that says so."""
    if isinstance(error, DBAPIError) and error.orig is not None:
        error = error.orig
    state = getattr(error, "sqlstate", None)
    return state if isinstance(state, str) else None
