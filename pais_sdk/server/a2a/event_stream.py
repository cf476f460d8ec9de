"""The answers of a streaming call, as server-sent events."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

import anyio
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from ..chat_response import event_line
from ..disconnect import cancelled_on_disconnect
from ..patient_send import PatientSend

if TYPE_CHECKING:
    from ..app import AgentServer

_HEADERS = {
    "content-type": "text/event-stream; charset=utf-8",
    "cache-control": "no-cache",
    "x-accel-buffering": "no",
}


class EventStream(Response):
    """Tells answers until there are no more, or nobody listens; what they are about goes on in either case.

    Args:
        server: Its settings say how patient it is.
        answers: JSON-RPC answers; closed at the end.
        from_elsewhere: Whether another process makes them: then they do not end when this server stops.
    """

    def __init__(self, server: AgentServer, answers: AsyncGenerator[dict[str, Any]], *, from_elsewhere: bool) -> None:
        super().__init__()
        self._server = server
        self._answers = answers
        self._from_elsewhere = from_elsewhere

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        settings = self._server.settings
        async with cancelled_on_disconnect(receive) as reader:
            patient = PatientSend(send, idle_s=settings.agent_stream_idle_s, give_up=reader.cancel)
            headers = [(name.encode(), value.encode()) for name, value in _HEADERS.items()]
            await patient({"type": "http.response.start", "status": 200, "headers": headers})
            with patient.watched():
                with self._until_it_stops():
                    await self._tell(patient)
                await patient({"type": "http.response.body", "body": b"", "more_body": False})

    def _until_it_stops(self) -> AbstractContextManager[Any]:
        return self._server.in_flight.reading() if self._from_elsewhere else nullcontext()

    async def _tell(self, send: Send) -> None:
        # Each answer is awaited in a task of its own: a2a-sdk takes the first cancellation for the end of its stream,
        # and closes it in an orderly way only if no further one comes.
        coming: asyncio.Task[dict[str, Any] | None] | None = None
        try:
            while True:
                coming = coming or asyncio.create_task(anext(self._answers, None))  # pyright: ignore
                done, _ = await asyncio.wait([coming], timeout=self._server.settings.agent_keepalive_s)
                data = b": keepalive\n\n"
                if done:
                    answer, coming = coming.result(), None
                    if answer is None:
                        return
                    data = event_line(answer)
                await send({"type": "http.response.body", "body": data, "more_body": True})
        finally:
            with anyio.CancelScope(shield=True):
                if coming is not None:
                    coming.cancel()
                    await asyncio.wait([coming])
                    if not coming.cancelled():
                        coming.exception()
                await self._answers.aclose()
