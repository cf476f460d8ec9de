"""One completion of a mock model on its way to the client."""

from __future__ import annotations

import json
import time
from typing import Any

import anyio
from starlette.responses import JSONResponse
from starlette.types import Receive, Scope, Send

from .answer import Answer
from .record import Record
from .request import ChatRequest


class Completion:
    """One answer on its way to the client, as an ASGI application."""

    def __init__(self, chat: ChatRequest, said: Answer, record: Record, *, number: int) -> None:
        self._chat = chat
        self._said = said
        self._record = record
        self._number = number
        self._complete = False
        self._with_usage = bool(chat.stream_options and chat.stream_options.include_usage)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with anyio.create_task_group() as group:

            async def watch() -> None:
                while (await receive())["type"] != "http.disconnect":
                    pass
                if not self._complete:  # Hypercorn says disconnect at the regular end, too
                    self._record.count(disconnected=1)
                group.cancel_scope.cancel()

            group.start_soon(watch)
            await (self._stream(send) if self._chat.stream else self._plain(send))
            group.cancel_scope.cancel()

    async def _plain(self, send: Send) -> None:
        said, usage = self._said, self._said.usage(self._chat)
        whole = self._object(
            "chat.completion", message=said.message(self._number), finish_reason=said.finish_reason, usage=usage
        )
        response = JSONResponse(whole)
        drop = said.words_first is not None and not await self._go_on()
        self._done()
        await send({"type": "http.response.start", "status": 200, "headers": response.raw_headers})
        if drop:  # half of what Content-Length says, then the task ends: Hypercorn closes the connection
            half = bytes(response.body)[: len(response.body) // 2]
            await send({"type": "http.response.body", "body": half, "more_body": True})
        else:
            await send({"type": "http.response.body", "body": response.body})

    async def _stream(self, send: Send) -> None:
        said = self._said
        headers = [(b"content-type", b"text/event-stream"), (b"cache-control", b"no-cache")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await self._say(send, said.opening())
        words = said.pieces(self._number)
        stop = None if said.words_first is None else min(said.words_first, len(words))
        for place, word in enumerate([*words, []]):
            if place == stop and not await self._go_on():
                self._done()
                if said.last_words:
                    await _send_event(send, said.last_words, last=True)
                return
            for delta in word:
                await self._say(send, delta)
        await self._say(send, {}, finish_reason=said.finish_reason)
        if self._with_usage:
            await _send_event(send, self._object("chat.completion.chunk", usage=said.usage(self._chat)))
        self._done()
        await send({"type": "http.response.body", "body": b"data: [DONE]\n\n"})

    async def _go_on(self) -> bool:
        """Wait where the answer pauses; false where the connection is to be dropped."""
        match self._said.then:
            case "gate":
                await self._record.gate.wait()
                return True
            case "hang":
                await self._record.end.wait()
                return False
            case "drop":
                return False

    def _done(self) -> None:
        self._complete = True
        self._record.count(finished=1)

    async def _say(self, send: Send, delta: dict[str, Any], finish_reason: str | None = None) -> None:
        await _send_event(send, self._object("chat.completion.chunk", delta=delta, finish_reason=finish_reason))

    def _object(self, kind: str, *, usage: dict[str, int] | None = None, **choice: Any) -> dict[str, Any]:
        """Return a completion or a chunk of one; no choice is the chunk that brings the usage."""
        choices = [{"index": 0, "logprobs": None, **choice}] if choice else []
        head: dict[str, Any] = {"id": f"chatcmpl-{self._number}", "object": kind, "created": int(time.time())}
        whole = {**head, "model": self._chat.model, "choices": choices}
        return {**whole, "usage": usage} if usage or self._with_usage else whole


async def _send_event(send: Send, value: dict[str, Any], *, last: bool = False) -> None:
    data = f"data: {json.dumps(value)}\n\n".encode()
    await send({"type": "http.response.body", "body": data, "more_body": not last})
