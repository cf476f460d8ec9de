"""What one process looks after: the leases of its tasks, and whether others have ended one of them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Generator
from contextlib import contextmanager

from .task_database import TaskDatabases
from .task_statements import ENDED_OF, RENEW

_log = logging.getLogger("pais_sdk.server")


class TaskWatch:
    """Of the tasks that this process works on. Costs nothing while there are none.

    Args:
        databases: Where they are kept.
        lease_s: Seconds by which leases are prolonged, each time a third of it is over.
        look_s: Seconds between two looks for tasks that were ended elsewhere.
    """

    def __init__(self, databases: TaskDatabases, *, lease_s: float, look_s: float) -> None:
        self._databases = databases
        self._lease_s = lease_s
        self._look_s = look_s
        self._tasks: dict[str, Callable[[], None] | None] = {}
        self._ending: set[str] = set()
        self._looking: asyncio.Task[None] | None = None

    def __contains__(self, task_id: str) -> bool:
        return task_id in self._tasks or task_id in self._ending

    @contextmanager
    def working(self, task_id: str, cancelled: Callable[[], None] | None) -> Generator[None]:
        """Look after a task while the block runs, or until its end is written."""
        self._tasks[task_id] = cancelled
        if self._looking is None:
            self._looking = asyncio.create_task(self._go_on())
        try:
            yield
        finally:
            self._tasks.pop(task_id, None)

    @contextmanager
    def ending(self, task_id: str) -> Generator[None]:
        """Look after a task no longer; while the block runs, which writes its end, it is still ours."""
        self._tasks.pop(task_id, None)
        self._ending.add(task_id)
        try:
            yield
        finally:
            self._ending.discard(task_id)

    def give_up(self, task_id: str) -> None:
        """End the work on a task, because nothing more can be stored of it."""
        cancelled = self._tasks.pop(task_id, None)  # None: it has ended here meanwhile
        if cancelled is not None:
            asyncio.get_running_loop().call_soon(cancelled)

    async def close(self) -> None:
        """Look no more."""
        self._tasks.clear()
        looking, self._looking = self._looking, None
        if looking is not None:
            looking.cancel()
            await asyncio.wait([looking])

    async def look(self) -> None:
        """Tell those whose task was ended by another process."""
        database = await self._databases.get()
        for (task_id,) in await database.read(ENDED_OF, ids=self._ids()):
            self.give_up(task_id)

    async def prolong(self) -> None:
        """Prolong all leases."""
        database = await self._databases.get()
        await database.change(RENEW, ids=self._ids(), lease_us=round(self._lease_s * 1_000_000))

    async def _go_on(self) -> None:
        loop = asyncio.get_running_loop()
        prolonged, failing = loop.time(), False
        while self._tasks:
            await asyncio.sleep(self._look_s)
            try:
                if loop.time() - prolonged >= self._lease_s / 3:
                    await self.prolong()
                    prolonged = loop.time()
                await self.look()
                failing = False
            except Exception as error:  # noqa: BLE001 - whatever it was, without leases all these tasks would fail
                if not failing:
                    _log.warning("%d A2A tasks are worked on, and their store is away: %s", len(self._tasks), error)
                failing = True
        self._looking = None

    def _ids(self) -> object:
        return self._databases.dialect.pack_ids([*self._tasks])
