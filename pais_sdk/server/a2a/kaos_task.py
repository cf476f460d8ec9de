"""A2A tasks as KAOS shows them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from a2a.compat.v0_3.conversions import to_compat_task
from a2a.types import Message, Part, Role, Task, TaskState

from .parts import whole_numbers

_STATES = {"rejected": "failed", "auth-required": "input-required", "unknown": "submitted"}


def kaos_task(task: Task) -> dict[str, Any]:
    """Return a task as KAOS's clients read it: the message of its status is a text, and its states are KAOS's."""
    told = task_of_both(task)
    status = told["status"]
    status["state"] = _STATES.get(status["state"], status["state"])
    if "message" in status:
        status["message"] = _text_of(task.status.message.parts)
    return told


def task_of_both(task: Task, history_length: int | None = None) -> dict[str, Any]:
    """Return a task as clients of A2A 0.3 read it, with what KAOS's look for beside it.

    Args:
        task: As it is stored.
        history_length: How many messages of its history are wanted, the newest; None for all.
    """
    told: dict[str, Any] = whole_numbers(to_compat_task(task).model_dump(mode="json", by_alias=True, exclude_none=True))
    output = _output_of(task)
    history: list[dict[str, Any]] = told.get("history", [])
    if output and not _ends_with(task, output):
        history.append(_answer(task, output))
    if history_length is not None:
        history = history[-history_length:] if history_length else []
    artifacts: list[dict[str, Any]] = told.get("artifacts", [])
    said = told["status"].get("message", {"parts": []})
    for part in (part for one in [*history, *artifacts, said] for part in one["parts"]):
        part["type"] = part["kind"]
    return {
        "metadata": {},
        **told,
        "sessionId": task.context_id,
        "history": history,
        "artifacts": artifacts,
        "events": _events_of(told),
        "autonomous": False,
        "output": output,
    }


def _output_of(task: Task) -> str:
    if task.status.state != TaskState.TASK_STATE_COMPLETED:
        return ""
    texts = (_text_of(artifact.parts) for artifact in task.artifacts)
    return "\n\n".join(text for text in texts if text) or _text_of(task.status.message.parts)


def _text_of(parts: Iterable[Part]) -> str:
    return "".join(part.text for part in parts)


def _ends_with(task: Task, output: str) -> bool:
    """Tell whether the history has the answer already; a user may have said the same."""
    last = task.history[-1] if task.history else Message()
    return last.role == Role.ROLE_AGENT and _text_of(last.parts) == output


def _answer(task: Task, output: str) -> dict[str, Any]:
    """Return the answer as a message: A2A has it as an artifact, KAOS in the history."""
    return {
        "kind": "message",
        "messageId": f"{task.id}.output",
        "taskId": task.id,
        "contextId": task.context_id,
        "role": "agent",
        "parts": [{"kind": "text", "text": output}],
    }


def _events_of(told: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the one event that is known for sure, the newest: when the others were is not kept."""
    status = told["status"]
    state = _STATES.get(status["state"], status["state"])
    if "timestamp" not in status:
        return []
    event_id = f"{told['id']}.{state}"
    return [{"id": event_id, "type": f"task.{state}", "timestamp": status["timestamp"], "data": {}}]
