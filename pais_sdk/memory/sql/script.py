"""Several statements in one go on the thread of a SQLite connection: each way there costs more than a statement."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from .connection import Row


class Line(NamedTuple):
    """One statement of a script; its value `now` is the time at which it is run."""

    sql: str
    names: Sequence[str]
    """Of its values, in order."""
    values: Mapping[str, Any] | Sequence[Mapping[str, Any]]
    """Of one statement; or of as many, whose rows are of no interest."""
    needed: bool = False
    """Whether the script ends where it finds no row."""

    @property
    def may_wait(self) -> bool:
        """Whether, outside a transaction, it may wait for other processes and must know the time after that."""
        return "now" in self.names and self.sql.lstrip().startswith(("INSERT", "UPDATE", "DELETE"))

    def run(self, connection: sqlite3.Connection) -> list[Row]:
        """Run it on the connection's thread."""
        if connection.in_transaction or not self.may_wait:
            return self._run(connection)
        connection.execute("BEGIN IMMEDIATE")
        try:
            rows = self._run(connection)
            connection.execute("COMMIT")
        except BaseException:
            connection.rollback()
            raise
        return rows

    def _run(self, connection: sqlite3.Connection) -> list[Row]:
        now = time.time_ns() // 1000
        if isinstance(self.values, Mapping):
            return connection.execute(self.sql, _in_order(self.names, self.values, now)).fetchall()
        connection.executemany(self.sql, [_in_order(self.names, values, now) for values in self.values])
        return []


class Script:
    """To be run by a `ScriptConnection`.

    Args:
        lines: In order.
        atomic: In a transaction of their own.
    """

    def __init__(self, lines: Sequence[Line], *, atomic: bool) -> None:
        self._lines = lines
        self._atomic = atomic
        self.results: list[list[Row]] | None = None
        """The rows of each line; None where one that is needed found none."""

    def run(self, connection: sqlite3.Connection) -> None:
        """Run it on the connection's thread."""
        if not self._atomic:
            self.results = self._run(connection)
            return
        connection.execute("BEGIN IMMEDIATE")
        try:
            self.results = self._run(connection)
            connection.execute("ROLLBACK" if self.results is None else "COMMIT")
        except BaseException:
            connection.rollback()
            raise

    def _run(self, connection: sqlite3.Connection) -> list[list[Row]] | None:
        results: list[list[Row]] = []
        for line in self._lines:
            rows = line.run(connection)
            if line.needed and not rows:
                return None
            results.append(rows)
        return results


class ScriptConnection(sqlite3.Connection):
    """What aiosqlite makes and calls; its `executescript` takes a `Script`, too."""

    def executescript(self, sql_script: str | Script, /) -> sqlite3.Cursor:
        if isinstance(sql_script, str):
            return super().executescript(sql_script)
        sql_script.run(self)
        return self.cursor()


def _in_order(names: Sequence[str], values: Mapping[str, Any], now: int) -> list[Any]:
    return [now if name == "now" else values[name] for name in names]
