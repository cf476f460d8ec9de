"""The connections of one event loop to one database."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Hashable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Self, TypeVar

from ...errors import MemoryUnavailableError, PaisError
from .connection import Dialect, Row, SqlConnection, Step
from .pool import ConnectionPool
from .schema import check_version, migrate, stored_version

T = TypeVar("T")

_TRIES, _PAUSE_S = 5, 0.01


class Database:
    """Errors of the driver become ours here, and nowhere else."""

    def __init__(self, dialect: Dialect) -> None:
        self.dialect = dialect
        self.lost = False
        """Whether another database, or none, was found in the place of this one, so that it is to be opened again."""
        self._opened = False
        self._place: Hashable = None
        self._readers = ConnectionPool(self._connect, dialect.connections)
        # Where the database lets one write at a time, the others wait here: it would let them wait in no order.
        self._writers = self._readers if dialect.shared else ConnectionPool(self._connect, 1)

    @classmethod
    async def open(cls, dialect: Dialect, *, set_up: Callable[[SqlConnection], Awaitable[None]] | None = None) -> Self:
        """Connect, and bring the tables to this version.

        Args:
            dialect: Of the database.
            set_up: Does so, for tables that are not those of a memory.

        Raises:
            ConfigurationError: It cannot work as it was set up.
            MemoryUnavailableError: It does not answer.
        """
        database = cls(dialect)
        try:
            with database._failures(opening=True):
                await database._with(database._writers, set_up or _set_up)
                database._place = await dialect.place()
                database._opened = True
        except BaseException:
            await database.close()
            raise
        return database

    async def close(self) -> None:
        """Close the connections; those in use when they are given back."""
        await self._readers.close()
        await self._writers.close()

    async def check(self) -> None:
        """Return where it is still the database that was opened.

        Raises:
            MemoryUnavailableError: Its file was removed or replaced.
        """
        if self.lost or await self.dialect.place() != self._place:
            self.lost = True
            raise MemoryUnavailableError(
                "the file of the database was removed or replaced; what is there now is opened next"
            )

    async def read(self, sql: str, **values: Any) -> Sequence[Row]:
        """Run one statement that reads."""
        return await self._go(self._readers, lambda connection: connection.fetch(sql, **values))

    async def change(self, sql: str, **values: Any) -> Sequence[Row]:
        """Run one statement that writes; to do it twice is the same as once."""
        return await self._go(self._writers, lambda connection: connection.fetch(sql, **values))

    async def run(self, *steps: Step) -> Sequence[Sequence[Row]] | None:
        """Run statements that write, each by itself, in one go; None where one that is needed found no row.

        To do them twice is the same as once.
        """
        return await self._go(self._writers, lambda connection: connection.run(steps, atomic=False))

    async def write_at_once(self, steps: Sequence[Step], *, atomic: bool = True) -> Sequence[Sequence[Row]] | None:
        """Run statements in one go and, unless it is one that needs none, in one transaction.

        Returns:
            The rows of each; None where they are not stored, because one that is needed found no row, and where they
            perhaps are not, because another connection may have more luck.
        """
        with self._failures():
            try:
                return await self._with(self._writers, lambda c: c.run(steps, atomic=atomic))
            except Exception as error:
                if not self.dialect.may_succeed(error):
                    raise
                return None

    async def write(self, work: Callable[[SqlConnection], Awaitable[T]], *, sees_itself: bool = False) -> T:
        """Do work in a transaction: all of it is stored, or nothing. It is done again where others were in the way.

        Args:
            work: To be done; it has no other effect than on the connection.
            sees_itself: Whether it sees that it was done before, and may be done again where that is not known.
        """
        done = False

        async def in_transaction(connection: SqlConnection) -> T:
            nonlocal done
            async with transaction(connection):
                done = False
                result = await work(connection)
                done = True
            return result

        with self._failures():
            for attempt in range(1, _TRIES):
                try:
                    return await self._with(self._writers, in_transaction)
                except Exception as error:
                    unknown = done and not sees_itself
                    if unknown or not self.dialect.may_succeed(error):
                        raise
                await asyncio.sleep(_PAUSE_S * attempt)
            return await self._with(self._writers, in_transaction)

    async def _connect(self) -> SqlConnection:
        if self._opened:
            await self.check()
        return await self.dialect.connect(first=not self._opened)

    async def _go(self, pool: ConnectionPool, call: Callable[[SqlConnection], Awaitable[T]]) -> T:
        with self._failures():
            try:
                return await self._with(pool, call)
            except Exception as error:
                if not self.dialect.may_succeed(error):
                    raise
            return await self._with(pool, call)

    @staticmethod
    async def _with(pool: ConnectionPool, call: Callable[[SqlConnection], Awaitable[T]]) -> T:
        connection = await pool.acquire()
        try:
            return await call(connection)
        finally:
            await pool.release(connection)

    @contextlib.contextmanager
    def _failures(self, *, opening: bool = False) -> Generator[None]:
        try:
            yield
        except PaisError:
            raise
        except Exception as error:
            failure = self.dialect.failure(error, opening=opening)
            if failure is None:
                raise
            raise failure from error


async def _set_up(connection: SqlConnection) -> None:
    check_version(await stored_version(connection))
    async with transaction(connection):  # also where all is there: it shows whether it can be written
        await migrate(connection)


@asynccontextmanager
async def transaction(connection: SqlConnection) -> AsyncGenerator[None]:
    """Store all that the block does, or nothing where it raises."""
    try:
        await connection.begin()
        yield
        await connection.commit()
    except BaseException:
        with contextlib.suppress(Exception):  # a connection that cannot even do this is not used again
            await connection.rollback()
        raise
