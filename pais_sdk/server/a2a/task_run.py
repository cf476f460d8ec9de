"""One task: a run of the agent, told as the events of an A2A task."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, cast

import anyio
from a2a.types.a2a_pb2 import TaskState
from pydantic_ai.messages import UserContent
from pydantic_ai.usage import RunUsage

from ..._whole_text import whole_json
from ...errors import InvalidRequestError, OverloadedError, RunCancelledError, SessionBusyError
from ...events import RunEnded, RunEvent, RunOutcome, RunStarted, TextDelta
from ...runtime import RunOptions, RunStream, error_of
from ..errors import WireError, cut_off, stopping, wire_error
from ..progress import RunProgress
from .call import Awaits
from .pieces import TextPieces
from .stored import PROGRESS
from .task_events import TaskEvents

if TYPE_CHECKING:
    from ..app import AgentServer

_HELD_S = 0.05
_REFUSED = (InvalidRequestError, OverloadedError, SessionBusyError)


class TaskRun:
    """Lives on the server's event loop.

    Args:
        server: Whose runtime runs it.
        events: What is told goes there.
        prompt: What is asked.
        options: Of the run; its session is the task's context.
        awaits: What its client waits for. Where that is the end, a run that is over at once is told all at once.
    """

    def __init__(
        self,
        server: AgentServer,
        events: TaskEvents,
        prompt: str | Sequence[UserContent],
        options: RunOptions,
        awaits: Awaits,
    ) -> None:
        self._server = server
        self._events = events
        self._prompt = prompt
        self._options = options
        self._awaits = awaits
        self._pieces = TextPieces(lambda text, last: events.text(text, last=last))
        self._progress = RunProgress(server.runtime.max_steps)
        self._waiting = anyio.CancelScope()
        self._stream: RunStream[Any] | None = None
        self._asked = self._cut = False
        self.state = TaskState.TASK_STATE_WORKING
        self.error: Exception | None = None
        """Why it ended otherwise than well."""
        self.over = asyncio.Event()
        """Set when the last has been told."""

    def cancel(self) -> None:
        """End it because somebody who may asked for it; its last event still comes."""
        self._asked = True
        self._stop()

    def cut_off(self) -> None:
        """End it because the server stops; its last event still comes."""
        self._cut = True
        self._stop()

    def _stop(self) -> None:
        if self._stream is None:
            self._waiting.cancel()  # for its session, or for a place
        else:
            self._stream.cancel()

    async def carry_out(self) -> None:
        """Tell the task, run it, and tell how it ended."""
        if self._awaits == "task":
            await self._events.flush()
        late = asyncio.get_running_loop().call_later(_HELD_S, self._flush_late)
        try:
            await self._carry_out()
        except asyncio.CancelledError:  # a2a-sdk found that another process has ended it
            self.state = TaskState.TASK_STATE_CANCELED
            raise
        finally:
            late.cancel()

    def _flush_late(self) -> None:
        self._late = asyncio.create_task(self._events.flush())

    async def _carry_out(self) -> None:
        try:
            outcome = await self._run()
        except asyncio.CancelledError:
            if self._stream is not None:
                self._stream.cancel()  # a runtime may let a run finish whose reader has left
            raise
        except Exception as error:  # noqa: BLE001 - the task ends here, and whatever it was, its client must hear of it
            await self._failed(error, None)
            return
        if outcome.stop_reason == "end_turn":
            await self._completed(outcome)
        else:
            await self._failed(error_of(outcome), outcome)

    async def _run(self) -> RunOutcome[Any]:
        if self._server.stopping:
            raise stopping()
        stream = self._server.runtime.stream(self._prompt, **self._options)
        async with AsyncExitStack() as stack:
            with self._waiting:
                self._stream = await stack.enter_async_context(stream)
            if self._stream is None:
                raise _NeverBegunError
            if self._waiting.cancel_called:  # just when it had begun
                stream.cancel()
            return await self._tell(stream)

    async def _tell(self, stream: RunStream[Any]) -> RunOutcome[Any]:
        while True:
            event = await self._next(stream)
            if event is None:
                await self._pieces.flush()
            elif isinstance(event, TextDelta):
                await self._pieces.add(event.text)
            elif isinstance(event, RunStarted):
                await self._events.working()
                if self._awaits == "events":
                    await self._events.flush()
            elif isinstance(event, RunEnded):
                return event.outcome
            elif (progress := self._progress.of(event)) is not None:
                await self._pieces.flush()
                await self._events.working({PROGRESS: whole_json(progress)})

    async def _next(self, stream: RunStream[Any]) -> RunEvent | None:
        """Return the next event, or None when text that was held back should be told."""
        due = self._pieces.due
        if due is None:
            return await anext(stream)
        with anyio.move_on_after(max(0, due - time.monotonic())):
            return await anext(stream)
        return None

    async def _completed(self, outcome: RunOutcome[Any]) -> None:
        if _is_object(outcome):
            await self._pieces.flush()
            await self._events.data(outcome.text)
        else:
            await self._pieces.end()
        await self._events.ended(TaskState.TASK_STATE_COMPLETED, metadata=_usage(outcome))
        self.state = TaskState.TASK_STATE_COMPLETED

    async def _failed(self, error: Exception, outcome: RunOutcome[Any] | None) -> None:
        await self._pieces.flush()
        state, told = self._told(error, began=outcome is not None)
        message = None if state == TaskState.TASK_STATE_CANCELED else told.message
        await self._events.ended(state, message, {**_usage(outcome), **cast("dict[str, Any]", told.body)})
        self.state, self.error = state, error

    def _told(self, error: Exception, *, began: bool) -> tuple[TaskState, WireError]:
        """Return how a task ended whose run ended otherwise than well, and what its clients hear of it."""
        if isinstance(error, (RunCancelledError, _NeverBegunError)):
            if not self._asked and (self._cut or self._server.stopping):
                return TaskState.TASK_STATE_FAILED, cut_off() if began else stopping()
            return TaskState.TASK_STATE_CANCELED, _cancelled()
        if not began and isinstance(error, _REFUSED):
            return TaskState.TASK_STATE_REJECTED, wire_error(error)
        return TaskState.TASK_STATE_FAILED, wire_error(error)


class _NeverBegunError(Exception):
    pass


def _cancelled() -> WireError:
    return WireError(status=409, type="cancelled", message="The run was cancelled.", should_retry=False)


def _is_object(outcome: RunOutcome[Any]) -> bool:
    return not isinstance(outcome.output, str) and outcome.text.startswith("{")


def _usage(outcome: RunOutcome[Any] | None) -> dict[str, Any]:
    usage = RunUsage() if outcome is None else outcome.usage
    if outcome is None or not usage.requests:
        return {}
    numbers = {
        "input_tokens": usage.input_tokens,
        "output_tokens": usage.output_tokens,
        "requests": usage.requests,
        "details": dict(usage.details),
    }
    return {"usage": numbers}
