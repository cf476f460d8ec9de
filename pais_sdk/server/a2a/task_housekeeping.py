"""Tasks whose time is over, and events that nobody waits for any more, go now and then."""

from __future__ import annotations

import asyncio
import logging

from ...errors import PaisError
from ...memory.sql.connection import Step
from .sql_tasks import SqlTaskStore
from .task_database import TaskDatabases
from .task_statements import DEAD_OF_ALL, DELETE_EVENTS, EXPIRED, NO_EVENTS, TOLD

_log = logging.getLogger("pais_sdk.server")
_EVERY_S, _AT_ONCE = 60.0, 500


class TaskHousekeeper:
    """Every process does it: what one has dropped another one does not find.

    Args:
        databases: Where.
        store: Of the same database.
        ttl_s: Seconds after its end until a task is forgotten; None for never.
        told_s: Seconds after the end of a task in which those who follow it in other processes hear of it.
    """

    def __init__(
        self, databases: TaskDatabases, store: SqlTaskStore, *, ttl_s: float | None, told_s: float = 300
    ) -> None:
        self._databases = databases
        self._store = store
        self._ttl_s = ttl_s
        self._told_s = told_s

    async def go_on(self) -> None:
        """Clean up for ever."""
        while True:
            await asyncio.sleep(_EVERY_S)
            try:
                while await self.clean_up():
                    pass
            except PaisError as error:
                _log.warning("old A2A tasks are not dropped yet: %s", error)

    async def clean_up(self) -> bool:
        """Drop what is to go, and let the tasks have failed whose process is gone; return whether there may be more."""
        database = await self._databases.get()
        await database.check()
        many = False
        pack = self._databases.dialect.pack_ids
        for task_id, owner in await database.read(DEAD_OF_ALL, limit=_AT_ONCE):
            await self._store.bury(task_id, owner)
        if self._ttl_s is not None:
            rows = await database.read(EXPIRED, ttl_us=round(self._ttl_s * 1_000_000), limit=_AT_ONCE)
            many = len(rows) == _AT_ONCE
            await database.run(*self._store.deletion([row[0] for row in rows]))
        rows = await database.read(TOLD, told_us=round(self._told_s * 1_000_000), limit=_AT_ONCE)
        ids = {"ids": pack([row[0] for row in rows])}
        await database.run(Step(DELETE_EVENTS, ids), Step(NO_EVENTS, ids))
        return many or len(rows) == _AT_ONCE
