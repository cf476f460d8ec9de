"""What happens to a task in another process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

from a2a.server.cluster import TaskEventStream, TaskVersion, VersionedEvent

from .sql_tasks import SqlTaskStore, told
from .stored_task import number_of, unpacked_event
from .task_database import TaskDatabases
from .task_statements import NEWS


class SqlTaskStream(TaskEventStream):
    """Looks for new events now and then; the store writes them, each together with the task.

    Args:
        databases: Where.
        store: Of the same database.
        look_s: Seconds between two looks while nothing happens.
    """

    def __init__(self, databases: TaskDatabases, store: SqlTaskStore, *, look_s: float) -> None:
        self._databases = databases
        self._store = store
        self._look_s = look_s

    async def publish(self, task_id: str, event: VersionedEvent) -> None: ...

    async def subscribe(self, task_id: str, *, after: TaskVersion) -> AsyncGenerator[VersionedEvent, None]:
        """Yield what comes after a version, until the task has ended or is gone."""
        seen = number_of(after)
        while True:
            with told():
                database = await self._databases.get()
                rows = await database.read(NEWS, id=task_id, after=seen)
            events = sorted((row[0], row[3]) for row in rows if row[1] is None)
            for version, packed in events:
                seen = version
                yield VersionedEvent(unpacked_event(bytes(packed)), TaskVersion(version))
            if events:
                continue
            state = [row for row in rows if row[1] is not None]
            if not state:
                return
            version, how, owner, _ = state[0]
            if how == "ended":
                if version > seen:  # it ended so long ago that its events are gone
                    with told():
                        stored = await self._store.read(task_id, owner)
                    if stored is not None:
                        yield VersionedEvent(stored.task, stored.version)
                return
            if how == "dead":
                with told():
                    await self._store.bury(task_id, owner)
            await asyncio.sleep(self._look_s)

    async def destroy(self, task_id: str) -> None: ...
