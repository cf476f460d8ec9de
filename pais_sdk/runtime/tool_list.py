"""The tools that the model sees, kept until they may have changed."""

from __future__ import annotations

import asyncio
import contextvars
import time
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Self

import anyio
from opentelemetry import context, trace
from pydantic_ai.tools import ToolDefinition

# Under a span that is not sampled, looking for tools leaves no trace: it is not a run that anybody asked for.
_UNTRACED = trace.NonRecordingSpan(trace.SpanContext(trace_id=1, span_id=1, is_remote=False))


class ToolList:
    """Lists the tools once for all who ask, and again when they may have changed; what fails is not kept.

    Open it on the event loop that it is to be used on: `async with tool_list`.

    Args:
        look: Lists the tools.
        version: A number that grows when some of the tools change. Those of which it knows nothing may change, too:
            for them there is `max_age_s`.
        max_age_s: Seconds after which a list is made anew, when it is asked for.
        limit_s: Seconds that one listing may take.
        clock: Seconds that only grow.
    """

    def __init__(
        self,
        look: Callable[[], Awaitable[list[ToolDefinition]]],
        version: Callable[[], int],
        *,
        max_age_s: float = 30,
        limit_s: float = 5,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._look = look
        self._version = version
        self._max_age_s = max_age_s
        self._limit_s = limit_s
        self._clock = clock
        self._open = False
        self._newest: _Listing | None = None

    async def __aenter__(self) -> Self:
        self._open, self._newest = True, None
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._open = False
        if self._newest is not None:
            self._newest.task.cancel()
            await asyncio.wait([self._newest.task])

    async def get(self) -> list[ToolDefinition]:
        """Return the tools; whoever gives up waiting for them does not end the listing for the others.

        Raises:
            TimeoutError: They were not listed in time.
        """
        while True:
            if not self._open:
                raise _closed()
            listing = self._newest
            if listing is None or not self._may_be_used(listing):
                if listing is not None and not listing.task.done():  # its tools changed meanwhile: one at a time
                    await asyncio.wait([listing.task])
                    continue
                listing = self._newest = self._begin()
            await asyncio.wait([listing.task])
            if listing.task.cancelled():
                raise _closed()
            return list(listing.task.result())

    def _may_be_used(self, listing: _Listing) -> bool:
        if listing.version != self._version():
            return False
        if not listing.task.done():
            return True
        good = not listing.task.cancelled() and listing.task.exception() is None
        return good and self._clock() - listing.began <= self._max_age_s

    def _begin(self) -> _Listing:
        # An empty context: it is for all who ask, and belongs to none of their traces.
        untraced = contextvars.Context()
        silent = context.set_value("suppress_instrumentation", True, context.Context())  # heeded by HTTP clients' spans
        untraced.run(context.attach, trace.set_span_in_context(_UNTRACED, silent))
        task = asyncio.get_running_loop().create_task(self._listed(), context=untraced)
        task.add_done_callback(_hear_of_error)
        return _Listing(task, self._version(), self._clock())

    async def _listed(self) -> list[ToolDefinition]:
        with anyio.fail_after(self._limit_s):
            return await self._look()


class _Listing:
    def __init__(self, task: asyncio.Task[list[ToolDefinition]], version: int, began: float) -> None:
        self.task = task
        self.version = version
        self.began = began


def _closed() -> RuntimeError:
    return RuntimeError("the runtime was closed before its tools were listed")


def _hear_of_error(task: asyncio.Task[list[ToolDefinition]]) -> None:
    """Take note of an error that nobody may have waited for; each one who does gets it."""
    if not task.cancelled():
        task.exception()
