"""What the agent says about itself: its cards, its tools, and itself as a model."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import anyio
from pydantic_ai.tools import ToolDefinition
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from .a2a.cards import CardFacts, card_0_3, card_1_0, facts_of, plain_card
from .answers.cards import A2ACard, AgentCard
from .answers.common import MCPServer, Model, ModelList, Tool, ToolList
from .errors import WireError, invalid
from .kept_answer import kept_answer
from .public_url import headers_of_public_url, public_url

if TYPE_CHECKING:
    from .app import AgentServer

_log = logging.getLogger("pais_sdk.server")
_TOOLS_WAIT_S = 5.0


class AgentEndpoints:
    """The agent's two cards, GET /tools, GET /v1/models and GET /v1/models/{id}."""

    def __init__(self, server: AgentServer) -> None:
        self._server = server
        self._runtime = server.runtime
        self._created = int(time.time())
        self._listed: list[ToolDefinition] = []
        self._told: tuple[CardFacts, float] | None = None

    async def card(self, request: Request) -> Response:
        """Give agent.json: of A2A 0.3 and KAOS."""
        return await self._card(request, card_0_3 if self._server.a2a_on else plain_card)

    async def a2a_card(self, request: Request) -> Response:
        """Give agent-card.json: of A2A 1.0. Where A2A is off, this is a path like any unknown one."""
        if not self._server.a2a_on:
            raise HTTPException(404)
        return await self._card(request, card_1_0)

    async def _card(self, request: Request, made: Callable[[CardFacts, str], AgentCard | A2ACard]) -> Response:
        """Give a card; where the tools cannot be listed now, with those that were listed last."""
        settings = self._server.settings
        try:
            tools, keep = await self._list_tools(), "public, max-age=60"
        except Exception:  # noqa: BLE001 - a toolset may raise anything, and the card must be given all the same
            tools, keep = self._listed, "no-cache"
            _log.warning(
                "the card is given with %d skills of before: no tools can be listed", len(tools), exc_info=True
            )
        facts = facts_of(self._server, tools)
        return kept_answer(
            request,
            JSONResponse(made(facts, public_url(request, settings))),
            changed_at=self._changed_at(facts),
            cache_control=keep,
            vary=headers_of_public_url(settings),
        )

    def _changed_at(self, facts: CardFacts) -> float:
        if self._told is None or self._told[0] != facts:
            self._told = facts, time.time()
        return self._told[1]

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
