"""The agent's two cards, as JSON."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from pydantic_ai.tools import ToolDefinition

from ..._whole_text import whole_text
from ...events import delegated_agent
from ..answers.cards import A2ACard, A2ASkill, AgentCard, Skill
from .media_types import INPUT_MODES

if TYPE_CHECKING:
    from ..app import AgentServer

_ASKED = ["text/plain", "application/json"]
"""How a skill is asked for; a file is something for the agent to look at."""


@dataclass(frozen=True, slots=True)
class Ability:
    """A tool, as far as cards tell of it."""

    name: str
    description: str
    tag: str


@dataclass(frozen=True, kw_only=True)
class CardFacts:
    """What the cards are made of, beside the URL: whoever asks, it is the same."""

    name: str
    description: str
    abilities: tuple[Ability, ...]
    speaks_text: bool
    """Whether its answers are words; else they are JSON, which is text and data."""

    with_keys: bool
    """Whether a caller needs one of AGENT_API_KEYS."""


def facts_of(server: AgentServer, tools: Iterable[ToolDefinition] = ()) -> CardFacts:
    """Return what the cards of a server are made of, with these tools."""
    return CardFacts(
        name=whole_text(server.runtime.name),  # an environment that is not UTF-8 brings half characters
        description=whole_text(server.runtime.description),
        abilities=tuple(_ability(tool) for tool in tools),
        speaks_text=server.runtime.arguments.speaks_text,
        with_keys=server.gate.admits == "keys",
    )


def _ability(tool: ToolDefinition) -> Ability:
    return Ability(
        tool.name,
        whole_text(tool.description or ""),
        "tool" if delegated_agent(tool.tool_kind) is None else "delegation",
    )


def plain_card(facts: CardFacts, url: str) -> AgentCard:
    """Return agent.json of an agent that does not serve A2A: it must not look like a card of 0.3."""
    return {
        "name": facts.name,
        "description": facts.description,
        "url": url,
        "supportedProtocols": [],
        "capabilities": {"streaming": True, "stateTransitionHistory": False},
        "skills": [_skill(ability) for ability in facts.abilities],
    }


def card_0_3(facts: CardFacts, url: str) -> AgentCard:
    """Return agent.json: the fields of 0.3, and those that KAOS's agents look for.

    It names no `preferredTransport`: what 0.3 takes then is JSON-RPC, and with `supportedProtocols` it is KAOS's card.
    Its URL is where 0.3 sends tasks: of a mounted app, that is the one with the slash.
    """
    output = _output(facts)
    card: AgentCard = {
        **plain_card(facts, f"{url}/" if urlsplit(url).path else url),
        "version": _version(),
        "protocolVersion": "0.3.0",
        "supportedProtocols": ["jsonrpc"],
        "capabilities": {"streaming": True, "pushNotifications": False, "stateTransitionHistory": True},
        "defaultInputModes": [*INPUT_MODES],
        "defaultOutputModes": output,
        "skills": [
            {**_skill(ability), "tags": [ability.tag], "inputModes": _ASKED, "outputModes": output}
            for ability in facts.abilities
        ],
    }
    if facts.with_keys:
        card["securitySchemes"] = {
            "bearer": {"type": "http", "scheme": "Bearer"},
            "apiKey": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
        }
        card["security"] = [{"bearer": []}, {"apiKey": []}]
    return card


def card_1_0(facts: CardFacts, url: str) -> A2ACard:
    """Return agent-card.json. The specification wants every text and list in it to have something in it."""
    card: A2ACard = {
        "name": facts.name,
        "description": facts.description or f"The agent {facts.name}.",
        # Without the slash the parent of a mounted app would answer POST with a redirect.
        "supportedInterfaces": [{"url": f"{url}/", "protocolBinding": "JSONRPC", "protocolVersion": "1.0"}],
        "version": _version(),
        "capabilities": {"streaming": True, "pushNotifications": False, "extendedAgentCard": False},
        "defaultInputModes": [*INPUT_MODES],
        "defaultOutputModes": _output(facts),
        "skills": [_a2a_skill(ability) for ability in facts.abilities] or [_CHAT],
    }
    if facts.with_keys:
        card["securitySchemes"] = {
            "bearer": {"httpAuthSecurityScheme": {"scheme": "Bearer"}},
            "apiKey": {"apiKeySecurityScheme": {"location": "header", "name": "X-API-Key"}},
        }
        card["securityRequirements"] = [{"schemes": {name: {"list": []}}} for name in card["securitySchemes"]]
    return card


_CHAT: A2ASkill = {"id": "chat", "name": "chat", "description": "Answers in words.", "tags": ["chat"]}


def _output(facts: CardFacts) -> list[str]:
    return ["text/plain"] if facts.speaks_text else ["text/plain", "application/json"]


def _skill(ability: Ability) -> Skill:
    return {"id": ability.name, "name": ability.name, "description": ability.description}


def _a2a_skill(ability: Ability) -> A2ASkill:
    description = ability.description or f"The tool {ability.name}."
    return {"id": ability.name, "name": ability.name, "description": description, "tags": [ability.tag]}


@cache
def _version() -> str:
    return version("pais-sdk")
