"""GET /health and GET /ready."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import anyio
from starlette.requests import Request
from starlette.responses import JSONResponse

from ..errors import PaisError
from .answers.common import Health, MCPServerState, NotReady, Ready, Reason

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
        """Say whether runs can be taken: 200, or 503 with the reasons; and how the MCP servers are, if there are any.

        Of those it tells no more than name and state, for everyone may ask.
        """
        reasons: list[Reason] = []
        if self._server.stopping:
            reasons.append("draining")
        elif not await self._memory_answers():
            reasons.append("memory")
        servers = self._runtime.mcp_servers
        told: list[MCPServerState] = [{"name": server.name, "state": server.state} for server in servers]
        if any(server.required and server.state != "ready" for server in servers):
            reasons.append("mcp")
        name, timestamp = self._runtime.name, int(time.time())
        answer: Ready | NotReady
        if reasons:
            answer = {"status": "not ready", "name": name, "timestamp": timestamp, "reasons": reasons}
        else:
            answer = {"status": "ready", "name": name, "timestamp": timestamp}
        if told:
            answer["mcp_servers"] = told
        return JSONResponse(answer, status_code=503 if reasons else 200)

    async def _memory_answers(self) -> bool:
        try:
            with anyio.fail_after(_MEMORY_WAIT_S):
                await self._runtime.call(self._runtime.memory.check)
        except (PaisError, TimeoutError):
            return False
        return True
