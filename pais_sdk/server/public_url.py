"""The URL under which others reach the agent."""

from __future__ import annotations

from starlette.requests import Request

from ..settings import Settings

_FORWARDED = ("X-Forwarded-Proto", "X-Forwarded-Host", "X-Forwarded-Prefix")


def public_url(request: Request, settings: Settings) -> str:
    """Return the URL under which others reach the agent, without a slash at its end."""
    if settings.agent_public_url is not None:
        return settings.agent_public_url.rstrip("/")
    scheme, host, prefix = request.url.scheme, request.url.netloc, request.scope.get("root_path", "")
    if settings.agent_trust_forwarded:
        headers = request.headers
        scheme = _first(headers.get("x-forwarded-proto")) or scheme
        host = _first(headers.get("x-forwarded-host")) or host
        stripped = _first(headers.get("x-forwarded-prefix")).strip("/")
        prefix = f"/{stripped}{prefix}" if stripped else prefix
    return f"{scheme}://{host}{prefix}".rstrip("/")


def headers_of_public_url(settings: Settings) -> tuple[str, ...]:
    """Return the names of the headers that `public_url` depends on."""
    if settings.agent_public_url is not None:
        return ()
    return ("Host", *_FORWARDED) if settings.agent_trust_forwarded else ("Host",)


def _first(value: str | None) -> str:
    return (value or "").split(",")[0].strip().rstrip("/")
