"""GET /health and GET /ready."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Literal

import anyio
from starlette.requests import Request
from starlette.responses import JSONResponse

from ..errors import PaisError
from .answers.common import Health, NotReady, Ready

if TYPE_CHECKING:
    from .app import AgentServer

_MEMORY_WAIT_S = 2.0


class ProbeEndpoints:
    """Alive, and ready to take runs."""

    def __init__(self, server: AgentServer) -> None:
        self._server = server
        self._runtime = server.runtime

    async def health(self, request: Request) -> JSONResponse:
        """Say that the process answers; `model` is what the newest run found, and never a request of its own."""
        answer: Health = {
            "status": "healthy",
            "name": self._runtime.name,
            "timestamp": int(time.time()),
            "model": self._runtime.model_status,
        }
        return JSONResponse(answer)

    async def ready(self, request: Request) -> JSONResponse:
        """Say whether runs can be taken: 200, or 503 with the reasons."""
        if self._server.stopping:
            return self._not_ready("draining")
        try:
            with anyio.fail_after(_MEMORY_WAIT_S):
                await self._runtime.call(self._runtime.memory.check)
        except (PaisError, TimeoutError):
            return self._not_ready("memory")
        answer: Ready = {"status": "ready", "name": self._runtime.name, "timestamp": int(time.time())}
        return JSONResponse(answer)

    def _not_ready(self, reason: Literal["draining", "memory"]) -> JSONResponse:
        answer: NotReady = {
            "status": "not ready",
            "name": self._runtime.name,
            "timestamp": int(time.time()),
            "reasons": [reason],
        }
        return JSONResponse(answer, status_code=503)
