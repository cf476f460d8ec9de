"""From a URL to an engine."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sqlalchemy import URL, NullPool, make_url
from sqlalchemy.exc import ArgumentError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from ...errors import ConfigurationError, MissingExtraError
from .connection import Dialect

_OLDEST_SQLITE = (3, 38)  # with JSON and RETURNING

_DRIVERS = {
    "sqlite": "sqlite+aiosqlite",
    "sqlite+aiosqlite": "sqlite+aiosqlite",
    "postgres": "postgresql+asyncpg",
    "postgresql": "postgresql+asyncpg",
    "postgresql+asyncpg": "postgresql+asyncpg",
}


def sqlite_url(path: str | Path) -> URL:
    """Return the URL of a file, whatever characters its name has."""
    return URL.create("sqlite+aiosqlite", database=str(path))


def dialect_of(url: str | URL) -> Dialect:
    """Return what a database of this URL says differently; nothing is connected yet.

    Raises:
        ConfigurationError: It is no URL of SQLite or PostgreSQL, or one of a database that is nowhere.
        MissingExtraError: The driver is not installed.
    """
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        problem = "the URL of the database is none; write it as sqlite:///file or postgresql://user@host/database"
        raise ConfigurationError(problem) from None  # what was given may hold a password
    driver = _DRIVERS.get(parsed.drivername)
    if driver is None:
        raise ConfigurationError(
            f"{parsed.drivername!r} is no database that sessions can be kept in; use sqlite:///... or postgresql://..."
        )
    parsed = parsed.set(drivername=driver)
    return _sqlite(parsed) if driver.startswith("sqlite") else _postgres(parsed)


def _sqlite(url: URL) -> Dialect:
    name = url.database or ""
    if not name or ":memory:" in name or url.query.get("mode") == "memory":
        raise ConfigurationError(
            "a SQLite database in memory is another one for each connection; name a file, or use LocalMemory"
        )
    if not name.startswith("file:"):
        name = str(Path(name).absolute())  # the working directory may change before it is opened
        url = url.set(database=name)
    try:
        from .sqlite import CONNECT_ARGUMENTS, SqliteDialect

        engine = _engine(url, CONNECT_ARGUMENTS)
        again = _engine(_existing(url, name), CONNECT_ARGUMENTS)
    except ImportError as error:
        raise MissingExtraError("SQLiteMemory", extra="sql") from error
    if sqlite3.sqlite_version_info < _OLDEST_SQLITE:
        raise ConfigurationError(
            f"this Python brings SQLite {sqlite3.sqlite_version}; use one with SQLite 3.38 or newer"
        )
    return SqliteDialect(engine, again)


def _existing(url: URL, name: str) -> URL:
    """Return the URL by which a file is opened, but not made."""
    try:
        uri = name if name.startswith("file:") else Path(name).as_uri()
    except ValueError:  # half of a character
        uri = ""
    if not uri or "\0" in name:
        raise ConfigurationError(f"no file can have the name {name!r}; name another file")
    return url.set(database=uri).update_query_dict({"mode": "rw", "uri": "true"})


def _postgres(url: URL) -> Dialect:
    if "sslmode" in url.query and "ssl" not in url.query:  # as others call it
        url = url.set(query={**url.query, "ssl": url.query["sslmode"]}).difference_update_query(["sslmode"])
    try:
        from .postgres import CONNECT_ARGUMENTS, PostgresDialect

        engine = _engine(url, CONNECT_ARGUMENTS)
    except ImportError as error:
        raise MissingExtraError("SQLMemory on PostgreSQL", extra="postgres") from error
    return PostgresDialect(engine)


def _engine(url: URL, arguments: Mapping[str, Any]) -> AsyncEngine:
    # Connections are kept by a pool of each event loop's own.
    return create_async_engine(url, poolclass=NullPool, connect_args=dict(arguments))
