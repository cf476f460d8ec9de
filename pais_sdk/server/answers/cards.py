"""The agent's cards: that of A2A 1.0, and that of A2A 0.3 with KAOS's fields."""

from __future__ import annotations

from typing import Annotated, Literal, NotRequired, TypeAlias

from pydantic import Field
from typing_extensions import TypedDict  # Pydantic needs this one on Python 3.11

from .common import AgentName

MediaTypes: TypeAlias = Annotated[list[str], Field(description="Media types.")]


class AgentCard(TypedDict):
    """What the agent says about itself: where A2A is on, a card of A2A 0.3 with KAOS's fields."""

    name: AgentName
    description: str
    url: Annotated[str, Field(description="Where others reach the agent.")]
    supportedProtocols: Annotated[
        list[Literal["jsonrpc"]],
        Field(description="KAOS's field: empty where A2A is off. All that follow 0.3 have it."),
    ]
    capabilities: Capabilities
    skills: Annotated[
        list[Skill], Field(description="Its tools; those that were listed last, where they cannot be listed now.")
    ]
    version: NotRequired[Annotated[str, Field(description="This and the following are there where A2A is on.")]]
    protocolVersion: NotRequired[Literal["0.3.0"]]
    defaultInputModes: NotRequired[MediaTypes]
    defaultOutputModes: NotRequired[MediaTypes]
    securitySchemes: NotRequired[
        Annotated[dict[str, SecurityScheme], Field(description="There where a key is needed, as `security`.")]
    ]
    security: NotRequired[list[dict[str, list[str]]]]


class Capabilities(TypedDict):
    """What the agent can do on the wire."""

    streaming: bool
    pushNotifications: NotRequired[bool]
    stateTransitionHistory: Annotated[bool, Field(description="Whether there are A2A tasks.")]


class Skill(TypedDict):
    """A tool, as the card shows it."""

    id: str
    name: str
    description: str
    tags: NotRequired[list[str]]
    inputModes: NotRequired[MediaTypes]
    outputModes: NotRequired[MediaTypes]


SecurityScheme = TypedDict(
    "SecurityScheme",
    {
        "type": Literal["http", "apiKey"],
        "scheme": NotRequired[str],
        "in": NotRequired[Literal["header"]],
        "name": NotRequired[str],
    },
)
"""How a caller says who it is, as OpenAPI has it."""


class A2ACard(TypedDict):
    """The agent's card, as A2A 1.0 has it."""

    name: AgentName
    description: str
    supportedInterfaces: list[A2AInterface]
    version: str
    capabilities: A2ACapabilities
    defaultInputModes: MediaTypes
    defaultOutputModes: MediaTypes
    skills: Annotated[list[A2ASkill], Field(description="Its tools; an agent without any has the skill `chat`.")]
    securitySchemes: NotRequired[
        Annotated[
            dict[str, A2ASecurityScheme], Field(description="There where a key is needed, as `securityRequirements`.")
        ]
    ]
    securityRequirements: NotRequired[list[A2ASecurityRequirement]]


class A2AInterface(TypedDict):
    """Where and how tasks are sent."""

    url: str
    protocolBinding: Literal["JSONRPC"]
    protocolVersion: Literal["1.0"]


class A2ACapabilities(TypedDict):
    """What of A2A's optional parts there is."""

    streaming: bool
    pushNotifications: bool
    extendedAgentCard: bool


class A2ASkill(TypedDict):
    """Something that the agent can do."""

    id: str
    name: str
    description: str
    tags: list[str]


class A2ABearer(TypedDict):
    """`Authorization: Bearer KEY`."""

    scheme: Literal["Bearer"]


class A2AApiKey(TypedDict):
    """A header that holds the key."""

    location: Literal["header"]
    name: str


class A2ASecurityScheme(TypedDict):
    """One of the two."""

    httpAuthSecurityScheme: NotRequired[A2ABearer]
    apiKeySecurityScheme: NotRequired[A2AApiKey]


class A2AScopes(TypedDict):
    """The scopes that are asked for: none."""

    list: list[str]


class A2ASecurityRequirement(TypedDict):
    """One way to be let in."""

    schemes: dict[str, A2AScopes]
