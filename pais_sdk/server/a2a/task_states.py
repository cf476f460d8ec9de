"""Which tasks are worked on, and what is said of one whose process is gone."""

from __future__ import annotations

import uuid

from a2a.types.a2a_pb2 import Message, Part, Role, Task, TaskState, TaskStatus

ENDED = frozenset(
    {
        TaskState.TASK_STATE_COMPLETED,
        TaskState.TASK_STATE_FAILED,
        TaskState.TASK_STATE_CANCELED,
        TaskState.TASK_STATE_REJECTED,
    }
)
WAITING = frozenset({TaskState.TASK_STATE_INPUT_REQUIRED, TaskState.TASK_STATE_AUTH_REQUIRED})

ABANDONED = "Nothing more is heard from the process that worked on this task. Send the message again."


def is_worked_on(task: Task) -> bool:
    """Tell whether a process has a task in hand: it has neither ended nor waits for its client."""
    return task.status.state not in ENDED and task.status.state not in WAITING


def abandoned(task: Task) -> TaskStatus:
    """Return the status of a task whose process is gone."""
    status = TaskStatus(state=TaskState.TASK_STATE_FAILED)
    message = Message(message_id=str(uuid.uuid4()), task_id=task.id, context_id=task.context_id, role=Role.ROLE_AGENT)
    message.parts.append(Part(text=ABANDONED))
    status.message.CopyFrom(message)
    return status
