"""GET /memory/sessions, GET /memory/events, DELETE /memory/sessions/{id}: what is stored, in KAOS's shapes."""

from __future__ import annotations

from typing import Any, cast

from starlette.requests import Request
from starlette.responses import JSONResponse

from ..errors import InvalidRequestError
from ..memory import Memory, check_session_id
from ..runtime import AgentRuntime
from .answers.common import Event, EventList, SessionDeleted, SessionList
from .errors import invalid
from .gate import scope_of

_DEFAULT_LIMIT = 100
_MAX_LIMIT = 1000


class SessionEndpoints:
    """The memory of the runtime, read in bounded pages."""

    def __init__(self, runtime: AgentRuntime[Any]) -> None:
        self._runtime = runtime

    async def list(self, request: Request) -> JSONResponse:
        """List session ids, the most recently used first."""
        limit, cursor = _limit(request), request.query_params.get("cursor")
        memory = self._memory(request)
        page = await self._runtime.call(lambda: memory.list_sessions(limit=limit, cursor=cursor))
        answer: SessionList = {
            "agent": self._runtime.name,
            "sessions": [*page],
            "total": len(page),
            "next": page.next,
        }
        return JSONResponse(answer)

    async def events(self, request: Request) -> JSONResponse:
        """List the newest events, of one session or of all, oldest first; `next` leads to older ones."""
        limit = _limit(request)
        session_id, before = request.query_params.get("session_id"), request.query_params.get("cursor")
        if session_id is not None:
            check_session_id(session_id)
        memory = self._memory(request)
        try:
            events = await self._runtime.call(lambda: memory.get_events(session_id, limit=limit, before=before))
        except InvalidRequestError as error:
            raise invalid(error.message, param="cursor") from None
        answer: EventList = {
            "agent": self._runtime.name,
            "events": [cast("Event", event.to_dict()) for event in events],
            "total": len(events),
            "next": events.next,
        }
        return JSONResponse(answer)

    async def delete(self, request: Request) -> JSONResponse:
        """Delete a session; what runs in it is cancelled first."""
        session_id = check_session_id(request.path_params["session_id"])
        if not await self._runtime.delete_session(session_id, scope_of(request)):
            message = f"There is no session {session_id!r}."
            raise invalid(message, param="session_id", code="session_not_found", status=404)
        answer: SessionDeleted = {"agent": self._runtime.name, "session_id": session_id, "deleted": True}
        return JSONResponse(answer)

    def _memory(self, request: Request) -> Memory:
        return self._runtime.memory.scoped(scope_of(request))


def _limit(request: Request) -> int:
    text = request.query_params.get("limit", str(_DEFAULT_LIMIT))
    if not (text.isascii() and text.isdigit() and len(text) < 10 and int(text) >= 1):
        raise invalid(f"limit must be a whole number from 1 to {_MAX_LIMIT}", param="limit")
    return min(int(text), _MAX_LIMIT)
