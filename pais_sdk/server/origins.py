"""Which web pages may call: a browser sends what a page tells it to, also to a server on the same machine."""

from __future__ import annotations

from urllib.parse import SplitResult, urlsplit

from starlette.middleware.cors import CORSMiddleware
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp

from .._listen import address_of, is_loopback
from ..errors import ConfigurationError
from ..settings import Settings
from .errors import invalid

_SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
_READABLE = ("X-Session-ID", "Retry-After", "x-should-retry")


class Origins:
    """The origins of AGENT_CORS_ORIGINS, and the server's own.

    Raises:
        ConfigurationError: One of them is no origin.
    """

    def __init__(self, settings: Settings) -> None:
        self._allowed = [_origin(text) for text in (settings.agent_cors_origins or "").split(",") if text.strip()]
        public = _split(settings.agent_public_url or "")
        self._public, self._public_name = public.netloc, public.hostname
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
        host = _split(origin).netloc
        if host and host in (self._host(request), self._public):
            return
        message = (
            "Web pages of this origin may not call the agent. Its operator can allow them with AGENT_CORS_ORIGINS."
        )
        raise invalid(message, code="origin_not_allowed", status=403)

    def check_host(self, request: HTTPConnection) -> None:
        """Raise WireError where a server for its own machine only is called by a name that is not the machine's.

        Such a name belongs to somebody else, who may have led it here: to the browser, a page of theirs is then of
        the server's own origin, and may read its answers.
        """
        name = _split(f"//{self._host(request)}").hostname or ""
        if self._trusts_forwarded or not name or name == self._public_name:
            return
        if is_loopback(name) or address_of(name) is not None:
            return
        message = (
            "This server listens for its own machine only, and the request names another host. Its operator can "
            "give the name with AGENT_PUBLIC_URL, or trust a proxy with AGENT_TRUST_FORWARDED."
        )
        raise invalid(message, code="host_not_allowed", status=403)

    def _host(self, request: HTTPConnection) -> str:
        host = request.headers.get("host", "")
        if self._trusts_forwarded:
            host = request.headers.get("x-forwarded-host", host).split(",")[0].strip()
        return host.lower()


def _split(url: str) -> SplitResult:
    try:
        return urlsplit(url.lower())
    except ValueError:  # brackets that are none of an address: nobody's name
        return urlsplit("")


def _origin(text: str) -> str:
    origin = text.strip().lower()
    parts = _split(origin)
    if origin not in ("*", "null") and (
        not parts.netloc or "*" in origin or origin != f"{parts.scheme}://{parts.netloc}"
    ):
        raise ConfigurationError(
            f"AGENT_CORS_ORIGINS cannot be used: {text.strip()!r} is no origin; write scheme://host or scheme://host:port"
        )
    return origin
