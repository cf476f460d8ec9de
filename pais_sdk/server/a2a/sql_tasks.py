"""Tasks in SQLite or PostgreSQL, for all processes that serve the same agent."""

from __future__ import annotations

import logging
from collections.abc import Generator, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Any

from a2a.server.cluster import ConcurrentTaskModificationError, StoredTask, TaskVersion, VersionedTaskStore
from a2a.server.context import ServerCallContext
from a2a.server.events import Event
from a2a.types.a2a_pb2 import (
    ListTasksRequest,
    ListTasksResponse,
    Task,
    TaskArtifactUpdateEvent,
    TaskState,
    TaskStatus,
    TaskStatusUpdateEvent,
)
from a2a.utils.errors import InternalError, InvalidParamsError

from ..._shield import to_its_end
from ...errors import InvalidRequestError, PaisError
from ...memory.sql.connection import SqlConnection, Step
from ...memory.sql.database import Database
from .owner import owner_of
from .stored import as_stored
from .stored_task import StoredRows, number_of, packed_event
from .task_database import TaskDatabases
from .task_pages import TaskQuery, changed_ns, token_after
from .task_statements import (
    ADDED,
    COUNT,
    DEAD_OF_OWNER,
    DELETE,
    DELETE_EVENTS,
    EVENT,
    GROW,
    INSERT,
    INSERT_EVENT,
    LOCK,
    PAGE,
    READ,
    UPDATE,
)
from .task_states import ENDED, abandoned, is_worked_on
from .task_watch import TaskWatch

_log = logging.getLogger("pais_sdk.server")
_LAST = (1 << 63) - 1
WHOLE_EVERY = 64
"""Versions after which a task is written as a whole, so that few events are to be added to it when it is read."""


