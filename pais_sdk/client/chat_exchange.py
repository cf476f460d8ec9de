"""One task of an agent behind an OpenAI-compatible API."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Any

from .._delegation_wire import CONTEXT_ROLE
from .chat_story import ChatStory
from .json_values import id_in
from .task_request import TaskRequest
from .task_story import TooLongError
from .values import RemoteCard, RemoteEvent
from .wire import Reply, Wire

_ROUTE = "/v1/chat/completions"
_SESSION_HEADER = "x-session-id"
_MODEL = "agent"


class ChatExchange:
    """Sends a task as a chat completion, and reads what is answered.

    Args:
        wire: Sends the request.
        card: How the agent is spoken to.
        request: What it is to do.
    """

    may_run_on = False
    """Whoever hangs up ends the run."""

    def __init__(self, wire: Wire, card: RemoteCard, request: TaskRequest) -> None:
        self._wire = wire
        self._card = card
        self._request = request
        # Plain is cheaper. Where the task may take any time, only what is streamed tells that the agent is alive.
        self._streaming = card.streaming and (request.progress or wire.deadline.left_s() is None)

    async def events(self) -> AsyncGenerator[RemoteEvent]:
        """Yield what the agent says; the answer is the last.

        Raises:
            RemoteAgentError: There is none.
        """
        session_id = self._request.session_id
        headers = {} if session_id is None else {_SESSION_HEADER: session_id}
        patience_s = None if self._streaming else self._wire.deadline.left_s()
        url = f"{self._card.url}{_ROUTE}"
        async with self._wire.post(url, self._body(), headers=headers, patience_s=patience_s) as reply:
            story = ChatStory(self._wire.failures, self._session_of(reply))
            try:
                if not reply.is_stream:
                    for event in story.whole(await reply.json()):
                        yield event
                    return
                async with aclosing(reply.events()) as events:
                    async for data in events:
                        if data == b"[DONE]":
                            story.finish()
                            break
                        for event in story.take(reply.parsed(data)):
                            yield event
                    yield story.answer()
                    await reply.rest(events)
            except TooLongError:
                raise self._wire.failures.too_long() from None

    async def cancel(self, wire: Wire) -> None:
        """Do nothing: the connection is closed by now."""

    def _body(self) -> Mapping[str, Any]:
        request = self._request
        context = [] if not request.context else [{"role": CONTEXT_ROLE, "content": request.context}]
        body: dict[str, Any] = {
            "model": self._card.name or _MODEL,
            "messages": [*context, {"role": "user", "content": request.text}],
            "stream": self._streaming,
        }
        if self._streaming:
            body["stream_options"] = {"include_usage": True}
        if not request.store:
            body["store"] = False
        return body

    def _session_of(self, reply: Reply) -> str | None:
        return id_in(reply.headers.get(_SESSION_HEADER)) or self._request.session_id
