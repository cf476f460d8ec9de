"""Exchange: one run of one session, from admission to its outcome, as one task."""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections.abc import Callable
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from pydantic_ai import CancellationToken, capture_run_messages
from pydantic_ai.exceptions import RunCancelled, RunTimedOut, UsageLimitExceeded
from pydantic_ai.messages import ModelMessage, repair_messages
from pydantic_ai.usage import RunUsage
from pydantic_core import to_json

from .._current_run import CurrentRun, set_current_run
from .._shield import to_its_end
from ..errors import MemoryUnavailableError, RunCancelledError
from ..events import RunEnded, RunOutcome, RunStarted, StopReason
from ..memory import Memory, MemoryEvent, MemorySession
from .channel import Channel
from .ended import model_error_in
from .ending import Ending, exception_of, log_failure
from .lifetime import Home
from .narration import Narration, text_of
from .request import RunRequest
from .run_messages import answerable, finish_reason, with_prompt
from .run_task import RunTask
from .run_telemetry import RunTelemetry

if TYPE_CHECKING:
    from .agent_runtime import AgentRuntime

_log = logging.getLogger("pais_sdk.runtime")
_current: ContextVar[Exchange | None] = ContextVar("pais_sdk_exchange", default=None)


def current_exchange() -> Exchange | None:
    """Return the run that this code, a tool's for instance, is a part of."""
    return _current.get()


