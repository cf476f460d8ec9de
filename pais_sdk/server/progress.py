"""What a run does on the way to its answer, as clients are told of it on every protocol."""

from __future__ import annotations

from typing import Any, Literal

from ..delegation import DelegationTold
from ..events import Progress as Emitted
from ..events import RunEvent, ToolCalled
from .answers.chat import Progress


class RunProgress:
    """Makes the progress objects of one run from its events.

    Args:
        max_steps: The run's limit, which they name.
    """

    def __init__(self, max_steps: int) -> None:
        self._max_steps = max_steps
        self._step = 1

    def of(self, event: RunEvent) -> Progress | None:
        """Return what is told about an event; None where it is nothing that clients are told of."""
        if isinstance(event, ToolCalled):
            self._step = event.step
            if event.agent is None:
                return self._progress("tool_call", event.tool_name)
            return self._progress("delegate", event.agent)
        if isinstance(event, Emitted):
            return self._nested(event.event)
        return None

    def _nested(self, event: Any) -> Progress | None:
        if not isinstance(event, DelegationTold) or event.action == "text":
            return None
        detail = {**event.detail, "action": event.action, "target": event.target}
        return {**self._progress("delegate", event.agent), "detail": detail}

    def _progress(self, action: Literal["tool_call", "delegate"], target: str) -> Progress:
        return {
            "type": "progress",
            "step": self._step,
            "max_steps": self._max_steps,
            "action": action,
            "target": target,
        }
