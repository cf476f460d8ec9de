"""Tasks kept in this process: bounded, and gone with it."""

from __future__ import annotations

import time
from collections import Counter, OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from a2a.server.context import ServerCallContext
from a2a.server.tasks import TaskStore
from a2a.types.a2a_pb2 import ListTasksRequest, ListTasksResponse, Task

from .owner import owner_of
from .stored import as_stored
from .task_pages import TaskQuery, changed_ns, token_after
from .task_states import is_worked_on


@dataclass(frozen=True, slots=True)
class _Kept:
    packed: bytes  # smaller than the object, and nobody can change it
    context_id: str
    state: int
    changed_ns: int


class LocalTaskStore(TaskStore):
    """A task that is worked on is never dropped; of the others the one that ended first goes, of whoever has most.

    Args:
        max_tasks: How many are kept.
        ttl_s: Seconds after its end until a task is forgotten; None for never.
        clock: Seconds that only grow.
    """

    def __init__(self, *, max_tasks: int, ttl_s: float | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._max_tasks = max_tasks
        self._ttl_s = ttl_s
        self._clock = clock
        self._tasks: dict[str, dict[str, _Kept]] = {}  # by owner and id
        self._count = 0
        # In the order of their end: with the time, of all; and of each owner. A dict is slow where its first goes.
        self._ended: OrderedDict[tuple[str, str], float] = OrderedDict()
        self._ended_of: dict[str, OrderedDict[str, None]] = {}

    async def save(self, task: Task, context: ServerCallContext) -> None:
        self._expire()
        as_stored(task)
        owner = owner_of(context)
        of_owner = self._tasks.setdefault(owner, {})
        is_new = task.id not in of_owner
        of_owner[task.id] = _Kept(task.SerializeToString(), task.context_id, task.status.state, changed_ns(task))
        self._count += is_new
        if is_worked_on(task):
            self._resumed(owner, task.id)
        elif (owner, task.id) not in self._ended:
            self._ended[owner, task.id] = self._clock()
            self._ended_of.setdefault(owner, OrderedDict())[task.id] = None
        self._evict((owner, task.id))

    async def get(self, task_id: str, context: ServerCallContext) -> Task | None:
        self._expire()
        kept = self._tasks.get(owner_of(context), {}).get(task_id)
        return None if kept is None else Task.FromString(kept.packed)

    async def list(self, params: ListTasksRequest, context: ServerCallContext) -> ListTasksResponse:
        self._expire()
        query = TaskQuery.of(params)
        found = [
            (kept.changed_ns, task_id, kept.packed)
            for task_id, kept in self._tasks.get(owner_of(context), {}).items()
            if query.context_id in (None, kept.context_id)
            and query.state in (None, kept.state)
            and kept.changed_ns >= query.since_ns
        ]
        found.sort(reverse=True)
        rest = found if query.before is None else [row for row in found if row[:2] < query.before]
        page = rest[: query.limit]
        return ListTasksResponse(
            tasks=[Task.FromString(packed) for _, _, packed in page],
            total_size=len(found),
            page_size=query.limit,
            next_page_token=token_after(*page[-1][:2]) if len(rest) > query.limit else "",
        )

    async def delete(self, task_id: str, context: ServerCallContext) -> None:
        owner = owner_of(context)
        if task_id in self._tasks.get(owner, {}):
            self._drop(owner, task_id)

    def _expire(self) -> None:
        if self._ttl_s is None:
            return
        until = self._clock() - self._ttl_s
        while self._ended:
            (owner, task_id), ended = next(iter(self._ended.items()))
            if ended > until:
                return
            self._drop(owner, task_id)

    def _evict(self, written: tuple[str, str]) -> None:
        while self._count > self._max_tasks:
            oldest = self._first_to_go(written)
            if oldest is None:
                return
            self._drop(*oldest)

    def _first_to_go(self, written: tuple[str, str]) -> tuple[str, str] | None:
        most = Counter({owner: len(self._tasks[owner]) for owner in self._ended_of})
        for owner, _ in most.most_common():
            for task_id in self._ended_of[owner]:
                if (owner, task_id) != written:
                    return owner, task_id
        return None

    def _drop(self, owner: str, task_id: str) -> None:
        self._resumed(owner, task_id)
        of_owner = self._tasks[owner]
        del of_owner[task_id]
        self._count -= 1
        if not of_owner:
            del self._tasks[owner]

    def _resumed(self, owner: str, task_id: str) -> None:
        if self._ended.pop((owner, task_id), None) is not None:
            ended = self._ended_of[owner]
            del ended[task_id]
            if not ended:
                del self._ended_of[owner]
