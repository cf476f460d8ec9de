"""Where the tasks are: in this process, or in a database that several share."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING

from a2a.server.cluster import TaskEventStream, VersionedTaskStore
from a2a.server.tasks import TaskStore

from ...errors import ConfigurationError, MemoryUnavailableError, MissingExtraError
from ...settings import Settings
from .local_tasks import LocalTaskStore

if TYPE_CHECKING:
    from .task_watch import TaskWatch

LEASE_S, LOOK_S, FOLLOW_S = 30.0, 0.5, 0.25


@dataclass(frozen=True)
class TaskStorage:
    """What a request handler of a2a-sdk keeps its tasks in."""

    store: TaskStore | VersionedTaskStore
    event_stream: TaskEventStream | None = None
    """None where no other process knows of the tasks."""
    watch: TaskWatch | None = None

    def working(self, task_id: str, cancelled: Callable[[], None]) -> AbstractContextManager[None]:
        """Hold a task while the block works on it; `cancelled` is called once where it is to end.

        That is where another process has ended it, and where it can be stored no more.
        """
        return nullcontext() if self.watch is None else self.watch.working(task_id, cancelled)


@asynccontextmanager
async def open_task_store(settings: Settings, *, lease_s: float = LEASE_S) -> AsyncGenerator[TaskStorage]:
    """Open what the settings say, and close it at the end.

    Args:
        settings: Of the server.
        lease_s: Seconds after which a task in a database has failed whose process says nothing any more.

    Raises:
        ConfigurationError: The database cannot be used, or does not answer.
        MissingExtraError: Its driver is not installed.
    """
    ttl_s = settings.a2a_task_ttl_s or None
    if settings.a2a_task_url is None:
        yield TaskStorage(LocalTaskStore(max_tasks=settings.a2a_max_tasks, ttl_s=ttl_s))
        return
    async with _opened(settings.a2a_task_url.get_secret_value(), ttl_s, lease_s) as storage:
        yield storage


@asynccontextmanager
async def _opened(url: str, ttl_s: float | None, lease_s: float) -> AsyncGenerator[TaskStorage]:
    try:
        from ...memory.sql.urls import dialect_of
        from .sql_tasks import SqlTaskStore
        from .task_database import TaskDatabases
        from .task_housekeeping import TaskHousekeeper
        from .task_stream import SqlTaskStream
        from .task_watch import TaskWatch

        databases = TaskDatabases(dialect_of(url))
    except MissingExtraError as error:
        raise MissingExtraError("A2A_TASK_URL", extra=error.extra) from error
    except ConfigurationError as error:
        raise ConfigurationError(f"A2A_TASK_URL cannot be used: {error}") from None  # which may hold a password
    watch = TaskWatch(databases, lease_s=lease_s, look_s=LOOK_S)
    store = SqlTaskStore(databases, watch, lease_s=lease_s)
    housekeeper = TaskHousekeeper(databases, store, ttl_s=ttl_s)
    try:
        try:
            await housekeeper.clean_up()
        except ConfigurationError as error:
            raise ConfigurationError(f"A2A_TASK_URL cannot be used: {error}") from error
        except MemoryUnavailableError as error:
            raise ConfigurationError(
                f"A2A_TASK_URL cannot be used: {str(error).rstrip('.')}; make it so, name another database, or unset it"
            ) from error
        cleaning = asyncio.create_task(housekeeper.go_on())
        try:
            yield TaskStorage(store, SqlTaskStream(databases, store, look_s=FOLLOW_S), watch)
        finally:
            cleaning.cancel()
            await asyncio.wait([cleaning])
    finally:
        await watch.close()
        await databases.close()
