"""Lists of tasks: what is asked for, and where the next page begins."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from a2a.types.a2a_pb2 import ListTasksRequest, Task
from a2a.utils.constants import DEFAULT_LIST_TASKS_PAGE_SIZE
from a2a.utils.errors import InvalidParamsError
from a2a.utils.task import ListTasksCursor, decode_list_tasks_cursor, encode_list_tasks_cursor

UNDATED_NS = -1
"""The time of a task that says none: it comes last."""
_LAST_NS = (1 << 63) - 1


def changed_ns(task: Task) -> int:
    """Return when the status of a task changed, in nanoseconds since 1970."""
    return task.status.timestamp.ToNanoseconds() if task.status.HasField("timestamp") else UNDATED_NS


@dataclass(frozen=True)
class TaskQuery:
    """What a client wants to see of its tasks, the last changed first."""

    context_id: str | None
    state: int | None
    since_ns: int
    before: tuple[int, str] | None
    """The time and the id of the last task of the page before."""
    limit: int

    @classmethod
    def of(cls, request: ListTasksRequest) -> Self:
        """Return what a request asks for.

        Raises:
            InvalidParamsError: Its page token is none.
        """
        since_ns = UNDATED_NS
        if request.HasField("status_timestamp_after"):
            since_ns = min(max(request.status_timestamp_after.ToNanoseconds(), 0), _LAST_NS)
        return cls(
            context_id=request.context_id or None,
            state=request.status or None,
            since_ns=since_ns,
            before=_place(request.page_token) if request.page_token else None,
            limit=request.page_size or DEFAULT_LIST_TASKS_PAGE_SIZE,
        )


def token_after(changed_ns: int, task_id: str) -> str:
    """Return the token of the page that begins after a task."""
    return encode_list_tasks_cursor(ListTasksCursor(None if changed_ns == UNDATED_NS else changed_ns, task_id))


def _place(token: str) -> tuple[int, str]:
    try:
        cursor = decode_list_tasks_cursor(token)
    except RecursionError:  # it is JSON, and whoever made it nested it deeply
        cursor = None
    if cursor is None or not 0 <= (cursor.timestamp_ns or 0) <= _LAST_NS:
        raise InvalidParamsError("pageToken is none that this agent gave; begin without it")
    return UNDATED_NS if cursor.timestamp_ns is None else cursor.timestamp_ns, cursor.task_id
