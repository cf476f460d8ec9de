"""The database of the tasks: opened, its tables made, and opened again where it was replaced."""

from __future__ import annotations

from ...errors import ConfigurationError, MemoryUnavailableError
from ...memory.per_loop import PerLoop
from ...memory.sql.connection import Dialect, SqlConnection
from ...memory.sql.database import Database, transaction
from .task_statements import TABLES

_META = "pais_a2a_meta"
_VERSION = 1


class TaskDatabases:
    """The database of whichever loop asks."""

    def __init__(self, dialect: Dialect) -> None:
        self.dialect = dialect
        self._databases = PerLoop(self._open, Database.close)
        self._closed = False

    async def get(self) -> Database:
        """Return it, opened.

        Raises:
            ConfigurationError: It cannot work as it was set up.
            MemoryUnavailableError: It does not answer, or it was closed.
        """
        if self._closed:
            raise MemoryUnavailableError("the tasks are closed: the server has stopped")
        database = self._databases.ready()
        if database is not None and database.lost:
            await self._databases.close()
            database = None
        return database or await self._databases.get()

    async def close(self) -> None:
        """Close what was opened, for good."""
        self._closed = True
        await self._databases.close()

    async def _open(self) -> Database:
        return await Database.open(self.dialect, set_up=_set_up)


async def _set_up(connection: SqlConnection) -> None:
    """Make the tables where they are missing, beside others or alone; several processes may do so at once."""
    async with transaction(connection):
        await connection.lock_schema()
        if not await connection.fetch(connection.dialect.has_meta.replace("pais_meta", _META)):
            await connection.fetch(f"CREATE TABLE {_META} (version BIGINT NOT NULL)")
            await connection.fetch(f"INSERT INTO {_META} (version) VALUES ({_VERSION})")  # noqa: S608 - two constants
            for table in TABLES:
                await connection.fetch(table)
        ((version,),) = await connection.fetch(f"SELECT version FROM {_META}")  # noqa: S608 - a constant
    if version > _VERSION:
        raise ConfigurationError(
            f"the tables of A2A tasks are of version {version}, and this release knows {_VERSION}: use a newer "
            "pais-sdk, or another database"
        )
