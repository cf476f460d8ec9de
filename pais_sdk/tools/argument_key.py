"""What tells the arguments of two calls apart."""

from __future__ import annotations

import datetime as dt
import json
import uuid
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from decimal import Decimal
from enum import Enum
from hashlib import sha256
from pathlib import PurePath
from typing import Any, cast

from pydantic import AnyUrl, BaseModel

_TOLD_BY_TEXT = (dt.date, dt.time, dt.timedelta, Decimal, PurePath, uuid.UUID, AnyUrl)


def argument_key(arguments: Mapping[str, Any]) -> bytes | None:
    """Return a digest of the canonical JSON of validated arguments; None where they have no such form."""
    try:
        text = json.dumps(arguments, default=_as_json, sort_keys=True, separators=(",", ":"))
    except (TypeError, ValueError, RecursionError):
        return None
    return sha256(text.encode()).digest()


def _as_json(value: object) -> Any:
    """Return the JSON of a value that has none of its own, with its type.

    Only what is told apart completely: Pydantic's serialization may leave out or mask a part of a value, and two
    secrets would be one key.
    """
    kind = f"{type(value).__module__}.{type(value).__qualname__}"
    if isinstance(value, _TOLD_BY_TEXT):
        return [kind, str(value)]
    if isinstance(value, Enum):
        return [kind, value.name]
    if isinstance(value, bytes):
        return [kind, value.hex()]
    if isinstance(value, (set, frozenset)):
        members = cast("frozenset[Any]", value)
        return [kind, *sorted(json.dumps(member, default=_as_json, sort_keys=True) for member in members)]
    if isinstance(value, BaseModel) and not value.__pydantic_private__:
        return [kind, value.__dict__, value.__pydantic_extra__]
    if is_dataclass(value) and not isinstance(value, type):
        return [kind, {field.name: getattr(value, field.name) for field in fields(value)}]
    raise TypeError
