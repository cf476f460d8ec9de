"""Which web pages may call: a browser sends what a page tells it to, also to a server on the same machine."""

from __future__ import annotations

from urllib.parse import urlsplit

from starlette.middleware.cors import CORSMiddleware
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp

from ..errors import ConfigurationError
from ..settings import Settings
from .errors import WireError, invalid

_SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
_READABLE = ("X-Session-ID", "Retry-After", "x-should-retry")


class Origins:
    """The origins of AGENT_CORS_ORIGINS, and the server's own.

    Raises:
        ConfigurationError: One of them is no origin.
    """

    def __init__(self, settings: Settings) -> None:
        self._allowed = [_origin(text) for text in (settings.agent_cors_origins or "").split(",") if text.strip()]
        self._public = urlsplit(settings.agent_public_url or "").netloc.lower()
        self._trusts_forwarded = settings.agent_trust_forwarded

    def with_cors(self, app: ASGIApp) -> ASGIApp:
        """Return an application that tells browsers which pages may read its answers; without origins, `app`."""
        if not self._allowed:
            return app
        return CORSMiddleware(
            app,
            allow_origins=self._allowed,
            allow_methods=["GET", "POST", "DELETE"],
            allow_headers=["*"],
            expose_headers=_READABLE,
        )

    def check(self, request: HTTPConnection) -> None:
        """Raise WireError where a page of another origin wants to change something and may not.

        CORS alone keeps such a page from reading the answer, not from sending a request without a preflight.
        """
        origin = request.headers.get("origin")
        if origin is None or request.scope["method"] in _SAFE_METHODS or "*" in self._allowed:
            return
        if origin.lower() in self._allowed:
            return
        host = urlsplit(origin).netloc.lower()
        if host and host in (self._host(request), self._public):
            return
        raise _refused()

    def _host(self, request: HTTPConnection) -> str:
        host = request.headers.get("host", "")
        if self._trusts_forwarded:
            host = request.headers.get("x-forwarded-host", host).split(",")[0].strip()
        return host.lower()


def _refused() -> WireError:
    message = "Web pages of this origin may not call the agent. Its operator can allow them with AGENT_CORS_ORIGINS."
    return invalid(message, code="origin_not_allowed", status=403)


def _origin(text: str) -> str:
    origin = text.strip().lower()
    parts = urlsplit(origin)
    if origin not in ("*", "null") and (not parts.netloc or origin != f"{parts.scheme}://{parts.netloc}"):
        raise ConfigurationError(
            f"AGENT_CORS_ORIGINS cannot be used: {text.strip()!r} is no origin; write scheme://host or scheme://host:port"
        )
    return origin
