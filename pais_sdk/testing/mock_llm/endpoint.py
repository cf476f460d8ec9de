"""The mock endpoint: its routes, and what it keeps."""

from __future__ import annotations

import itertools
import json
import math
from collections import deque
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import anyio
from pydantic import ValidationError

from ..._listen import listening
from ...errors import MissingExtraError
from .answer import Answer, Failure
from .behaviours import MODELS, answer, failure, unknown_option
from .record import Record
from .request import ChatRequest
from .script import Script

try:
    from starlette.applications import Starlette
    from starlette.exceptions import HTTPException
    from starlette.requests import Request
    from starlette.responses import JSONResponse, Response
    from starlette.routing import Route

    from .completion import Completion
except ImportError as error:
    raise MissingExtraError("MockLLM", extra="server") from error

_HEADERS = ("authorization", "traceparent")


class MockLLM:
    """The endpoint, as an ASGI application (`app`) and the `record` of what it was asked.

    Args:
        responses: The answers of the model `script`, see the module; also as JSON text.

    Raises:
        ValueError: The responses are not such a list.
    """

    def __init__(self, *, responses: Sequence[str | dict[str, Any]] | str | bytes = ()) -> None:
        self.record = Record()
        self._numbers = itertools.count(1)
        self._first_script = self._script = Script(responses)
        self._failures: deque[Failure] = deque()
        self.app = Starlette(
            routes=[
                Route("/v1/models", self._models),
                Route("/v1/chat/completions", self._chat, methods=["POST"]),
                Route("/_requests", self._requests),
                Route("/_stats", self._stats),
                Route("/_wait", self._wait),
                Route("/_gate/open", self._open_gate, methods=["POST"]),
                Route("/_script", self._set_script, methods=["POST"]),
                Route("/_fail", self._fail, methods=["POST"]),
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

    def set_responses(self, responses: Sequence[str | dict[str, Any]] | str | bytes) -> None:
        """Give the model `script` other answers, from the next request on.

        Raises:
            ValueError: The responses are not a list of answers.
        """
        self._script = Script(responses)

    def fail_next(
        self,
        status: int,
        *,
        times: int = 1,
        retry_after_s: float | None = None,
        code: str | None = None,
        after_words: int | None = None,
    ) -> None:
        """Let the next chat requests fail, after those that are to fail already; then all is as before.

        Args:
            status: 400 to 599; 0 drops the connection.
            times: How many requests.
            retry_after_s: The header Retry-After; None sends none.
            code: The `code` of the error object; None for the one that OpenAI has for the status.
            after_words: Streams say so many words of their answer first, and bring the error as an event.

        Raises:
            ValueError: There is no such status or number.
        """
        if status and not 400 <= status <= 599:
            raise ValueError(f"no failure has the status {status}; use 400 to 599, or 0 to drop the connection")
        if times < 1 or (after_words or 0) < 0:
            raise ValueError("times must be at least 1 and after_words at least 0")
        failed = failure(
            status, f"Told to fail with {status}.", code=code, retry_after_s=retry_after_s, words_first=after_words
        )
        self._failures.extend([failed] * times)

    def reset(self) -> None:
        """Start a new `record`, forget what is to fail, and go back to the answers of the constructor.

        Requests that still wait are let go and count in the old record.
        """
        self.record.let_go()
        self.record = Record()
        self._script = self._first_script
        self._failures.clear()

    async def _models(self, request: Request) -> Response:
        models = [{"id": name, "object": "model", "created": 0, "owned_by": "pais_sdk"} for name in MODELS]
        return JSONResponse({"object": "list", "data": models})

    async def _chat(self, request: Request) -> Response | Completion:
        raw = await request.body()
        try:
            chat = ChatRequest.model_validate_json(raw)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            param = ".".join(str(part) for part in first["loc"]) or None
            return _error(Failure(status=400, message=first["msg"], type="invalid_request_error", param=param))
        if refused := unknown_option(chat):
            return _error(refused)
        record = self.record
        headers = {name: request.headers[name] for name in _HEADERS if name in request.headers}
        record.requests.append({"body": json.loads(raw), "headers": headers})
        record.count(started=1)
        failed = self._failures.popleft() if self._failures else None
        said = answer(chat, self._script)
        if failed is not None:
            in_the_answer = failed.status == 0 or (chat.stream and failed.words_first is not None)
            begun = Answer() if isinstance(said, Failure) else said
            said = begun.broken_by(failed) if in_the_answer else failed
        if isinstance(said, Failure):
            record.count(finished=1)
            return _error(said)
        return Completion(chat, said, record, number=next(self._numbers))

    async def _requests(self, request: Request) -> Response:
        return Response(json.dumps(self.record.requests), media_type="application/json")  # NaN, too, where it was sent

    async def _stats(self, request: Request) -> Response:
        return JSONResponse(self.record.stats)

    async def _wait(self, request: Request) -> Response:
        record, query = self.record, dict(request.query_params)
        try:
            timeout_s = float(query.pop("timeout_s", 5))
            counters = {name: int(number) for name, number in query.items()}
            if math.isnan(timeout_s):
                raise ValueError("timeout_s is no number")
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

    async def _set_script(self, request: Request) -> Response:
        try:
            self.set_responses(await request.body())
        except ValueError as error:
            raise HTTPException(400, str(error)) from error
        return JSONResponse(self.record.stats)

    async def _fail(self, request: Request) -> Response:
        query = dict(request.query_params)
        read: dict[str, Callable[[str], Any]] = {
            "status": int,
            "times": int,
            "retry_after_s": float,
            "code": str,
            "after_words": int,
        }
        if unknown := query.keys() - read.keys():
            raise HTTPException(400, f"/_fail has no {min(unknown)!r}; it has {', '.join(read)}")
        if "status" not in query:
            raise HTTPException(400, "/_fail needs a status")
        try:
            self.fail_next(**{name: read[name](value) for name, value in query.items()})
        except ValueError as error:
            raise HTTPException(400, str(error)) from error
        return JSONResponse(self.record.stats)

    async def _reset(self, request: Request) -> Response:
        self.reset()
        return JSONResponse(self.record.stats)


def _error(failure: Failure) -> Response:
    headers = {"retry-after": f"{failure.retry_after_s:g}"} if failure.retry_after_s is not None else None
    return JSONResponse(failure.body(), failure.status, headers)


def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return _error(Failure(status=error.status_code, message=error.detail, type="invalid_request_error"))
