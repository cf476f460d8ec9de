"""RunStream: a run as its caller sees it, from any event loop."""

from __future__ import annotations

import asyncio
from concurrent.futures import Future
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar

import anyio

from ..events import RunEnded, RunEvent, RunOutcome

if TYPE_CHECKING:
    from .agent_runtime import AgentRuntime
    from .exchange import Exchange
    from .request import RunRequest

OutputT = TypeVar("OutputT")


class RunStream(Generic[OutputT]):
    """One run, told while it lasts: `async with runtime.stream(...) as run: async for event in run: ...`.

    Leaving the block before the last event cancels the run, or lets it finish unheard where the runtime has
    `on_disconnect="finish"`. Either way it is stored.
    """

    def __init__(self, runtime: AgentRuntime[OutputT], request: RunRequest) -> None:
        self._runtime = runtime
        self._request = request
        self._exchange: Exchange | None = None
        self._ended = False
        self._cancelled = False
        self._left = False
        self._coming: Future[RunEvent] | None = None

    @property
    def session_id(self) -> str:
        """The session that the run belongs to."""
        return self._request.session_id

    @property
    def outcome(self) -> RunOutcome[OutputT]:
        """How the run ended.

        Raises:
            RuntimeError: It has not ended yet; read its events to the end first.
        """
        outcome = None if self._exchange is None else self._exchange.outcome
        if outcome is None:
            raise RuntimeError("the run has not ended yet; its outcome is in its last event, RunEnded")
        return outcome

    def cancel(self) -> None:
        """Ask the run to stop; its last event, RunEnded, still comes. Safe to call twice, and from any thread."""
        self._cancelled = True
        if self._exchange is not None:
            self._exchange.cancel()

    async def __aenter__(self) -> Self:
        self._exchange = await self._runtime.begin(self._request)
        if self._cancelled:
            self._exchange.cancel()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        exchange = self._exchange
        if exchange is None:
            return
        try:
            if not exchange.home.over and not (self._ended and exchange.task.done()):
                await exchange.home.call(self._leave)
        finally:
            self._left = True
            if exchange.home.over:
                exchange.lost()
            exchange.telemetry.reader_left()

    def __del__(self) -> None:
        exchange = self._exchange
        if exchange is None or self._left:
            return
        try:  # not at once: garbage is collected in the middle of anything, and on any thread
            exchange.home.loop.call_soon_threadsafe(_leave_behind, exchange, self._cancels)
        except RuntimeError:  # nothing runs there any more
            exchange.lost()
            exchange.telemetry.reader_left()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> RunEvent:
        exchange = self._exchange
        if exchange is None:
            raise RuntimeError("open the run first: async with runtime.stream(...) as run")
        if self._ended:
            raise StopAsyncIteration
        if asyncio.get_running_loop() is exchange.home.loop:
            event = await exchange.events.get()
        else:
            # The event may be on its way from the other loop when we are cancelled: the next call waits for it then.
            if self._coming is None:
                self._coming = exchange.home.submit(exchange.events.get)
            try:
                event = await asyncio.shield(asyncio.wrap_future(self._coming))
            except asyncio.CancelledError:
                exchange.home.check_alive()
                raise
            self._coming = None
        self._ended = isinstance(event, RunEnded)
        return event

    async def _leave(self) -> None:
        exchange = self._exchange
        assert exchange is not None
        exchange.leave_unread(cancel=self._cancels)
        if self._ended or self._cancels:
            await finished(exchange.task)

    @property
    def _cancels(self) -> bool:
        """Whether leaving now cancels the run."""
        return not self._ended and self._runtime.on_disconnect == "cancel"


def _leave_behind(exchange: Exchange, cancel: bool) -> None:
    exchange.leave_unread(cancel=cancel)
    exchange.telemetry.reader_left()


async def finished(task: asyncio.Task[Any]) -> None:
    """Return when a task is over, whatever it raised; a cancellation of the caller waits until then."""
    cancelled: asyncio.CancelledError | None = None
    with anyio.CancelScope(shield=True):  # a cancelled scope of the caller's would cancel every single wait
        while not task.done():
            try:
                await asyncio.wait([task])
            except asyncio.CancelledError as error:
                cancelled = error
    if cancelled is not None:
        raise cancelled
