"""The routes, as the description of the API tells them; a test compares them with those of the application."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..answers.a2a import RpcAnswer, RpcRequest
from ..answers.cards import A2ACard, AgentCard
from ..answers.chat import ChatCompletion
from ..answers.common import (
    ApiDocument,
    EventList,
    Health,
    Model,
    ModelList,
    NotReady,
    Ready,
    SessionDeleted,
    SessionList,
    ToolList,
)
from ..chat_request import ChatRequest
from .operation import Operation
from .schemas import SESSION_ID, Schema


def _in_query(name: str, description: str, schema: Schema) -> Mapping[str, Any]:
    return {"name": name, "in": "query", "description": description, "schema": schema}


_LIMIT = _in_query(
    "limit",
    "The most items to return; of more than 1000, 1000 are returned.",
    {"type": "integer", "minimum": 1, "maximum": 999_999_999, "default": 100},
)
_CURSOR = _in_query("cursor", "The `next` of the page before.", {"type": "string"})

OPERATIONS = (
    Operation(
        id="createChatCompletion",
        method="post",
        path="/v1/chat/completions",
        tag="Chat",
        summary="Run the agent once",
        description="OpenAI's chat API. With `stream`, the answer comes as server-sent events.",
        parameters=(
            {
                "name": "X-Session-ID",
                "in": "header",
                "description": "The session; wins over the body's `session_id`. Empty is the same as none.",
                "schema": {"type": "string", "pattern": "^[A-Za-z0-9._:-]{0,128}$"},
            },
        ),
        body=ChatRequest,
        example={"messages": [{"role": "user", "content": "What can you do?"}], "stream": False},
        answer=ChatCompletion,
        makes_runs=True,
        errors={
            400: "The body is not a JSON object, a field is wrong, there is no user message, or the session id is not "
            "valid: `param` names it. `unsupported_parameter`: a field asks for what this server does not do.",
            409: "`session_busy`: another run holds the session. `cancelled`: the run was cancelled.",
            413: None,
            422: None,
            429: None,
            502: None,
            503: "`server_error`: the server is about to stop. `memory_unavailable`: the memory does not answer, or "
            "could not store the run.",
            504: None,
        },
    ),
    Operation(
        id="listModels",
        path="/v1/models",
        tag="Models",
        summary="List the one model that is served: the agent",
        answer=ModelList,
    ),
    Operation(
        id="getModel",
        path="/v1/models/{model_id}",
        tag="Models",
        summary="Describe the agent as a model",
        parameters=(
            {
                "name": "model_id",
                "in": "path",
                "required": True,
                "description": "The agent's name; slashes in it may stay as they are.",
                "schema": {"type": "string"},
            },
        ),
        answer=Model,
        errors={404: "`model_not_found`: the agent has another name."},
    ),
    Operation(
        id="listSessions",
        path="/memory/sessions",
        tag="Sessions",
        summary="List the stored sessions, the most recently used first",
        parameters=(_LIMIT, _CURSOR),
        answer=SessionList,
        errors={400: "`limit` or `cursor` is wrong; `param` says which.", 503: None},
    ),
    Operation(
        id="deleteSession",
        method="delete",
        path="/memory/sessions/{session_id}",
        tag="Sessions",
        summary="Delete a session; what runs in it is cancelled first",
        parameters=({"name": "session_id", "in": "path", "required": True, "schema": SESSION_ID},),
        answer=SessionDeleted,
        errors={
            400: "The session id is not valid.",
            404: "`session_not_found`: there is no such session.",
            409: "`session_busy`: a run in the session did not end in time.",
            503: None,
        },
    ),
    Operation(
        id="listEvents",
        path="/memory/events",
        tag="Sessions",
        summary="List what happened, the newest events, oldest first",
        parameters=(_in_query("session_id", "Of this session; of all without it.", SESSION_ID), _LIMIT, _CURSOR),
        answer=EventList,
        errors={400: "`session_id`, `limit` or `cursor` is wrong; `param` says which.", 503: None},
    ),
    Operation(
        id="listTools",
        path="/tools",
        tag="Agent",
        summary="List the tools, as the model sees them",
        answer=ToolList,
        errors={
            503: "`server_error`: the tools could not be listed in time. `memory_unavailable`: the memory does not "
            "answer.",
        },
    ),
    Operation(
        id="callA2A",
        method="post",
        path="/",
        tag="Agent",
        summary="Give the agent a task by A2A, or ask for one",
        description="JSON-RPC of A2A 1.0, 0.3 or KAOS. A call that fails is answered with 200 and an `error`.",
        parameters=(
            {
                "name": "A2A-Version",
                "in": "header",
                "description": "The version that the method is of; needed for those of 1.0.",
                "schema": {"type": "string", "enum": ["1.0", "0.3"]},
            },
        ),
        body=RpcRequest,
        body_notes="JSON in UTF-8; the request's `Content-Type` must say that it is JSON.",
        example={
            "jsonrpc": "2.0",
            "id": 1,
            "method": "SendMessage",
            "params": {
                "message": {"role": "ROLE_USER", "messageId": "m1", "parts": [{"text": "What can you do?"}]},
            },
        },
        answer=RpcAnswer,
        streams=True,
        is_a2a=True,
        errors={
            400: "A header of a delegation makes no sense: `param` names it.",
            413: None,
            503: "`server_error`: the server is about to stop and takes no new task.",
        },
    ),
    Operation(
        id="getCard",
        path="/.well-known/agent.json",
        tag="Agent",
        summary="Read the agent's card",
        description="Of A2A 0.3, with KAOS's fields; where A2A is off it says so and is no card of 0.3.",
        answer=AgentCard,
        is_kept=True,
        is_open=True,
    ),
    Operation(
        id="getA2ACard",
        path="/.well-known/agent-card.json",
        tag="Agent",
        summary="Read the agent's card of A2A 1.0",
        answer=A2ACard,
        is_kept=True,
        errors={404: "A2A is off."},
        is_open=True,
    ),
    Operation(
        id="getHealth",
        path="/health",
        tag="Probes",
        summary="Ask whether the process answers",
        answer=Health,
        is_open=True,
    ),
    Operation(
        id="getReadiness",
        path="/ready",
        tag="Probes",
        summary="Ask whether runs can be taken",
        answer=Ready,
        failed=NotReady,
        is_open=True,
    ),
    Operation(
        id="getDescription",
        path="/openapi.json",
        tag="Description",
        summary="Read this description as an OpenAPI document",
        answer=ApiDocument,
        is_open=True,
    ),
    Operation(
        id="getReference",
        path="/docs",
        tag="Description",
        summary="Read this description as a page",
        answer="text/html",
        is_open=True,
    ),
)
