"""Where an agent is."""

from __future__ import annotations

import httpx2

from .._http_url import is_http_url
from ..errors import ConfigurationError

_ENDINGS = ("/.well-known/agent-card.json", "/.well-known/agent.json", "/v1")


class AgentUrl:
    """The base URL of an agent.

    Args:
        url: Where its routes are; that of its card, and one that ends in `/v1`, are cut off there.

    Raises:
        ConfigurationError: It cannot be used.
    """

    def __init__(self, url: str) -> None:
        scheme, slashes, rest = url.strip().partition("://")
        rest = rest.rstrip("/")
        for ending in _ENDINGS:
            rest = rest.removesuffix(ending).rstrip("/")
        self.base = base = f"{scheme}{slashes}{rest}"
        parts = _parsed(base)
        if parts is None or not is_http_url(base):
            raise ConfigurationError(
                "the URL of a remote agent must begin with http:// or https://, and have a host and a port that can "
                "be, as in http://worker:8000"
            )
        if parts.userinfo:
            raise ConfigurationError("the URL of a remote agent must hold no user and no password; use api_key")
        if "?" in base or "#" in base:
            raise ConfigurationError("the URL of a remote agent must end with its path, without `?` and `#`")
        self._parts = parts
        self.label = rest
        """How texts for people and models name it."""

    def at(self, path: str) -> str:
        """Return the URL of a path below it."""
        return f"{self.base}/{path}"

    def holds(self, url: str) -> bool:
        """Return whether a URL has the same origin, and a path that is this one's or below it.

        Read by what sends the requests, so that both understand the same.
        """
        parts = _parsed(url)
        if parts is None or parts.userinfo or parts.fragment or ".." in parts.path:
            return False
        if (parts.scheme, parts.host, parts.port) != (self._parts.scheme, self._parts.host, self._parts.port):
            return False
        return f"{parts.path}/".startswith(f"{self._parts.path.rstrip('/')}/")


def _parsed(url: str) -> httpx2.URL | None:
    try:
        return httpx2.URL(url) if url.isprintable() and "\\" not in url and " " not in url else None
    except (httpx2.InvalidURL, ValueError):
        return None
