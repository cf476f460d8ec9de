"""One connection to a database, and what kinds of databases say differently."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, TypeAlias

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from ...errors import PaisError
from .statements import HELD, SEEN

Row: TypeAlias = Sequence[Any]


class Dialect(ABC):
    """What one kind of database says differently. Statements are written once, with `:values` and `{words}`.

    Args:
        engine: Makes connections, and turns `:values` into what the driver wants.
    """

    words: ClassVar[Mapping[str, str]]
    """`{now}`: microseconds since 1970. `{ids}`: the column `id` of the list `:ids`. `{lock}`: hold the rows that are
    read until the end of the transaction. `{id}`, `{clustered}`: for tables."""

    has_meta: str
    """A statement that finds something where the table `pais_meta` is."""

    shared: bool
    """Whether several transactions write at the same time, so that what they touch must be locked."""

    connections: int
    """How many there are at most."""

    telemetry_name: str
    """What traces and metrics call it."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._words = {**self.words, "held": HELD.format_map(self.words), "seen": SEEN.format_map(self.words)}
        self._compiled: dict[str, tuple[str, Sequence[str]]] = {}

    def compiled(self, sql: str) -> tuple[str, Sequence[str]]:
        """Return a statement as the driver wants it, and its values' names in order."""
        found = self._compiled.get(sql)
        if found is None:
            compiled = text(sql.format_map(self._words)).compile(dialect=self._engine.dialect)
            found = self._compiled[sql] = (str(compiled), tuple(compiled.positiontup or ()))
        return found

    @abstractmethod
    def pack_ids(self, ids: Sequence[str]) -> Any:
        """Return the value of `:ids`."""

    @abstractmethod
    async def connect(self, *, first: bool) -> SqlConnection:
        """Open a connection; if it is the first, a database that is a file is made where there is none."""

    @abstractmethod
    async def place(self) -> Hashable:
        """Return what shows that another database is in the place of this one; None where nothing can show it."""

    @abstractmethod
    def failure(self, error: Exception, *, opening: bool) -> PaisError | None:
        """Return what to raise for an error of the driver; None for one that is not the database's."""

    async def _new_connection(self, engine: AsyncEngine) -> tuple[AsyncConnection, Any]:
        """Return a connection and its driver's; nothing of SQLAlchemy complains where neither is ever closed."""
        connection = await engine.connect()
        pooled = await connection.get_raw_connection()
        driver = pooled.driver_connection
        pooled.detach()
        return connection, driver

    def may_succeed(self, error: Exception) -> bool:
        """Whether a transaction that was broken off by an error may succeed when it is tried again."""
        return False


@dataclass(frozen=True)
class Step:
    """One statement of several."""

    sql: str
    values: dict[str, Any] | Sequence[dict[str, Any]]
    """Of one statement; or of as many, one after the other, whose rows are of no interest."""

    needed: bool = False
    """Whether all is over, and nothing changed, where it finds no row."""


class SqlConnection(ABC):
    """One connection; whoever uses it has it alone."""

    def __init__(self, dialect: Dialect) -> None:
        self.dialect = dialect

    @property
    @abstractmethod
    def usable(self) -> bool:
        """Whether it is open, and in no transaction."""

    @abstractmethod
    async def fetch(self, sql: str, **values: Any) -> Sequence[Row]:
        """Run one statement; outside a transaction it is one by itself."""

    @abstractmethod
    async def run(self, steps: Sequence[Step], *, atomic: bool) -> Sequence[Sequence[Row]] | None:
        """Run statements in one go, and return the rows of each; None where one that is needed found no row.

        Args:
            steps: In order.
            atomic: In a transaction of their own; else in the one that goes on, or each by itself.
        """

    @abstractmethod
    async def begin(self) -> None:
        """Begin a transaction that may write."""

    @abstractmethod
    async def commit(self) -> None: ...

    @abstractmethod
    async def rollback(self) -> None: ...

    @abstractmethod
    async def close(self) -> None:
        """Close it, whatever state it is in; the cancellation of a scope does not break that off."""

    @abstractmethod
    async def lock_schema(self) -> None:
        """Keep others from changing the tables until the end of the transaction."""

    @abstractmethod
    async def lock_families(self, families: Sequence[str]) -> None:
        """Keep others from deleting what sessions of these families share, until the end of the transaction."""
