"""Agent cards, read leniently: a card that is odd in one place still tells the rest."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, TypeAlias

from .._whole_text import whole_text
from .agent_url import AgentUrl
from .json_values import list_in, mapping_in, text_in
from .values import RemoteCard, RemoteProtocol

CARD_PATHS = (".well-known/agent-card.json", ".well-known/agent.json")
"""Where cards are, the one of newer agents first."""

ProtocolChoice: TypeAlias = Literal["auto", "a2a", "chat"]
"""How an agent is spoken to: as its card says, or over A2A or chat completions whatever it says."""

_MAX_NAME = 256
_MAX_DESCRIPTION = 4000
_MAX_SKILLS = 200


def read_card(raw: Any, *, path: str, url: AgentUrl, choice: ProtocolChoice) -> RemoteCard:
    """Return what a card says.

    Args:
        raw: The card.
        path: Which one of `CARD_PATHS` it was at.
        url: Where the agent is. What the card says of that counts only where it agrees: cards name hosts that nobody
            can reach, or that somebody else owns.
        choice: How the caller wants to speak to it.
    """
    card = mapping_in(raw)
    protocol, said_url = _spoken(card, path)
    if choice == "chat":
        protocol = "chat"
    elif choice == "a2a" and protocol == "chat":
        protocol = "a2a-kaos" if path == CARD_PATHS[1] else "a2a-1.0"
    streaming = mapping_in(card.get("capabilities")).get("streaming")
    return RemoteCard(
        name=_words(card.get("name"), _MAX_NAME),
        description=_words(card.get("description"), _MAX_DESCRIPTION),
        url=said_url if protocol != "chat" and url.holds(said_url) else _default_url(url, protocol),
        protocol=protocol,
        # Every chat completions API streams; of A2A, KAOS's dialect cannot.
        streaming=streaming is not False if protocol == "chat" else streaming is True and protocol != "a2a-kaos",
        skills=tuple(_skills(card.get("skills"))),
    )


def card_without(url: AgentUrl, choice: ProtocolChoice) -> RemoteCard:
    """Return what holds of an agent that has no card."""
    protocol: RemoteProtocol = "a2a-1.0" if choice == "a2a" else "chat"
    return RemoteCard(
        name="", description="", url=_default_url(url, protocol), protocol=protocol, streaming=protocol == "chat"
    )


def _default_url(url: AgentUrl, protocol: RemoteProtocol) -> str:
    # What is mounted below a path, or behind a proxy's, redirects from there to the same with a slash.
    return url.base if protocol == "chat" else url.at("")


def _spoken(card: Mapping[str, Any], path: str) -> tuple[RemoteProtocol, str]:
    """Return the protocol that a card names, and the URL for it."""
    url = text_in(card.get("url"))
    preferred = text_in(card.get("preferredTransport"))
    if path == CARD_PATHS[0]:
        interfaces = [mapping_in(interface) for interface in list_in(card.get("supportedInterfaces"))]
        for interface in interfaces:
            version = text_in(interface.get("protocolVersion"))
            if interface.get("protocolBinding") == "JSONRPC" and not version.startswith("0."):
                return "a2a-1.0", text_in(interface.get("url"))
        if not text_in(card.get("protocolVersion")).startswith("0.3"):
            return "chat", url
        preferred = preferred or "JSONRPC"  # 0.3's default
    elif not preferred:
        speaks = "jsonrpc" in list_in(card.get("supportedProtocols"))
        return ("a2a-kaos" if speaks else "chat"), url
    if preferred == "JSONRPC":
        return "a2a-0.3", url
    for other in map(mapping_in, list_in(card.get("additionalInterfaces"))):
        if other.get("transport") == "JSONRPC":
            return "a2a-0.3", text_in(other.get("url"))
    return "chat", url


def _skills(raw: Any) -> list[str]:
    """Return the names of skills, whatever shape they have."""
    names: list[str] = []
    for item in list_in(raw)[:_MAX_SKILLS]:
        skill = mapping_in(item)
        said = text_in(item) or text_in(skill.get("name")) or text_in(skill.get("id"))
        if name := _words(said, _MAX_NAME):
            names.append(name)
    return names


def _words(raw: Any, max_characters: int) -> str:
    return whole_text(text_in(raw).strip()[:max_characters])
