"""GET /health and GET /ready."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import anyio
from starlette.requests import Request
from starlette.responses import JSONResponse

from ..errors import PaisError

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
        return JSONResponse(
            {
                "status": "healthy",
                "name": self._runtime.name,
                "timestamp": int(time.time()),
                "model": self._runtime.model_status,
            }
        )

    async def ready(self, request: Request) -> JSONResponse:
        """Say whether runs can be taken: 200, or 503 with the reasons."""
        body: dict[str, Any] = {"status": "ready", "name": self._runtime.name, "timestamp": int(time.time())}
        if self._server.stopping:
            return JSONResponse({**body, "status": "not ready", "reasons": ["draining"]}, status_code=503)
        try:
            with anyio.fail_after(_MEMORY_WAIT_S):
                await self._runtime.call(self._runtime.memory.check)
        except (PaisError, TimeoutError):
            return JSONResponse({**body, "status": "not ready", "reasons": ["memory"]}, status_code=503)
        return JSONResponse(body)
