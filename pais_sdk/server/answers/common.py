"""The answers of all routes but the chat and the cards."""

from __future__ import annotations

from typing import Annotated, Any, Literal, NotRequired, TypeAlias

from pydantic import Field
from typing_extensions import TypedDict  # Pydantic needs this one on Python 3.11

ErrorType: TypeAlias = Literal[
    "invalid_request_error",
    "authentication_error",
    "session_busy",
    "cancelled",
    "max_steps",
    "rate_limit_exceeded",
    "upstream_error",
    "server_error",
    "memory_unavailable",
    "timeout",
]
Timestamp: TypeAlias = Annotated[int, Field(description="Seconds since 1970.")]
AgentName: TypeAlias = Annotated[str, Field(description="The agent's name.")]
SessionId: TypeAlias = Annotated[str, Field(description="1 to 128 characters of `A-Z a-z 0-9 . _ : -`.")]
PageSize: TypeAlias = Annotated[int, Field(ge=0, description="How many items this answer has.")]
NextCursor: TypeAlias = Annotated[
    str | None, Field(description="The `cursor` of the request for what follows; null at the end.")
]
ServerState: TypeAlias = Annotated[
    Literal["connecting", "ready", "down"],
    Field(description="`connecting`: not reached for the first time yet; `down`: tried again and again."),
]
ServerStates: TypeAlias = Annotated[list["MCPServerState"], Field(description="There where the agent has any.")]


class ErrorDetails(TypedDict):
    """What went wrong."""

    message: Annotated[str, Field(description="A sentence for people.")]
    type: ErrorType
    param: Annotated[str | None, Field(description="The field or parameter that is wrong.")]
    code: Annotated[
        str | None,
        Field(description="The `type`, or what is more exact: `unsupported_parameter`, `model_not_found`, ..."),
    ]


class Error(TypedDict):
    """The answer of every request that fails, and the last event of a stream that does."""

    error: ErrorDetails


class Model(TypedDict):
    """The agent as a model."""

    id: AgentName
    object: Literal["model"]
    created: Timestamp
    owned_by: str


class ModelList(TypedDict):
    """The one model that is served: the agent."""

    object: Literal["list"]
    data: list[Model]


class SessionList(TypedDict):
    """A page of session ids, the most recently used first."""

    agent: AgentName
    sessions: list[SessionId]
    total: PageSize
    next: NextCursor


class SessionDeleted(TypedDict):
    """A session is deleted."""

    agent: AgentName
    session_id: SessionId
    deleted: Literal[True]


class EventList(TypedDict):
    """A page of what happened, oldest first; `next` leads to older events."""

    agent: AgentName
    events: list[Event]
    total: PageSize
    next: NextCursor


class Event(TypedDict):
    """One thing that happened in a session."""

    event_id: str
    timestamp: Annotated[str, Field(json_schema_extra={"format": "date-time"})]
    event_type: Annotated[
        str,
        Field(
            description="`user_message`, `agent_response`, `tool_call`, `tool_result`, `delegation_request`, "
            "`delegation_response`, `error`, or a word of the agent's own."
        ),
    ]
    content: Annotated[Any, Field(description="Text; for tools an object with their name and their data.")]
    metadata: dict[str, Any]


class ToolList(TypedDict):
    """The tools, as the model sees them."""

    agent: AgentName
    tools: list[Tool]
    total: PageSize
    mcp_servers: NotRequired[Annotated[list[MCPServer], Field(description="There where the agent has any.")]]


class Tool(TypedDict):
    """One tool."""

    name: str
    description: str
    parameters_json_schema: Annotated[dict[str, Any], Field(description="The JSON Schema of its arguments.")]


class MCPServer(TypedDict):
    """An MCP server whose tools the agent uses."""

    name: str
    state: ServerState
    tools: Annotated[int, Field(ge=0, description="How many tools it offers now.")]
    error: Annotated[str | None, Field(description="Why it is down.")]


class Health(TypedDict):
    """The process answers."""

    status: Literal["healthy"]
    name: AgentName
    timestamp: Timestamp
    model: Annotated[Literal["ok", "degraded", "unknown"], Field(description="What the newest run found of the model.")]


class MCPServerState(TypedDict):
    """An MCP server, as everyone may know it."""

    name: str
    state: ServerState


class Ready(TypedDict):
    """Runs can be taken."""

    status: Literal["ready"]
    name: AgentName
    timestamp: Timestamp
    mcp_servers: NotRequired[ServerStates]


Reason: TypeAlias = Literal["draining", "memory", "mcp"]


class NotReady(TypedDict):
    """Runs cannot be taken now."""

    status: Literal["not ready"]
    name: AgentName
    timestamp: Timestamp
    reasons: Annotated[
        list[Reason],
        Field(
            description="`draining`: the server is about to stop; `memory`: the memory does not answer; `mcp`: an MCP "
            "server that the agent must have is not ready."
        ),
    ]
    mcp_servers: NotRequired[ServerStates]


class ApiDocument(TypedDict):
    """An OpenAPI document."""

    openapi: Literal["3.1.0"]
    info: dict[str, Any]
    servers: list[dict[str, Any]]
    security: NotRequired[list[dict[str, Any]]]
    tags: list[dict[str, Any]]
    paths: dict[str, Any]
    components: dict[str, Any]
