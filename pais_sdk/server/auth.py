"""Who may call: keys, or a hook of the embedding app; each caller has a scope, the namespace of its sessions."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Awaitable, Callable
from inspect import isawaitable
from pathlib import Path
from typing import Self, TypeAlias

from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection

from ..errors import ConfigurationError
from ..settings import Settings
from .errors import WireError

Authenticate: TypeAlias = Callable[[HTTPConnection], str | Awaitable[str | None] | None]
"""Takes a request without its body and returns the caller's scope, or None where the caller may not come in."""

_NAME = re.compile(r"[A-Za-z0-9._:@-]{1,128}")
_KEY = re.compile(r"[!-+\--~]+")  # printable ASCII without space and comma
_MAX_SCOPE = 256


class ApiKeys:
    """The keys that are known, by their digests only: the keys themselves are not kept.

    Args:
        scopes: From the SHA-256 digest of a key to its scope.
    """

    def __init__(self, scopes: dict[bytes, str]) -> None:
        self._scopes = scopes

    @classmethod
    def of(cls, settings: Settings) -> Self | None:
        """Return the keys of AGENT_API_KEYS and AGENT_API_KEYS_FILE; None where neither is set.

        Raises:
            ConfigurationError: One cannot be used; the text says which by its place, never by what it is.
        """
        scopes: dict[bytes, str] = {}
        if settings.agent_api_keys is not None:
            _add(scopes, settings.agent_api_keys.get_secret_value().split(","), "AGENT_API_KEYS")
        if settings.agent_api_keys_file is not None:
            _add(scopes, _entries_of(settings.agent_api_keys_file), "AGENT_API_KEYS_FILE")
        elif settings.agent_api_keys is None:
            return None
        return cls(scopes)

    def __call__(self, request: HTTPConnection) -> str | None:
        """Return the scope of the key that a request carries; None where it has none, or one that is not known."""
        key = _key_of(request)
        return None if key is None else self.scope_of(key)

    def scope_of(self, key: bytes) -> str | None:
        """Return the scope of a key, in a time that does not depend on which one it is or how much of it is right."""
        digest = hashlib.sha256(key).digest()
        found: str | None = None
        for known, scope in self._scopes.items():
            if hmac.compare_digest(known, digest):
                found = scope
        return found


async def scope_from(authenticate: Authenticate, request: HTTPConnection) -> str:
    """Return the scope that `authenticate` gives a request.

    Raises:
        WireError: It gives none (401).
        ConfigurationError: It gives something that is no scope.
    """
    try:
        answer = authenticate(request)
        scope = await answer if isawaitable(answer) else answer
    except HTTPException as error:  # how handlers of FastAPI and Starlette say it
        if error.status_code not in (401, 403):
            raise ConfigurationError(
                f"authenticate may refuse with 401 or 403, not with {error.status_code}"
            ) from error
        scope = None
    if scope is None:
        raise WireError(
            status=401,
            type="authentication_error",
            message="A valid key is missing. Send it as 'Authorization: Bearer KEY' or as 'X-API-Key: KEY'."
            if isinstance(authenticate, ApiKeys)
            else "You may not call this agent: the request does not say who you are, or in a way that is not known.",
        )
    if not (isinstance(scope, str) and 0 < len(scope) <= _MAX_SCOPE and scope.isprintable()):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise ConfigurationError(
            f"authenticate must return a scope of 1 to {_MAX_SCOPE} printable characters, or None; it "
            f"returned another {type(scope).__name__}"
        )
    return scope


def _key_of(request: HTTPConnection) -> bytes | None:
    # The header of our own comes first: a gateway may have put its own token into the other one.
    headers = request.headers
    key = headers.get("x-api-key")
    if key is None:
        scheme, _, key = headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            return None
    return key.strip().encode("latin-1")


def _entries_of(path: str) -> list[str]:
    try:
        lines = Path(path).read_text("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not in UTF-8"
        raise ConfigurationError(f"AGENT_API_KEYS_FILE cannot be read: {path!r}: {why}") from None
    return [entry for line in lines if not line.lstrip().startswith("#") for entry in line.split(",")]


def _add(scopes: dict[bytes, str], entries: list[str], variable: str) -> None:
    given = [entry.strip() for entry in entries if entry.strip()]
    if not given:
        raise ConfigurationError(f"{variable} is set but has no key in it; write name=key, or unset it")
    for place, entry in enumerate(given, start=1):
        digest, scope = _parsed(entry, f"entry {place} of {variable}")
        if scopes.setdefault(digest, scope) != scope:
            raise ConfigurationError(f"entry {place} of {variable} is a key that has another name already")


def _parsed(entry: str, where: str) -> tuple[bytes, str]:
    name, separator, key = (part.strip() for part in entry.partition("="))
    if not separator:
        name, key = "", entry
    elif not key.strip("="):
        raise ConfigurationError(f"{where} has a name and no key; give a key that ends with '=' a name: name=key")
    elif not _NAME.fullmatch(name):
        raise ConfigurationError(f"{where} has a name that cannot be used; use 1 to 128 of A-Z a-z 0-9 . _ : @ -")
    if not _KEY.fullmatch(key):
        raise ConfigurationError(f"{where} has a key that no header can carry; use printable ASCII without spaces")
    digest = hashlib.sha256(key.encode()).digest()
    return digest, name or digest.hex()[:16]
