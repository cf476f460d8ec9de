"""Other agents in the environment: names with their URLs in one variable, or names in one and URLs in further ones."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from urllib.parse import urlsplit, urlunsplit

from .._delegation_wire import LONGEST_AGENT_ID, is_agent_id
from .._http_url import is_http_url
from ..errors import ConfigurationError
from .environment import Settings
from .lists import items_of

_NOT_IN_VARIABLES = re.compile(r"[^A-Z0-9_]")
_NOT_IN_URLS = re.compile(r"[\s\\\x00-\x1f\x7f]")
_CARDS = ("/.well-known/agent-card.json", "/.well-known/agent.json", "/.well-known/agent")
_URL = "it must begin with http:// or https:// and name a host, and have neither a user, a space, `?` nor `#`"


@dataclass(frozen=True, kw_only=True)
class Peer:
    """An agent that the environment names."""

    url: str
    """Its base URL, without a slash at its end."""

    api_key: str | None = field(default=None, repr=False)
    """What it wants to be shown by those who call."""


def peer_agents(settings: Settings) -> dict[str, Peer]:
    """Return the agents of AGENT_SUB_AGENTS and PEER_AGENTS, by name, in this order.

    The URL of a peer `worker-a` is in PEER_AGENT_WORKER_A_CARD_URL: its base URL, as KAOS's operator writes it, or
    that of its card. PEER_AGENT_WORKER_A_API_KEY is its key, also where AGENT_SUB_AGENTS has its URL.

    Raises:
        ConfigurationError: An entry, a URL or a key cannot be used, a URL is missing, or a name has two of them.
    """
    urls: dict[str, tuple[str, str]] = {}  # and the variable that each came from
    for entry in items_of(settings.agent_sub_agents):
        name, url = _named(entry)
        _add(urls, name, url, "AGENT_SUB_AGENTS")
    for name in items_of(settings.peer_agents):
        variable, url = _card_url(name)
        _add(urls, name, url, variable)
    return {name: Peer(url=url, api_key=_api_key(name)) for name, (url, _) in urls.items()}


def identity_of(settings: Settings) -> str | None:
    """Return AGENT_IDENTITY; None where it is not set.

    Raises:
        ConfigurationError: It cannot be sent along with a task.
    """
    identity = (settings.agent_identity or "").strip()
    if identity and not is_agent_id(identity):
        raise ConfigurationError(
            f"AGENT_IDENTITY cannot be used: it must be at most {LONGEST_AGENT_ID} printable characters"
        )
    return identity or None


def _add(urls: dict[str, tuple[str, str]], name: str, url: str, variable: str) -> None:
    first, where = urls.setdefault(name, (url, variable))
    if first != url:
        places = where if where == variable else f"{where} and {variable}"
        raise ConfigurationError(f"{places} cannot be used: the agent {name!r} has two different URLs; rename one")


def _named(entry: str) -> tuple[str, str]:
    """Return the name and the URL of an entry `name:url`; what is not one may hold a secret, and is not quoted."""
    name, separator, url = (part.strip() for part in entry.partition(":"))
    if not name or not separator or url.startswith("//"):
        raise ConfigurationError("AGENT_SUB_AGENTS cannot be used: write it as name:url,name:url")
    return name, _base_url(url, f"AGENT_SUB_AGENTS cannot be used: the URL of {name!r} is wrong")


def _card_url(name: str) -> tuple[str, str]:
    variable = _variable_of(name, "CARD_URL")
    url = os.environ.get(variable, "").strip()
    if not url:
        spellings = " or ".join(_variables(name, "CARD_URL"))
        raise ConfigurationError(f"PEER_AGENTS names {name!r}, and its URL is missing: set {spellings}")
    return variable, _base_url(url, f"{variable} cannot be used")


def _base_url(url: str, wrong: str) -> str:
    if not is_http_url(url):
        raise ConfigurationError(f"{wrong}: {_URL}")
    parts = urlsplit(url)
    if "@" in parts.netloc or parts.query or parts.fragment or _NOT_IN_URLS.search(url):
        raise ConfigurationError(f"{wrong}: {_URL}")
    path = parts.path.rstrip("/")
    path = next((path.removesuffix(card) for card in _CARDS if path.endswith(card)), path)
    return urlunsplit(parts._replace(path=path.rstrip("/")))


def _api_key(name: str) -> str | None:
    variable = _variable_of(name, "API_KEY")
    key = os.environ.get(variable, "").strip()  # those that come from files end with a line break as a rule
    if not (key.isascii() and key.isprintable()):
        raise ConfigurationError(f"{variable} cannot be used: it has a character that no header may have")
    return key or None


def _variable_of(name: str, what: str) -> str:
    variables = _variables(name, what)
    return next((variable for variable in variables if os.environ.get(variable, "").strip()), variables[0])


def _variables(name: str, what: str) -> list[str]:
    """Return the spellings of a variable: that of KAOS's operator, and one that a shell can set."""
    upper = name.upper().replace("-", "_")
    return list(dict.fromkeys(f"PEER_AGENT_{text}_{what}" for text in (upper, _NOT_IN_VARIABLES.sub("_", upper))))
