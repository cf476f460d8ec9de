"""The runs of A2A tasks, where a2a-sdk begins and cancels them."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from a2a.server.agent_execution import AgentExecutor, RequestContext
from a2a.server.events import EventQueue

from ...runtime import RunOptions
from .call import awaits_of, message_of, options_of, question_of
from .stores import TaskStorage
from .task_events import TaskEvents
from .task_run import TaskRun
from .telemetry import worked_on

if TYPE_CHECKING:
    from ..app import AgentServer


class RuntimeExecutor(AgentExecutor):
    """Runs the agent for tasks.

    Args:
        server: Whose runtime runs them.
        storage: Where they are kept.
    """

    def __init__(self, server: AgentServer, storage: TaskStorage) -> None:
        self._server = server
        self._storage = storage
        self._runs: dict[str, TaskRun] = {}
        self.told: deque[str] = deque()
        """The tasks that have told their last, until somebody finds that a2a-sdk has taken note of it."""

    @property
    def task_ids(self) -> list[str]:
        """The tasks that run here now."""
        return list(self._runs)

    async def execute(self, context: RequestContext, event_queue: EventQueue) -> None:
        task_id, context_id, call = context.task_id, context.context_id, context.call_context
        assert task_id
        assert context_id
        message = message_of(call)
        message.task_id, message.context_id = task_id, context_id
        events = TaskEvents(event_queue, task_id, context_id, message)
        options: RunOptions = {**options_of(call), "session_id": context_id, "owner": self._server, "surface": "a2a"}
        run = TaskRun(self._server, events, question_of(call).prompt, options, awaits_of(call))
        self._runs[task_id] = run
        try:
            with worked_on(call, task_id, context_id) as work, self._storage.working(task_id, cancelled=run.cancel):
                try:
                    await run.carry_out()
                finally:
                    work.ended(run.state, run.error)
        finally:
            del self._runs[task_id]
            self.told.append(task_id)
            run.over.set()

    async def cancel(self, context: RequestContext, event_queue: EventQueue) -> None:
        """End a task's run, and return when it has told its last; nothing where it has ended already."""
        run = self._runs.get(context.task_id or "")
        if run is not None:
            run.cancel()
            await run.over.wait()

    async def cut_off(self) -> None:
        """End all runs because the server stops, and return when they have told their last."""
        runs = list(self._runs.values())
        for run in runs:
            run.cut_off()
        for run in runs:
            await run.over.wait()
