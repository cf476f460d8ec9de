"""What the agent says about itself: its card, its tools, and itself as a model."""

from __future__ import annotations

import logging
import time
from typing import Any

import anyio
from pydantic_ai.tools import ToolDefinition
from starlette.requests import Request
from starlette.responses import JSONResponse

from ..runtime import AgentRuntime
from ..settings import Settings
from .answers.common import AgentCard, MCPServer, Model, ModelList, Skill, Tool, ToolList
from .errors import WireError, invalid

_log = logging.getLogger("pais_sdk.server")
_TOOLS_WAIT_S = 5.0


class AgentEndpoints:
    """GET /.well-known/agent.json, GET /tools, GET /v1/models and GET /v1/models/{id}."""

    def __init__(self, runtime: AgentRuntime[Any], settings: Settings) -> None:
        self._runtime = runtime
        self._settings = settings
        self._created = int(time.time())
        self._listed: list[ToolDefinition] = []

    async def card(self, request: Request) -> JSONResponse:
        """Describe the agent; where the tools cannot be listed now, with those that were listed last."""
        try:
            tools = await self._list_tools()
        except Exception:  # noqa: BLE001 - a toolset may raise anything, and the card must be given all the same
            tools = self._listed
            _log.warning(
                "the card is given with %d skills of before: no tools can be listed", len(tools), exc_info=True
            )
        skills: list[Skill] = [
            {"id": tool.name, "name": tool.name, "description": tool.description or ""} for tool in tools
        ]
        answer: AgentCard = {
            "name": self._runtime.name,
            "description": self._runtime.description,
            "url": public_url(request, self._settings),
            "capabilities": {"streaming": True, "stateTransitionHistory": False},
            "skills": skills,
        }
        return JSONResponse(answer)

    async def tools(self, request: Request) -> JSONResponse:
        """List the tools as the model sees them, and how the MCP servers are, where there are any."""
        try:
            listed = await self._list_tools()
        except TimeoutError:
            message = "The tools could not be listed in time: something that has them does not answer."
            raise WireError(status=503, type="server_error", message=message) from None
        tools: list[Tool] = [
            {
                "name": tool.name,
                "description": tool.description or "",
                "parameters_json_schema": tool.parameters_json_schema,
            }
            for tool in listed
        ]
        answer: ToolList = {"agent": self._runtime.name, "tools": tools, "total": len(tools)}
        servers: list[MCPServer] = [
            {"name": server.name, "state": server.state, "tools": server.tools, "error": server.error}
            for server in self._runtime.mcp_servers
        ]
        if servers:
            answer["mcp_servers"] = servers
        return JSONResponse(answer)

    async def _list_tools(self) -> list[ToolDefinition]:
        with anyio.fail_after(_TOOLS_WAIT_S):
            self._listed = await self._runtime.list_tools()
        return self._listed

    async def models(self, request: Request) -> JSONResponse:
        """List the one model that is served: the agent."""
        answer: ModelList = {"object": "list", "data": [self._model()]}
        return JSONResponse(answer)

    async def model(self, request: Request) -> JSONResponse:
        """Describe the agent as a model."""
        if request.path_params["model_id"] != self._runtime.name:
            message = f"there is no such model here; the agent is {self._runtime.name!r}"
            raise invalid(message, param="model", code="model_not_found", status=404)
        return JSONResponse(self._model())

    def _model(self) -> Model:
        return {"id": self._runtime.name, "object": "model", "created": self._created, "owned_by": "pais_sdk"}


def public_url(request: Request, settings: Settings) -> str:
    """Return the URL under which others reach the agent, without a slash at its end."""
    if settings.agent_public_url is not None:
        return settings.agent_public_url.rstrip("/")
    scheme, host, prefix = request.url.scheme, request.url.netloc, request.scope.get("root_path", "")
    if settings.agent_trust_forwarded:
        headers = request.headers
        scheme = _first(headers.get("x-forwarded-proto")) or scheme
        host = _first(headers.get("x-forwarded-host")) or host
        prefix = _first(headers.get("x-forwarded-prefix")) + prefix
    return f"{scheme}://{host}{prefix}".rstrip("/")


def _first(value: str | None) -> str:
    return (value or "").split(",")[0].strip().rstrip("/")
