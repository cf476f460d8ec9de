"""A task as its rows say, and events as bytes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from a2a.server.cluster import StoredTask, TaskVersion
from a2a.server.events import Event
from a2a.server.tasks.task_manager import append_artifact_to_task
from a2a.types.a2a_pb2 import StreamResponse, Task
from a2a.utils.proto_utils import to_stream_response

from .stored import as_stored


class StoredRows:
    """What `READ` found: (version, `whole`, whether its process is gone, packed), of the task and of later events."""

    def __init__(self, rows: Sequence[Sequence[Any]]) -> None:
        self.task: StoredTask | None = None
        self.is_dead = False
        found = [row for row in rows if row[1] is not None]
        if not found:
            return
        version, _, is_dead, packed = found[0]
        self.is_dead = bool(is_dead)
        task = Task.FromString(bytes(packed))
        for _, _, _, event in sorted((row for row in rows if row[1] is None), key=lambda row: row[0]):
            append_artifact_to_task(task, StreamResponse.FromString(bytes(event)).artifact_update)
        as_stored(task)
        self.task = StoredTask(task, TaskVersion(version))


def packed_event(event: Event) -> bytes:
    """Return an event as it is kept."""
    return to_stream_response(event).SerializeToString(deterministic=True)


def unpacked_event(packed: bytes) -> Event:
    """Return what `packed_event` was given."""
    response = StreamResponse.FromString(packed)
    return getattr(response, str(response.WhichOneof("payload")))


def number_of(version: TaskVersion) -> int:
    """Return a version as the count of writes that it is here; 0 where nothing was written yet."""
    value = version._value  # pyright: ignore[reportPrivateUsage] - the stores of the SDK do the same
    assert isinstance(value, int)
    return value
