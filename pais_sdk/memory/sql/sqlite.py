"""What SQLite says differently, and connections to it."""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
import time
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import unquote, urlsplit

import aiosqlite
from anyio import CancelScope
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from ...errors import ConfigurationError, InvalidRequestError, MemoryUnavailableError, PaisError
from .connection import Dialect, Row, SqlConnection, Step
from .script import Line, Script, ScriptConnection
from .texts import REFUSED

BUSY_S = 10.0
"""How long a write waits for that of another process."""


async def _connected(*arguments: Any, **options: Any) -> aiosqlite.Connection:
    driver = aiosqlite.connect(*arguments, **options)
    thread = driver._thread  # pyright: ignore[reportPrivateUsage]
    thread.daemon = True  # a program that does not close it ends all the same
    try:
        return await driver
    except BaseException:
        # Its thread still has something to say to this loop, which may be closed next.
        await asyncio.to_thread(thread.join)
        raise


CONNECT_ARGUMENTS: dict[str, Any] = {
    "timeout": BUSY_S,
    "isolation_level": None,
    "factory": ScriptConnection,
    "async_creator_fn": _connected,
}

_LIST = "(SELECT value AS id FROM json_each(:{name})) AS {name}"


class SqliteDialect(Dialect):
    """Of a file.

    Args:
        engine: Makes the file where there is none.
        engine_again: Does not.
    """

    words: ClassVar[Mapping[str, str]] = {
        "now": ":now",  # the clock of this machine, which all processes on a file share
        "ids": _LIST.format(name="ids"),
        "tokens": _LIST.format(name="tokens"),
        "lock": "",
        "id": "TEXT",
        "clustered": "WITHOUT ROWID",
    }
    has_meta = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'pais_meta'"
    shared = False
    connections = 4
    telemetry_name = "sqlite"

    def __init__(self, engine: AsyncEngine, engine_again: AsyncEngine) -> None:
        super().__init__(engine)
        self._engine_again = engine_again

    def pack_ids(self, ids: Sequence[str]) -> str:
        return json.dumps(ids)

    async def connect(self, *, first: bool) -> SqliteConnection:
        if first:
            await asyncio.to_thread(Path(self._path).parent.mkdir, parents=True, exist_ok=True)
        connection, driver = await self._new_connection(self._engine if first else self._engine_again)
        try:
            await _set_up(driver, self._path)
        except BaseException:
            await connection.close()
            raise
        return SqliteConnection(self, connection, driver)

    async def place(self) -> tuple[int, int] | None:
        try:
            status = await asyncio.to_thread(os.stat, self._path)
        except OSError:
            return None
        return status.st_dev, status.st_ino

    def failure(self, error: Exception, *, opening: bool) -> PaisError | None:
        if isinstance(error, DBAPIError) and isinstance(error.orig, Exception):
            error = error.orig
        if opening and isinstance(error, OSError):
            why = error.strerror or error
            return ConfigurationError(f"the folder of {self._path!r} cannot be made ({why}); name another file")
        if isinstance(error, UnicodeError):
            return InvalidRequestError(REFUSED)
        if not isinstance(error, (sqlite3.Error, SQLAlchemyError, OSError)):
            return None
        code = _code(error)
        if opening and code in _SETUP:
            return ConfigurationError(f"{self._path!r} {_SETUP[code]}")
        return MemoryUnavailableError(f"{self._path!r} {_FAILURE.get(code, f'does not answer: {error}')}")

    @property
    def _path(self) -> str:
        name = str(self._engine.url.database)
        return unquote(urlsplit(name).path) if name.startswith("file:") else name


class SqliteConnection(SqlConnection):
    """SQLAlchemy makes it; statements go straight to aiosqlite, which takes a quarter of the time."""

    def __init__(self, dialect: SqliteDialect, connection: AsyncConnection, driver: aiosqlite.Connection) -> None:
        super().__init__(dialect)
        self._connection = connection
        self._driver = driver
        self._broken = False
        self._abandoned = weakref.finalize(self, _stop, driver)

    @property
    def usable(self) -> bool:
        return not (self._broken or self._driver.in_transaction)

    async def fetch(self, sql: str, **values: Any) -> Sequence[Row]:
        statement, names = self.dialect.compiled(sql)
        line = Line(statement, names, values)
        if line.may_wait and not self._driver.in_transaction:
            script = Script([line], atomic=False)
            await self._driver.executescript(script)  # pyright: ignore[reportArgumentType] - see ScriptConnection
            return [] if script.results is None else script.results[0]
        values["now"] = time.time_ns() // 1000
        rows = await self._driver.execute_fetchall(statement, [values[name] for name in names])
        return rows if isinstance(rows, list) else list(rows)

    async def run(self, steps: Sequence[Step], *, atomic: bool) -> Sequence[Sequence[Row]] | None:
        script = Script([self._line(step) for step in steps], atomic=atomic)
        await self._driver.executescript(script)  # pyright: ignore[reportArgumentType] - see ScriptConnection
        return script.results

    def _line(self, step: Step) -> Line:
        return Line(*self.dialect.compiled(step.sql), step.values, needed=step.needed)

    async def begin(self) -> None:
        await self._driver.execute("BEGIN IMMEDIATE")

    async def commit(self) -> None:
        await self._driver.commit()

    async def rollback(self) -> None:
        try:
            await self._driver.rollback()
        except BaseException:
            self._broken = True
            raise

    async def close(self) -> None:
        self._abandoned.detach()
        with CancelScope(shield=True):
            await self._connection.close()

    async def lock_schema(self) -> None: ...  # one transaction writes at a time

    async def lock_families(self, families: Sequence[str]) -> None: ...


def _stop(driver: aiosqlite.Connection) -> None:
    """End the thread of a connection that nobody closed before its loop or the program ended."""
    driver.stop()  # pyright: ignore[reportUnknownMemberType]


async def _set_up(driver: aiosqlite.Connection, path: str) -> None:
    await driver.execute("PRAGMA synchronous = NORMAL")
    (mode,) = await _one(driver, "PRAGMA journal_mode")
    if mode != "wal":
        mode = await _to_wal(driver)
    if mode != "wal":
        raise ConfigurationError(f"{path!r} is on a disk that does not let processes share memory; use another")


async def _to_wal(driver: aiosqlite.Connection) -> str:
    """Turn the write-ahead log on; SQLite does not wait by itself where another process does the same."""
    until = time.monotonic() + BUSY_S
    while True:
        try:
            return str((await _one(driver, "PRAGMA journal_mode = WAL"))[0])
        except sqlite3.OperationalError as error:
            if _code(error) != sqlite3.SQLITE_BUSY or time.monotonic() > until:
                raise
            await asyncio.sleep(0.01)


async def _one(driver: aiosqlite.Connection, sql: str) -> Row:
    return next(iter(await driver.execute_fetchall(sql)))


_SETUP = {
    sqlite3.SQLITE_CANTOPEN: "cannot be opened; name a file in a folder that this process may write to",
    sqlite3.SQLITE_NOTADB: "is no SQLite database; name another file",
    sqlite3.SQLITE_READONLY: "cannot be written; give this process the right to, or name another file",
    sqlite3.SQLITE_PERM: "cannot be opened; give this process the right to, or name another file",
}
_FAILURE = {
    sqlite3.SQLITE_BUSY: f"is locked by another process for more than {BUSY_S:g} s",
    sqlite3.SQLITE_FULL: "cannot grow, the disk is full",
}


def _code(error: Exception) -> int:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF  # without what it says more exactly
