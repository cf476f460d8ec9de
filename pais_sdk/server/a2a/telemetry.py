"""The tasks of A2A as spans: how one was given to the agent, its work, and who cancelled it."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

from a2a.server.context import ServerCallContext
from a2a.types.a2a_pb2 import Task, TaskState
from opentelemetry import context, trace
from opentelemetry.trace import Span, StatusCode

_tracer = trace.get_tracer("pais_sdk.a2a")
_SUBMISSION = "pais_sdk.submission"
_LONGEST = 128


@contextmanager
def submitted(call: ServerCallContext) -> Generator[None]:
    """Record how a message becomes a task: until its work begins, or it is refused in the block.

    Source:
        Names of spans and attributes are KAOS's.
    """
    # Not as the current span: a stream leaves the block between its events.
    submission = call.state[_SUBMISSION] = _Submission()
    try:
        yield
    except Exception as error:
        submission.end(error=error)
        raise
    finally:
        submission.end()


class _Submission:
    def __init__(self) -> None:
        self._span = _tracer.start_span("kaos.task.submit")
        self.context = trace.set_span_in_context(self._span)
        """What the work on the task belongs to, whoever does it: with the caller's baggage."""
        self._is_over = False

    def accepted(self, task_id: str, session_id: str) -> None:
        _tell(self._span, task_id, session_id, TaskState.TASK_STATE_SUBMITTED)
        self.end()

    def end(self, error: Exception | None = None) -> None:
        if self._is_over:
            return
        self._is_over = True
        if error is not None:
            _fail(self._span, error)
        self._span.end()


class Work:
    """The work on a task."""

    def __init__(self, span: Span, task_id: str, session_id: str) -> None:
        self._span = span
        self._about = (task_id, session_id)

    def ended(self, state: TaskState, error: Exception | None) -> None:
        """Take note of how it ended, and of what the client was told that it failed of."""
        _tell(self._span, *self._about, state)
        if error is not None and state != TaskState.TASK_STATE_CANCELED:
            _fail(self._span, error)


@contextmanager
def worked_on(call: ServerCallContext, task_id: str, session_id: str) -> Generator[Work]:
    """Record the block as the work on the task of a call: in the trace of the call, whatever task this runs in."""
    submission: _Submission = call.state[_SUBMISSION]
    submission.accepted(task_id, session_id)
    token = context.attach(submission.context)
    try:
        with _current("kaos.task.execute") as span:
            _tell(span, task_id, session_id, TaskState.TASK_STATE_WORKING)
            yield Work(span, task_id, session_id)
    finally:
        context.detach(token)


class Cancellation:
    """A wish to end a task."""

    def __init__(self, span: Span) -> None:
        self._span = span

    def of(self, task: Task) -> None:
        """Take note of what became of the task."""
        _tell(self._span, task.id, task.context_id, task.status.state)


@contextmanager
def cancelled(task_id: str) -> Generator[Cancellation]:
    """Record the block, which cancels a task."""
    with _current("kaos.task.cancel") as span:
        span.set_attribute("task.id", task_id[:_LONGEST])
        yield Cancellation(span)


@contextmanager
def _current(name: str) -> Generator[Span]:
    with _tracer.start_as_current_span(name, record_exception=False, set_status_on_exception=False) as span:
        try:
            yield span
        except Exception as error:
            _fail(span, error)
            raise


def _tell(span: Span, task_id: str, session_id: str, state: TaskState) -> None:
    if span.is_recording():
        word = TaskState.Name(state).removeprefix("TASK_STATE_").lower().replace("_", "-")
        span.set_attributes({"task.id": task_id, "task.session_id": session_id, "task.state": word})


def _fail(span: Span, error: Exception) -> None:
    kind = type(error).__name__
    span.set_attribute("error.type", kind)
    span.set_status(StatusCode.ERROR, kind)
