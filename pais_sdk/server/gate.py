"""The gate: what a request passes before its handler, and whose sessions it then sees."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Literal, TypeAlias

from starlette.requests import HTTPConnection, Request
from starlette.responses import Response

from .._listen import is_loopback
from ..errors import ConfigurationError
from ..settings import Settings, variable_of
from .auth import ApiKeys, Authenticate, scope_from
from .body import discard_body
from .origins import Origins

_log = logging.getLogger("pais_sdk.server")
_SCOPE = "pais_sdk.scope"

Admits: TypeAlias = Literal["everyone", "keys", "hook"]
"""Everyone, who has a key, or whom the hook of the embedding app lets in."""

Handler = Callable[[Request], Awaitable[Response]]


class Gate:
    """Stands before every route but the probes, the card and the API's description.

    Args:
        settings: Its keys and origins.
        authenticate: In place of the keys of the settings.
    """

    def __init__(self, settings: Settings, authenticate: Authenticate | None) -> None:
        self.origins = Origins(settings)
        if authenticate is None:
            authenticate = ApiKeys.of(settings)
        else:
            unused = [name for name in ("agent_api_keys", "agent_api_keys_file") if getattr(settings, name) is not None]
            if unused:
                names = " and ".join(map(variable_of, unused))
                _log.warning("authenticate= is given: %s of the environment have no effect", names)
        self._authenticate = authenticate
        self._checks_host = False

    @property
    def admits(self) -> Admits:
        """Who may come in."""
        if self._authenticate is None:
            return "everyone"
        return "keys" if isinstance(self._authenticate, ApiKeys) else "hook"

    def listens_on(self, host: str) -> None:
        """Take note of where the server listens."""
        self._checks_host = is_loopback(host)

    def before(self, handler: Handler) -> Handler:
        """Return the handler of a route with the gate before it."""

        async def admitted(request: Request) -> Response:
            try:
                await self._admit(request)
            except Exception:
                await discard_body(request)
                raise
            return await handler(request)

        return admitted

    async def _admit(self, request: Request) -> None:
        # A page that knows a key was given it; without one, the browser would lend it whatever the user may do.
        if self.admits != "keys":
            if self._checks_host:
                self.origins.check_host(request)
            self.origins.check(request)
        if self._authenticate is not None:
            try:
                request.scope[_SCOPE] = await scope_from(self._authenticate, HTTPConnection(request.scope))
            except ConfigurationError as error:
                _log.error("%s", error)
                raise


def scope_of(request: Request) -> str | None:
    """Return the scope of the caller; None where there is no authentication."""
    return request.scope.get(_SCOPE)
