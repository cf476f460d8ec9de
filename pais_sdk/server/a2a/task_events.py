"""What a run tells of its task, on its way to the store and to those who follow it."""

from __future__ import annotations

import asyncio
import json
import uuid
from typing import Any

from a2a.server.events import Event, EventQueue
from a2a.server.tasks.task_manager import append_artifact_to_task
from a2a.types.a2a_pb2 import (
    Artifact,
    Message,
    Part,
    Role,
    Task,
    TaskArtifactUpdateEvent,
    TaskState,
    TaskStatus,
    TaskStatusUpdateEvent,
)
from google.protobuf.json_format import ParseDict, ParseError
from google.protobuf.struct_pb2 import Value

_ANSWER = "answer"


class TaskEvents:
    """Writes the events of one task.

    Until `flush` it gathers what it is told in the task that it begins with: an event costs a2a-sdk more than a short
    answer costs the runtime.

    Args:
        queue: Takes them.
        task_id: The task.
        context_id: The session that it belongs to.
        message: What was asked, as the task keeps it.
    """

    def __init__(self, queue: EventQueue, task_id: str, context_id: str, message: Message) -> None:
        self._queue = queue
        self._task_id = task_id
        self._context_id = context_id
        self._answering = False
        self._writing = asyncio.Lock()  # who flushes late may not be who tells
        status = _status(TaskState.TASK_STATE_SUBMITTED)
        self._held: Task | None = Task(id=task_id, context_id=context_id, status=status, history=[message])

    async def flush(self) -> None:
        """Write the task as it is by now; nothing where that is done."""
        task, self._held = self._held, None
        if task is not None:
            await self._write(task)

    async def working(self, metadata: dict[str, Any] | None = None) -> None:
        """Say that the run goes on; `metadata` is what it does now."""
        await self._tell(_status(TaskState.TASK_STATE_WORKING), metadata)

    async def text(self, text: str, *, last: bool = False) -> None:
        """Tell the next piece of the answer."""
        await self._answer(Part(text=text), last=last)

    async def data(self, text: str) -> None:
        """Tell what the answer is as data, where its text is a JSON object; it is the last of it."""
        part = Part(media_type="application/json")
        try:
            part.data.CopyFrom(ParseDict(json.loads(text), Value()))
        except ParseError:  # deeper than Protobuf goes: then the text is all there is
            part = Part(text="")
        await self._answer(part, last=True)

    async def ended(self, state: TaskState, said: str | None = None, metadata: dict[str, Any] | None = None) -> None:
        """Say how the task ended; always the last."""
        status = _status(state)
        if said is not None:
            message = Message(
                message_id=str(uuid.uuid4()), task_id=self._task_id, context_id=self._context_id, role=Role.ROLE_AGENT
            )
            message.parts.append(Part(text=said))
            status.message.CopyFrom(message)
        await self._tell(status, metadata)
        await self.flush()

    async def _tell(self, status: TaskStatus, metadata: dict[str, Any] | None) -> None:
        told = self._held
        if told is None:
            told = TaskStatusUpdateEvent(task_id=self._task_id, context_id=self._context_id)
        told.status.CopyFrom(status)
        if metadata is not None:
            told.metadata.update(metadata)
        if isinstance(told, TaskStatusUpdateEvent):
            await self._write(told)

    async def _answer(self, part: Part, *, last: bool) -> None:
        event = TaskArtifactUpdateEvent(
            task_id=self._task_id,
            context_id=self._context_id,
            artifact=Artifact(artifact_id=_ANSWER, name=_ANSWER, parts=[part]),
            append=self._answering,
            last_chunk=last,
        )
        self._answering = True
        if self._held is None:
            await self._write(event)
        else:
            append_artifact_to_task(self._held, event)

    async def _write(self, event: Event) -> None:
        async with self._writing:
            await self._queue.enqueue_event(event)


def _status(state: TaskState) -> TaskStatus:
    status = TaskStatus(state=state)
    status.timestamp.GetCurrentTime()
    return status
