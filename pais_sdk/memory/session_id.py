"""Session ids: which ones are valid, new ones, and how a scope is a namespace for them."""

from __future__ import annotations

import re
import uuid

from ..errors import InvalidRequestError, InvalidSessionIdError

_VALID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_LONGEST_SCOPE = 256
_SEPARATOR = "/"  # never part of a session id, so the last one always ends the scope


def new_session_id() -> str:
    """Return a random session id (a UUID4)."""
    return str(uuid.uuid4())


def check_session_id(session_id: object) -> str:
    """Return `session_id`, or raise InvalidSessionIdError where it is not 1 to 128 of `[A-Za-z0-9._:-]`."""
    if isinstance(session_id, str) and _VALID.fullmatch(session_id):
        return session_id
    raise InvalidSessionIdError(session_id)


def check_scope(scope: str) -> str:
    """Return `scope`, or raise InvalidRequestError where no store can tell it from others."""
    if len(scope) > _LONGEST_SCOPE or "\0" in scope or any("\ud800" <= character <= "\udfff" for character in scope):
        raise InvalidRequestError(
            f"a scope has at most {_LONGEST_SCOPE} characters, none of them NUL or half of one", param="scope"
        )
    return scope


def to_internal(scope: str | None, session_id: str) -> str:
    """Return the id under which a store keeps a session of a scope; without a scope, the id itself."""
    return session_id if scope is None else f"{scope}{_SEPARATOR}{session_id}"


def from_internal(internal_id: str) -> str:
    """Return the session id of an id that `to_internal` made."""
    return internal_id.rpartition(_SEPARATOR)[2]


def scope_of(internal_id: str) -> str | None:
    """Return the scope of an id that `to_internal` made."""
    scope, separator, _ = internal_id.rpartition(_SEPARATOR)
    return scope if separator else None