class SqlTaskStore(VersionedTaskStore):
    """Every change of a task is one more version of it; who does not know the newest one changes nothing.

    Args:
        databases: Where.
        watch: Knows which tasks this process works on.
        lease_s: Seconds after which a task counts as abandoned whose process does not prolong its lease.
    """

    def __init__(self, databases: TaskDatabases, watch: TaskWatch, *, lease_s: float) -> None:
        self._databases = databases
        self._watch = watch
        self._lease_us = round(lease_s * 1_000_000)

    async def save(
        self,
        task: Task,
        *,
        event: Event | None,
        prev: Task | None,
        prev_version: TaskVersion,
        context: ServerCallContext,
    ) -> TaskVersion:
        as_stored(task)
        owner, version = owner_of(context), number_of(prev_version) + 1
        try:
            with nullcontext() if is_worked_on(task) else self._watch.ending(task.id), told():
                if await to_its_end(self._write(task, event, owner, version)):
                    return TaskVersion(version)
                if task.status.state == TaskState.TASK_STATE_CANCELED:
                    ended = await to_its_end(self._end(task.id, owner, task.status))
                    if ended is not None:
                        return ended.version
        except InternalError:
            self._watch.give_up(task.id)  # a2a-sdk takes no further events of it, and lets it go on
            raise
        raise ConcurrentTaskModificationError(task.id)

    async def get(self, task_id: str, context: ServerCallContext) -> StoredTask | None:
        with told():
            return await self.read(task_id, owner_of(context))

    async def list(self, params: ListTasksRequest, context: ServerCallContext) -> ListTasksResponse:
        query, owner = TaskQuery.of(params), owner_of(context)
        with told():
            database = await self._databases.get()
            for (task_id,) in await database.read(DEAD_OF_OWNER, owner=owner):
                await self.bury(task_id, owner)
            return await self._list(database, query, owner, with_artifacts=params.include_artifacts)

    async def delete(self, task_id: str, context: ServerCallContext) -> None:
        with told():
            if await self.read(task_id, owner_of(context)) is not None:
                await (await self._databases.get()).run(*self.deletion([task_id]))

    async def read(self, task_id: str, owner: str) -> StoredTask | None:
        """Return a task of an owner as it is now; one whose process is gone has failed."""
        if "\0" in task_id:
            return None
        database = await self._databases.get()
        stored = StoredRows(await database.read(READ, id=task_id, owner=owner))
        return await self.bury(task_id, owner) if stored.is_dead else stored.task

    async def bury(self, task_id: str, owner: str) -> StoredTask | None:
        """Let a task have failed whose process is gone, and return it as it is now."""
        if task_id not in self._watch:  # else it is this process, which was slow
            buried = await to_its_end(self._end(task_id, owner, None))
            if buried is not None:
                _log.warning("A2A task %s has failed: its process says nothing more of it", task_id)
                return buried
        database = await self._databases.get()
        return StoredRows(await database.read(READ, id=task_id, owner=owner)).task

    def deletion(self, task_ids: Sequence[str]) -> list[Step]:
        """Return what deletes tasks."""
        ids = self._databases.dialect.pack_ids(task_ids)
        return [Step(DELETE_EVENTS, {"ids": ids}), Step(DELETE, {"ids": ids})]

    async def _write(self, task: Task, event: Event | None, owner: str, version: int) -> bool:
        """Write what is the next version; return whether it was."""
        steps = self._steps(task, event, owner, version)
        database = await self._databases.get()
        if await database.write_at_once(steps) is not None:
            return True
        return await database.write(partial(_again, steps=steps, event=event), sees_itself=True)

    async def _end(self, task_id: str, owner: str, status: TaskStatus | None) -> StoredTask | None:
        """Give a task that is worked on its last status, without one only where its process is gone."""
        database = await self._databases.get()
        return await database.write(partial(self._end_in, task_id=task_id, owner=owner, status=status))

    async def _end_in(
        self, connection: SqlConnection, *, task_id: str, owner: str, status: TaskStatus | None
    ) -> StoredTask | None:
        await connection.fetch(LOCK, id=task_id, owner=owner)
        stored = StoredRows(await connection.fetch(READ, id=task_id, owner=owner))
        if stored.task is None or stored.task.task.status.state in ENDED or not (status or stored.is_dead):
            return None
        task, version = stored.task.task, number_of(stored.task.version) + 1
        task.status.CopyFrom(status or abandoned(task))
        task.status.timestamp.GetCurrentTime()
        event = TaskStatusUpdateEvent(task_id=task_id, context_id=task.context_id, status=task.status)
        if await connection.run(self._steps(task, event, owner, version), atomic=False) is None:
            return None
        return StoredTask(task, TaskVersion(version))

    def _steps(self, task: Task, event: Event | None, owner: str, version: int) -> list[Step]:
        values: dict[str, Any] = {"id": task.id, "owner": owner, "version": version}
        told = [] if event is None else [Step(INSERT_EVENT, {**values, "event": packed_event(event)})]
        if isinstance(event, TaskArtifactUpdateEvent) and event.append and version > 1 and version % WHOLE_EVERY:
            return [Step(GROW, values, needed=True), *told]
        values |= {
            "context_id": task.context_id,
            "state": task.status.state,
            "changed_ns": changed_ns(task),
            "task": task.SerializeToString(),
            "lease_us": self._lease_us if is_worked_on(task) else None,
        }
        return [Step(INSERT if version == 1 else UPDATE, values, needed=True), *told]

    async def _list(
        self, database: Database, query: TaskQuery, owner: str, *, with_artifacts: bool
    ) -> ListTasksResponse:
        wanted: dict[str, Any] = {
            "owner": owner,
            "context_id": query.context_id,
            "state": query.state,
            "since_ns": query.since_ns,
        }
        before_ns, before_id = query.before or (_LAST, "")
        total = (await database.read(COUNT, **wanted))[0][0]
        rows = await database.read(PAGE, **wanted, before_ns=before_ns, before_id=before_id, limit=query.limit + 1)
        page = {row[1]: [(*row[2:4], 0, row[4])] for row in rows[: query.limit]}
        growing = [task_id for task_id, [(version, whole, *_)] in page.items() if version > whole]
        if with_artifacts and growing:
            ids = self._databases.dialect.pack_ids(growing)
            for task_id, version, event in await database.read(ADDED, ids=ids):
                page[task_id].append((version, None, 0, event))
        stored = [StoredRows(of_task).task for of_task in page.values()]
        return ListTasksResponse(
            tasks=[found.task for found in stored if found is not None],
            total_size=total,
            page_size=query.limit,
            next_page_token=token_after(*rows[query.limit - 1][:2]) if len(rows) > query.limit else "",
        )


async def _again(connection: SqlConnection, *, steps: Sequence[Step], event: Event | None) -> bool:
    """Write what an earlier try perhaps has written; return whether it is written now."""
    if await connection.run(steps, atomic=False) is not None:
        return True
    values = steps[0].values
    assert isinstance(values, dict)
    rows = await connection.fetch(EVENT, **{name: values[name] for name in ("id", "owner", "version")})
    return event is not None and bool(rows) and bytes(rows[0][0]) == packed_event(event)


@contextmanager
def told() -> Generator[None]:
    """Tell clients in a sentence of ours what is wrong, and the log what it really is."""
    try:
        yield
    except InvalidRequestError as error:
        raise InvalidParamsError("an id or a filter has characters that cannot be kept") from error
    except PaisError as error:
        _log.warning("the store of A2A tasks: %s", error)
        raise InternalError("the store of the tasks does not answer; try again later") from error
