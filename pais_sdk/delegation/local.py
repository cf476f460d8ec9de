"""A delegate in this process."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager, suppress
from typing import Any

from ..client import RemoteProgress, RemoteText, RemoteUsage
from ..errors import (
    DelegationLoopError,
    InvalidRequestError,
    MemoryUnavailableError,
    OverloadedError,
    RunCancelledError,
    SessionBusyError,
)
from ..events import Progress, RunEnded, RunOutcome, TextDelta, ToolCalled
from ..runtime import AgentRuntime, RunStream, error_of
from .failure import DelegationFailedError, too_slow
from .progress import DelegationTold
from .target import DelegateAnswer, DelegatedTask, DelegateEvent, Target

_log = logging.getLogger("pais_sdk.delegation")


class LocalTarget(Target):
    """An AgentRuntime, as a delegate: on the event loop that it is open on, or else on ours."""

    def __init__(self, name: str, runtime: AgentRuntime[Any]) -> None:
        super().__init__(name)
        self._runtime = runtime

    @property
    def description(self) -> str:
        return self._runtime.description

    @property
    def wants_look(self) -> bool:
        return False

    async def look(self) -> None:
        return

    def held(self) -> AbstractAsyncContextManager[Any]:
        return self._runtime.held()

    @asynccontextmanager
    async def stream(self, task: DelegatedTask) -> AsyncGenerator[AsyncIterator[DelegateEvent]]:
        run: RunStream[Any] | None = None
        try:
            run = self._runtime.stream(
                task.text,
                quiet=not task.progress,
                session_id=task.session_id,
                scope=task.scope,
                instructions=task.context,
                timeout_s=task.timeout_s,
                chain=task.chain,
                store=task.store,
                surface="delegation",
            )
            async with run, aclosing(self._told(run, task)) as events:
                try:
                    yield events
                except BaseException:
                    with suppress(RuntimeError):  # its loop has ended, and it too
                        run.cancel()  # leaving it would let it go on where the runtime says so
                    raise
        except DelegationLoopError as error:
            raise DelegationFailedError(
                f"The agent {self.name!r} did not do the task: {error.message}", "loop"
            ) from error
        except InvalidRequestError as error:
            raise DelegationFailedError(
                f"The agent {self.name!r} did not take the task: {error.message}", "refused"
            ) from error
        except (SessionBusyError, OverloadedError) as error:
            raise DelegationFailedError(
                f"The agent {self.name!r} is busy with other tasks. Ask it again later, or go on without it.", "busy"
            ) from error
        except (MemoryUnavailableError, RunCancelledError) as error:
            raise self._failed(error) from error
        finally:
            if run is not None:
                with suppress(RuntimeError):  # it did not begin, or goes on where its loop has ended
                    task.spent(_usage_of(run.outcome))

    async def _told(self, run: RunStream[Any], task: DelegatedTask) -> AsyncGenerator[DelegateEvent]:
        async for event in run:
            if isinstance(event, TextDelta):
                yield RemoteText(event.text)
            elif isinstance(event, ToolCalled):
                action, target = ("tool_call", event.tool_name) if event.agent is None else ("delegate", event.agent)
                yield RemoteProgress(action, target, {"action": action, "target": target})
            elif isinstance(event, Progress) and isinstance(event.event, DelegationTold):
                if (nested := _nested(event.event)) is not None:
                    yield nested
            elif isinstance(event, RunEnded):
                yield self._answer(event.outcome, task)

    def _answer(self, outcome: RunOutcome[Any], task: DelegatedTask) -> DelegateAnswer:
        if outcome.stop_reason == "end_turn":
            return DelegateAnswer(text=outcome.text, protocol="local", session_id=outcome.session_id)
        error = error_of(outcome)
        if outcome.stop_reason == "timeout":
            raise too_slow(self.name, min(task.timeout_s, outcome.duration_s)) from error
        if outcome.stop_reason == "max_steps":
            raise DelegationFailedError(
                f"The agent {self.name!r} used up its steps before it had an answer. "
                "Give it a smaller task, or go on without it.",
                "failed",
            ) from error
        raise self._failed(outcome.error or error) from outcome.error

    def _failed(self, error: Exception) -> DelegationFailedError:
        what = "was stopped" if isinstance(error, RunCancelledError) else "failed"
        _log.warning("the agent %r %s: %s", self.name, what, type(error).__name__)
        return DelegationFailedError(
            f"The agent {self.name!r} {what} before it had an answer. Go on without it, or ask it again later.",
            "failed",
        )


def _nested(told: DelegationTold) -> RemoteProgress | None:
    """Return what the delegate's own delegate does, as a remote one tells it: its text is not the delegate's."""
    if told.action == "text":
        return None
    detail = {**told.detail, "action": told.action, "target": told.target}
    return RemoteProgress("delegate", told.agent, {"action": "delegate", "target": told.agent, "detail": detail})


def _usage_of(outcome: RunOutcome[Any]) -> RemoteUsage:
    usage = outcome.usage
    return RemoteUsage(
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        requests=usage.requests,
        details=dict(usage.details),
    )
