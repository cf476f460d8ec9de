"""Several statements in one go on the thread of a SQLite connection: each way there costs more than a statement."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any, NamedTuple, TypeAlias

from .connection import Row

Values: TypeAlias = Sequence[Any]


class Line(NamedTuple):
    """One statement of a script."""

    sql: str
    values: Values | Sequence[Values]
    many: bool
    """Whether it is run for each of these values."""
    needed: bool
    """Whether the script ends where it finds no row."""


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
        for sql, values, many, needed in self._lines:
            if many:
                connection.executemany(sql, values)
                results.append([])
                continue
            rows = connection.execute(sql, values).fetchall()
            if needed and not rows:
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