class Exchange:
    """Made on the runtime's loop, where it begins at once; everything here runs there, except `cancel`.

    Args:
        runtime: Whose agent is run.
        request: What is wanted.
        home: The opening of the runtime that it belongs to.
        on_end: Called in its last step.
        telemetry: Is told what becomes of it.
    """

    def __init__(
        self,
        runtime: AgentRuntime[Any],
        request: RunRequest,
        home: Home,
        on_end: Callable[[Exchange], None],
        telemetry: RunTelemetry,
    ) -> None:
        self.home = home
        self.request = request
        self.run_id = str(uuid.uuid4())
        self.telemetry = telemetry
        telemetry.taken_up(self.run_id)
        self.started: asyncio.Future[None] = home.loop.create_future()
        # Done with the task, which has no callbacks for the same reason as a short name.
        self.ended: asyncio.Future[None] = home.loop.create_future()
        self._on_end = on_end
        self.outcome: RunOutcome[Any] | None = None
        self._runtime = runtime
        self._token = CancellationToken()
        self._began = time.monotonic()
        self.events = Channel()
        self._waiting = True  # for its session, its place and its arguments; then the token is what cancels it
        self._refusal: Exception | None = None
        self._narration = Narration(
            self.events, tells_text=runtime.arguments.speaks_text, on_first=telemetry.first_token
        )
        self.task = RunTask(self._run(), loop=home.loop, name=f"run {self.run_id}")

    def cancel(self) -> None:
        """Ask the run to stop; it still stores what it did. Callable on any thread, as often as one likes."""
        self._token.cancel()
        self.home.loop.call_soon_threadsafe(self._cancel_waiting)

    def leave_unread(self, *, cancel: bool) -> None:
        """Drop the events that come, for nobody reads them any more; called on the loop."""
        self.events.close()
        if cancel:
            self.cancel()

    def lost(self) -> None:
        """Take note that it cannot end by itself, where its loop runs no more."""
        if not self.home.loop.is_running():
            self.telemetry.ended(None)

    def _cancel_waiting(self) -> None:
        """Cancel what the token does not reach: the wait in a queue, and the making of the run's arguments."""
        if self._waiting:
            self._waiting = False  # once is enough: what comes then is storing
            self.task.cancel()

    async def _run(self) -> None:
        """Carry the run out; sets `started`, with the error where it does not come to that, and then `outcome`."""
        self.task.has_begun = True
        self.telemetry.make_current()
        try:
            await self._admitted()
        except asyncio.CancelledError:
            self._over(Ending("cancelled", []))
            raise
        except Exception as error:  # noqa: BLE001 - the task ends here; the error goes to whoever waits for it
            if not self.started.done():
                self._refuse(error)
            elif self.outcome is None:
                _log.exception("run %s of session %r broke off", self.run_id, self.request.session_id)
                self._over(Ending("error", [], error=error))
            else:  # the run is stored; only giving the session free went wrong, and its hold runs out by itself
                _log.exception("session %r could not be given free", self.request.session_id)
        else:
            assert self.outcome is not None
        finally:
            try:
                self.telemetry.ended(self.outcome, self._refusal)
            finally:
                self._end()

    def _end(self) -> None:
        """Tell whoever waits for the end; the last step of the task."""
        if self.outcome is not None:
            self.events.end(RunEnded(self.outcome))
        self._on_end(self)
        if not self.home.loop.is_closed():  # what an abandoned loop left is closed some time later
            if not self.started.done():
                self._refuse(RuntimeError("the run broke off before it began"))
            self.ended.set_result(None)

    def _over(self, ending: Ending) -> None:
        """Set the outcome of a run that ended before or after its conversation, where it has none yet."""
        if self.outcome is None:
            self.outcome = self._outcome(ending, "", RunUsage())
        if not self.started.done():
            self._refuse(RunCancelledError("the run was cancelled before it began", self.outcome))

    def _refuse(self, error: Exception) -> None:
        self._refusal = error
        self.started.set_exception(error)
        self.started.exception()  # seen here, in case that nobody waits for it any more

    async def _admitted(self) -> None:
        runtime, request = self._runtime, self.request
        memory = runtime.memory.scoped(request.scope)
        limit = runtime.history_limit if request.history is None else 0
        with runtime.admission.admitted(request.scope):
            async with memory.open_session(
                request.session_id, limit=limit, wait_s=runtime.busy_wait_s, on_busy=runtime.on_busy
            ) as session:
                session.on_interrupt = self.cancel
                async with runtime.admission.place():
                    self._began = time.monotonic()
                    self.telemetry.placed()
                    self.started.set_result(None)
                    if request.streaming:
                        self.events.put_now(RunStarted(request.session_id, self.run_id))
                    _current.set(self)
                    set_current_run(self._as_tools_see_it())
                    await self._held(session, memory)

    def _as_tools_see_it(self) -> CurrentRun:
        timeout_s = self.request.timeout_s
        return CurrentRun(
            scope=self.request.scope,
            agent=self._runtime.name,
            streaming=self.request.streaming,
            store=self.request.store,
            chain=(*self.request.chain, self._runtime.id),
            deadline=None if timeout_s is None else self._began + timeout_s,
            tool_timeout_s=self._runtime.tool_timeout_s,
        )

    async def _held(self, session: MemorySession, memory: Memory) -> None:
        request = self.request
        usage = RunUsage()
        history = answerable(session.history if request.history is None else list(request.history))
        ending = await self._converse(history, memory, usage)
        if ending.stop_reason in ("end_turn", "max_steps"):
            self._runtime.model_status = "ok"
        elif model_error_in(ending.error) is not None:
            self._runtime.model_status = "degraded"
        text, ending = self._text(ending)
        if request.store:
            brought = [] if request.history is None or session.exists else history
            ending = await self._store(session, [*brought, *ending.messages], ending, usage)
        self.outcome = self._outcome(ending, text, usage)
        if ending.interrupt is not None:
            raise ending.interrupt

    def _outcome(self, ending: Ending, text: str, usage: RunUsage) -> RunOutcome[Any]:
        return RunOutcome(
            session_id=self.request.session_id,
            run_id=self.run_id,
            stop_reason=ending.stop_reason,
            output=ending.output,
            text=text,
            usage=usage,
            messages=ending.messages,
            error=ending.error,
            duration_s=time.monotonic() - self._began,
            trace=self.telemetry.trace,
            finish_reason=finish_reason(ending.messages),
        )

    async def _converse(self, history: list[ModelMessage], memory: Memory, usage: RunUsage) -> Ending:
        request = self.request
        captured: list[ModelMessage] = []

        def ended(stop_reason: StopReason, error: Exception | None = None) -> Ending:
            return Ending(stop_reason, repair_messages(self._kept(captured)), error=error)

        limit = asyncio.timeout(request.timeout_s if self._runtime.arguments.may_wait else None)
        began = time.monotonic()
        try:
            async with limit:
                arguments = await self._runtime.arguments.make(request, memory)
            with capture_run_messages() as captured:
                self._waiting = False
                result = await self._runtime.agent.run(
                    request.prompt,
                    message_history=history,
                    conversation_id=request.session_id,
                    run_id=self.run_id,
                    usage=usage,
                    timeout=None if request.timeout_s is None else request.timeout_s - (time.monotonic() - began),
                    cancellation_token=self._token,
                    event_stream_handler=self._narration if request.streaming else None,
                    **arguments,
                )
        except RunTimedOut:
            return ended("timeout")
        except RunCancelled:
            return ended("cancelled")
        except UsageLimitExceeded as error:
            return ended("max_steps") if usage.requests >= self._runtime.max_steps else ended("error", error)
        except asyncio.CancelledError as error:
            ending = ended("cancelled")
            ending.interrupt = error
            return ending
        except (KeyboardInterrupt, GeneratorExit):
            raise
        except BaseException as error:  # noqa: BLE001 - whatever the agent raises is how its run ended
            if limit.expired():
                return ended("timeout")
            error = exception_of(error)
            log_failure(error, self.run_id, request.session_id)
            return ended("error", error)
        finally:
            self._waiting = False
        return Ending("end_turn", self._kept(result.new_messages()), output=result.output)

    def _kept(self, seen: list[ModelMessage]) -> list[ModelMessage]:
        """Return the messages of this run, always with what the user said, even where the agent trims its history."""
        messages = [message for message in seen if message.run_id == self.run_id]
        return with_prompt(messages, self.request.prompt, self.run_id, self.request.session_id)

    def _text(self, ending: Ending) -> tuple[str, Ending]:
        """Return the text of the answer, telling it now where it could not be told before."""
        if self._runtime.arguments.speaks_text:
            return (self._narration.text if self.request.streaming else text_of(ending.messages)), ending
        if ending.stop_reason != "end_turn":
            return "", ending
        try:
            text = ending.output if isinstance(ending.output, str) else to_json(ending.output).decode()
        except ValueError as error:
            _log.warning("the output of run %s cannot be written as JSON", self.run_id, exc_info=error)
            return "", Ending("error", ending.messages, error=error)
        if self.request.streaming:
            self._narration.tell_output(text)
        return text, ending

    async def _store(
        self, session: MemorySession, messages: list[ModelMessage], ending: Ending, usage: RunUsage
    ) -> Ending:
        annotations: list[MemoryEvent] = []
        if ending.error is not None:
            content = {"error": type(ending.error).__name__}
            annotations.append(MemoryEvent(event_type="error", content=content, metadata={"run_id": self.run_id}))
        ttl_s = self._runtime.memory.stateless_ttl_s if self.request.is_anonymous else None
        write = session.append(messages, annotations, usage=usage, ttl_s=ttl_s)
        try:
            await (write if session.protects_append else to_its_end(write))
        except asyncio.CancelledError as error:  # the write itself is done
            ending.interrupt = error
        except Exception as error:  # noqa: BLE001 - a memory of somebody else's may raise anything, and the run is paid
            _log.error("run %s of session %r could not be stored", self.run_id, self.request.session_id, exc_info=error)
            lost = error if isinstance(error, MemoryUnavailableError) else MemoryUnavailableError("the memory failed")
            lost.__cause__ = lost.__cause__ or (None if lost is error else error)
            return Ending("error", ending.messages, error=lost, interrupt=ending.interrupt)
        return ending
