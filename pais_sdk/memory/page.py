"""A page of a list of sessions, and the cursor that leads to the next one."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime

from ..errors import InvalidRequestError

_CURSOR = re.compile(r"([0-9]{1,17})~([A-Za-z0-9._:-]{1,128})")


class SessionPage(list[str]):
    """Session ids, the most recently used first.

    Attributes:
        next: Pass it as `cursor` for the following page; None after the last.
        used: When each was written to last; empty where the memory does not say.
    """

    next: str | None = None
    used: Sequence[datetime] = ()


def to_cursor(used_us: int, session_id: str) -> str:
    """Return the cursor that leads to what comes after this session.

    Args:
        used_us: When it was used, in microseconds since 1970; sessions of the same time are ordered by id, the
            greatest first.
        session_id: As its caller knows it.
    """
    return f"{used_us}~{session_id}"


def from_cursor(cursor: str) -> tuple[int, str]:
    """Return time and session id of a cursor.

    Raises:
        InvalidRequestError: It is none.
    """
    found = _CURSOR.fullmatch(cursor)
    if found is None:
        raise InvalidRequestError("the cursor is none of this list; begin again without it", param="cursor")
    return int(found[1]), found[2]
