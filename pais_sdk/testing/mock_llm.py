"""A small OpenAI-compatible model endpoint for tests: the stand-in for the model at the end of a real HTTP chain.

    mock = MockLLM()                                        # in this process
    async with mock.running() as url:                       # the API is at f"{url}/v1"
        ...
    mock.record.requests

    python -m pais_sdk.testing.mock_llm --port 0            # as a process: prints MOCK_LLM_URL=http://127.0.0.1:PORT

The `model` of a request chooses what it answers, plain and with `stream: true`:

    echo               the text of the last user message; any name that is not here does the same
    hello              "Hello! How can I help you today?"
    tool               a call of the first of `tools`, in a stream in pieces of 10 characters; the arguments are the
                       last user text where that is a JSON object, else the schema's required properties with example
                       values (strings are "x"). After a message with the role `tool`: "The tool said: ..."; without
                       tools: an echo
    length             the first word of the last user text, `finish_reason` length
    error-NNN          status NNN (400 to 599) with OpenAI's error object; error-429 has `Retry-After: 7`
    midstream-error    two words, then the connection drops
    hang               one word, then nothing until the client is gone (or a reset or the end drops the connection)
    gate               one word; after `POST /_gate/open` the rest of "The gate is open."

A plain answer waits before its first byte. Usage counts words, see `Answer.usage`. Any key is accepted.

What tests look at, without sleeping:

    GET  /_requests    the chat requests, oldest first: [{"body": ..., "headers": ...}]; the headers are authorization
                       and traceparent, where they were sent
    GET  /_stats       {"active": n, "started": n, "finished": n, "disconnected": n}, see `mock_llm_record.Record`
    GET  /_wait?disconnected=N&started=N&finished=N&timeout_s=5
                       the stats, as soon as the counters that are named have reached their numbers; 408 if not in time
    POST /_gate/open   opens the gate for all requests until the next reset
    POST /_reset       forgets requests, counters and the open gate; what hangs or waits at the gate is let go
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import signal
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import anyio
from pydantic import ValidationError

from .._listen import listening, open_socket, serve_socket, url_of
from ..errors import MissingExtraError
from .mock_llm_record import Record
from .mock_llm_script import BEHAVIOURS, Answer, ChatRequest, Failure, answer

try:
    from starlette.applications import Starlette
    from starlette.exceptions import HTTPException
    from starlette.requests import Request
    from starlette.responses import JSONResponse, Response
    from starlette.routing import Route
    from starlette.types import Receive, Scope, Send
except ImportError as error:
    raise MissingExtraError("MockLLM", extra="server") from error

__all__ = ["MockLLM"]


class MockLLM:
    """The endpoint, as an ASGI application (`app`) and the `record` of what it was asked."""

    def __init__(self) -> None:
        self.record = Record()
        self._numbers = itertools.count(1)
        self.app = Starlette(
            routes=[
                Route("/v1/models", self._models),
                Route("/v1/chat/completions", self._chat, methods=["POST"]),
                Route("/_requests", self._requests),
                Route("/_stats", self._stats),
                Route("/_wait", self._wait),
                Route("/_gate/open", self._open_gate, methods=["POST"]),
                Route("/_reset", self._reset, methods=["POST"]),
            ],
            exception_handlers={HTTPException: _refused},
        )

    @asynccontextmanager
    async def running(self, *, host: str = "127.0.0.1", port: int = 0) -> AsyncGenerator[str]:
        """Serve in this event loop while the block runs, from a new `record` on; gives the base URL, without `/v1`."""
        self.record = Record()
        async with listening(self.app, host=host, port=port) as url:
            try:
                yield url
            finally:
                self.record.let_go()

    def reset(self) -> None:
        """Start a new `record`; requests that still wait are let go and count in the old one."""
        self.record.let_go()
        self.record = Record()

    async def _models(self, request: Request) -> Response:
        models = [{"id": name, "object": "model", "created": 0, "owned_by": "pais_sdk"} for name in BEHAVIOURS]
        return JSONResponse({"object": "list", "data": models})

    async def _chat(self, request: Request) -> Response | _Completion:
        raw = await request.body()
        try:
            chat = ChatRequest.model_validate_json(raw)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            param = ".".join(str(part) for part in first["loc"]) or None
            return _error(Failure(status=400, message=first["msg"], type="invalid_request_error", param=param))
        record = self.record
        headers = {name: request.headers[name] for name in ("authorization", "traceparent") if name in request.headers}
        record.requests.append({"body": json.loads(raw), "headers": headers})
        record.count(started=1)
        said = answer(chat)
        if isinstance(said, Failure):
            record.count(finished=1)
            return _error(said)
        return _Completion(chat, said, record, number=next(self._numbers))

    async def _requests(self, request: Request) -> Response:
        return JSONResponse(self.record.requests)

    async def _stats(self, request: Request) -> Response:
        return JSONResponse(self.record.stats)

    async def _wait(self, request: Request) -> Response:
        record, query = self.record, dict(request.query_params)
        try:
            timeout_s = float(query.pop("timeout_s", 5))
            counters = {name: int(number) for name, number in query.items()}
        except ValueError as error:
            raise HTTPException(400, f"{error}; the query of /_wait holds numbers") from error
        if unknown := counters.keys() - {"started", "finished", "disconnected"}:
            raise HTTPException(
                400, f"no counter is called {min(unknown)!r}; there are started, finished, disconnected"
            )
        with anyio.move_on_after(timeout_s):
            await record.wait(**counters)
            return JSONResponse(record.stats)
        raise HTTPException(408, f"not reached in {timeout_s:g} s; it stands at {record.stats}")

    async def _open_gate(self, request: Request) -> Response:
        self.record.gate.set()
        return JSONResponse(self.record.stats)

    async def _reset(self, request: Request) -> Response:
        self.reset()
        return JSONResponse(self.record.stats)


class _Completion:
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
        for delta in said.opening(self._number):
            await self._say(send, delta)
        for place, delta in enumerate(said.pieces()):
            if place == said.words_first and not await self._go_on():
                self._done()
                return
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


async def _send_event(send: Send, value: dict[str, Any]) -> None:
    data = f"data: {json.dumps(value)}\n\n".encode()
    await send({"type": "http.response.body", "body": data, "more_body": True})


def _error(failure: Failure) -> Response:
    headers = {"retry-after": str(failure.retry_after_s)} if failure.retry_after_s is not None else None
    return JSONResponse(failure.body(), failure.status, headers)


def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return _error(Failure(status=error.status_code, message=error.detail, type="invalid_request_error"))


async def _serve_until_signal(host: str, port: int) -> None:
    mock, listener = MockLLM(), open_socket(host, port)
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, stop.set)

    async def ended() -> float:
        await stop.wait()
        mock.record.let_go()
        return 3.0

    print(f"MOCK_LLM_URL={url_of(listener)}", flush=True)  # noqa: T201
    await serve_socket(mock.app, listener, shutdown_trigger=ended)


def main(argv: list[str] | None = None) -> None:
    """Serve until SIGTERM or SIGINT.

    Args:
        argv: The arguments of the command; None for those of the process.
    """
    about = "An OpenAI-compatible model endpoint for tests."
    parser = argparse.ArgumentParser(prog="python -m pais_sdk.testing.mock_llm", description=about)
    parser.add_argument("--host", default="127.0.0.1", help="the address to listen on (127.0.0.1)")
    parser.add_argument("--port", type=int, default=0, help="0 for one that the system picks (0)")
    options = parser.parse_args(argv)
    try:
        asyncio.run(_serve_until_signal(options.host, options.port))
    except OSError as error:
        parser.exit(1, f"cannot listen on {options.host}:{options.port}: {error.strerror or error}\n")


if __name__ == "__main__":
    main()
