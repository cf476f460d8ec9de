"""One task of an A2A agent."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Any

import anyio

from ..errors import RemoteAgentError
from .a2a_dialects import DIALECTS
from .a2a_news import read_news
from .json_values import mapping_in
from .task_request import TaskRequest
from .task_story import TaskStory, TooLongError
from .values import RemoteCard, RemoteEvent
from .wire import Wire

_log = logging.getLogger("pais_sdk.client")
_ANSWERED = ("completed", "input-required")
_OVER = (*_ANSWERED, "failed", "canceled", "rejected")
_CANNOT_STREAM = (-32601, -32004)
_PASSING = ("unreachable", "timeout", "busy", "failed")
_FIRST_LOOK_S = 0.1
_LONGEST_LOOK_S = 3.0
_LOOKS_IN_VAIN = 4
_LOOK_S = 10.0


class A2AExchange:
    """Sends a task, once, and follows it to its end.

    Args:
        wire: Sends the requests.
        card: How the agent is spoken to.
        request: What it is to do; its session is the task's context.
    """

    def __init__(self, wire: Wire, card: RemoteCard, request: TaskRequest) -> None:
        self._wire = wire
        self._card = card
        self._dialect = DIALECTS[card.protocol]
        self._request = request
        self._story = TaskStory(card.protocol, card.name or wire.failures.label)

    @property
    def may_run_on(self) -> bool:
        """Whether the task is known, and not known to be over; one that waits for an answer to a question is left."""
        return bool(self._story.task_id) and self._story.state not in _OVER

    async def events(self) -> AsyncGenerator[RemoteEvent]:
        """Yield what the agent says; the answer is the last.

        Raises:
            RemoteAgentError: There is none.
        """
        try:
            async with aclosing(self._sent()) as sent:
                async for event in sent:
                    yield event
            if not self._story.ended:
                async with aclosing(self._watched()) as watched:
                    async for event in watched:
                        yield event
        except TooLongError:
            raise self._wire.failures.too_long() from None

    async def cancel(self, wire: Wire) -> None:
        """Ask the agent to end the task; it is logged where that cannot be said.

        Args:
            wire: Sends the request, with a deadline of its own.
        """
        try:
            await wire.deadline.wait(self._ask(wire, self._dialect.end(self._story.task_id)))
        except (RemoteAgentError, _NoTaskError, TimeoutError) as error:
            _log.info("a task could not be cancelled: %s", error or "its agent does not answer")

    async def _sent(self) -> AsyncGenerator[RemoteEvent]:
        """Send the task and yield what is answered; where the answer breaks off, the task may run on."""
        try:
            for streaming in (True, False) if self._card.streaming else (False,):
                told = self._answered(streaming=streaming)
                try:
                    async with aclosing(told):
                        async for event in told:
                            yield event
                    break
                except _CannotStreamError:
                    continue
        except RemoteAgentError as error:
            if not self._story.task_id or self._story.ended:
                raise
            _log.info("the answer of an agent broke off, and it is asked for the task: %s", error)
        else:
            if not self._story.task_id and not self._story.ended:
                raise self._wire.failures.broken_off()

    async def _answered(self, *, streaming: bool) -> AsyncGenerator[RemoteEvent]:
        body = self._dialect.task(self._request, streaming=streaming)
        patience_s = None if streaming else self._wire.deadline.left_s()
        async with (
            self._wire.post(self._card.url, body, headers=self._dialect.headers, patience_s=patience_s) as reply,
            aclosing(reply.events()) as events,
        ):
            if not reply.is_stream:
                for event in self._take(await reply.json(), streaming=streaming):
                    yield event
                return
            async for data in events:
                for event in self._take(reply.parsed(data), streaming=streaming):
                    yield event
                if self._story.ended:
                    await reply.rest(events)
                    return

    async def _watched(self) -> AsyncGenerator[RemoteEvent]:
        """Ask again and again how the task is, until it is over."""
        wait_s, in_vain = _FIRST_LOOK_S, 0
        while not self._story.ended:
            await anyio.sleep(wait_s)
            wait_s = min(wait_s * 1.5, _LONGEST_LOOK_S)
            try:
                result = await self._ask(self._wire, self._dialect.look(self._story.task_id))
            except _NoTaskError as error:
                raise error.failure from None
            except RemoteAgentError as error:
                in_vain += 1
                if error.reason not in _PASSING:
                    raise
                if in_vain == _LOOKS_IN_VAIN:
                    raise self._wire.failures.lost() from error
                continue
            in_vain = 0
            for event in self._take({"result": result}, streaming=False):
                yield event

    def _take(self, message: Any, *, streaming: bool) -> list[RemoteEvent]:
        """Return what a JSON-RPC message tells the caller."""
        message = mapping_in(message)
        if "error" in message:
            if streaming and not self._story.task_id and _code(message) in _CANNOT_STREAM:
                raise _CannotStreamError
            raise self._wire.failures.of_code(message["error"])
        news = read_news(message.get("result"))
        if news is None:
            raise self._wire.failures.unreadable()
        events = self._story.take(news)
        if not self._story.ended:
            return events
        if self._story.state not in _ANSWERED:
            raise self._wire.failures.of_state(self._story.state, self._story.words, self._story.error_type)
        return [*events, *self._story.answer()]

    async def _ask(self, wire: Wire, body: Any) -> Any:
        """Return the result of a request about the task."""
        async with wire.post(self._card.url, body, headers=self._dialect.headers, patience_s=_LOOK_S) as reply:
            message = mapping_in(await reply.json())
        if "error" in message:
            raise _NoTaskError(wire.failures.of_code(message["error"]))
        return message.get("result")


class _CannotStreamError(Exception):
    """The agent does not stream, whatever its card says; nothing has begun."""


class _NoTaskError(Exception):
    """The agent does not take a request about the task."""

    def __init__(self, failure: RemoteAgentError) -> None:
        super().__init__(str(failure))
        self.failure = failure


def _code(message: Mapping[str, Any]) -> Any:
    return mapping_in(message["error"]).get("code")
