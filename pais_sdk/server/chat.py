"""POST /v1/chat/completions: OpenAI's chat API over the runtime."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import anyio
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from ..errors import RunCancelledError
from ..events import RunEnded, RunEvent, RunOutcome, TextDelta
from ..memory import check_session_id
from ..runtime import RunOptions, RunStream, error_of
from .body import discard_body, read_body
from .chat_request import ChatRequest, parse_chat_request
from .chat_response import ChatResponse, event_line
from .content import read_conversation
from .delegated import delegated_options
from .disconnect import cancelled_on_disconnect
from .errors import error_response, stopping, wire_error
from .gate import scope_of
from .patient_send import PatientSend

if TYPE_CHECKING:
    from .app import AgentServer

_SURFACE = "chat_completions"
_STREAM_HEADERS = {
    "content-type": "text/event-stream; charset=utf-8",
    "cache-control": "no-cache",
    "x-accel-buffering": "no",
}


class ChatEndpoint:
    """Decodes the request, calls the runtime, encodes its answer."""

    def __init__(self, server: AgentServer) -> None:
        self._server = server
        self._runtime = server.runtime
        self._settings = server.settings

    async def handle(self, request: Request) -> Response:
        """Answer one request."""
        try:
            session_id = _session_of_header(request)
            delegated = delegated_options(request)
            self._check_open(request)
        except Exception:
            await discard_body(request)
            raise
        body = b""
        with self._server.in_flight.reading():
            body = await read_body(request, self._settings.agent_max_body_bytes)
        self._check_open(request)
        chat = parse_chat_request(body, max_messages=self._settings.agent_max_messages)
        prompt, options = self._run_arguments(request, chat, session_id)
        options |= delegated
        streaming = bool(chat.stream)
        answer = ChatResponse(
            chat.model or self._runtime.name,
            progress=self._settings.agent_progress,
            max_steps=self._runtime.max_steps,
            include_usage=streaming and bool(chat.stream_options and chat.stream_options.include_usage),
        )
        if streaming:
            stream = self._runtime.stream(prompt, **options)
            return _StreamedChat(self._server, stream, answer)
        async with cancelled_on_disconnect(request.receive):
            try:
                outcome = await self._runtime.run(prompt, **options)
            except RunCancelledError as error:
                return error_response(self._server.told_of(error), error.outcome.session_id)
            # Escaped, so that half a character that a model said is no error, and two halves are one again.
            body = json.dumps(answer.plain(outcome))
            return Response(body, media_type="application/json", headers={"X-Session-ID": outcome.session_id})
        return Response(status_code=499)  # nobody is there to read it

    def _check_open(self, request: Request) -> None:
        """Raise what keeps a run of this caller from beginning now, whatever it is about."""
        if self._server.stopping:
            raise stopping()
        self._runtime.check_admission(scope_of(request), surface=_SURFACE)

    def _run_arguments(self, request: Request, chat: ChatRequest, session_id: str | None) -> tuple[Any, RunOptions]:
        if session_id is None and chat.session_id is not None:
            session_id = request.state.session_id = check_session_id(chat.session_id)
        conversation = read_conversation(chat.messages, only_new=session_id is not None)
        options: RunOptions = {
            "session_id": session_id,
            "scope": scope_of(request),
            "instructions": conversation.instructions,
            "model_settings": chat.model_settings(),
            "effort": chat.effort,
            "metadata": chat.metadata,
            "store": chat.store is not False,
            "owner": self._server,
            "surface": _SURFACE,
        }
        if session_id is None:
            options["history"] = conversation.history
        if chat.tool_choice == "none":
            options["tools"] = ()
        return conversation.prompt, options


def _session_of_header(request: Request) -> str | None:
    session_id = request.headers.get("x-session-id")
    if not session_id:
        return None
    request.state.session_id = check_session_id(session_id)
    return session_id


class _StreamedChat(Response):
    """Server-sent events; its headers wait for the first event, so that an early error has a status of its own."""

    def __init__(self, server: AgentServer, stream: RunStream[Any], answer: ChatResponse) -> None:
        super().__init__()
        self._server = server
        self._stream = stream
        self._answer = answer
        self._keepalive_s = server.settings.agent_keepalive_s
        self._begun = False
        self._sent_at = anyio.current_time()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with cancelled_on_disconnect(receive) as reader:
            patient = PatientSend(send, idle_s=self._server.settings.agent_stream_idle_s, give_up=reader.cancel)
            with patient.watched():
                try:
                    async with self._stream as run:
                        await self._tell(run, patient)
                except Exception as error:
                    if self._begun:
                        raise
                    error = self._server.told_of(error)
                    await error_response(error, self._stream.session_id)(scope, receive, patient)

    async def _tell(self, run: RunStream[Any], send: Send) -> None:
        await anext(run)  # RunStarted: the session is ours, but nothing is said yet
        while True:
            event = await self._next(run)
            if isinstance(event, RunEnded):
                await self._end(event.outcome, send)
                return
            if isinstance(event, TextDelta):
                await self._send(self._answer.text(event.text), send)
            elif event is None:
                await self._send(b": keepalive\n\n", send)
            else:
                # Empty for thinking, for one: the run goes well so far, and the client may know.
                await self._send(self._answer.progress(event), send)

    async def _next(self, run: RunStream[Any]) -> RunEvent | None:
        """Return the next event, or None when nothing was sent for so long that the client should hear something."""
        with anyio.CancelScope(deadline=self._sent_at + self._keepalive_s):
            return await anext(run)
        return None

    async def _end(self, outcome: RunOutcome[Any], send: Send) -> None:
        if outcome.stop_reason == "end_turn":
            await self._send(self._answer.end(outcome), send, last=True)
            return
        error = self._server.told_of(error_of(outcome))
        if not self._begun:
            raise error
        await self._send(event_line(wire_error(error).body), send, last=True)

    async def _send(self, data: bytes, send: Send, *, last: bool = False) -> None:
        if not data and not last and self._begun:
            return
        self._sent_at = anyio.current_time()
        if not self._begun:
            self._begun = True
            headers = {**_STREAM_HEADERS, "x-session-id": self._stream.session_id}
            raw = [(name.encode(), value.encode()) for name, value in headers.items()]
            await send({"type": "http.response.start", "status": 200, "headers": raw})
            data = self._answer.role() + data
        await send({"type": "http.response.body", "body": data, "more_body": not last})
