"""Values of JSON that somebody else wrote: what is not of the type that it should be counts as nothing."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any, cast

from .._whole_text import whole_text

_MAX_ID = 512
_MAX_COUNT = 2**53
_MAX_LEVELS = 32


def parsed(data: bytes) -> Any:
    """Return what JSON says.

    Raises:
        ValueError: It is none, or nested too deeply.
    """
    try:
        return json.loads(data)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def mapping_in(value: Any) -> Mapping[str, Any]:
    """Return an object of JSON; an empty one for anything else."""
    return cast("Mapping[str, Any]", value) if isinstance(value, dict) else {}


def list_in(value: Any) -> list[Any]:
    """Return a list; an empty one for anything else."""
    return cast("list[Any]", value) if isinstance(value, list) else []


def text_in(value: Any, *, max_characters: int | None = None) -> str:
    """Return a text, or the beginning of a longer one; an empty one for anything else."""
    return value[:max_characters] if isinstance(value, str) else ""


def id_in(value: Any) -> str:
    """Return an id that can be sent back; an empty one for anything else."""
    return value if isinstance(value, str) and len(value) <= _MAX_ID and value.isprintable() else ""


def count_in(value: Any) -> int:
    """Return a whole number that is not negative; 0 for anything else, and for what nobody can count to."""
    value = writable(value)
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _MAX_COUNT else 0


def writable(value: Any, *, levels: int = _MAX_LEVELS) -> Any:
    """Return a value that can be written again, with numbers whole where they can be: a2a-sdk says 2.0 for 2.

    Args:
        value: Of JSON.
        levels: How deep it may be nested; what lies deeper is None, as are numbers that JSON does not have.
    """
    if isinstance(value, str):
        return whole_text(value)
    if isinstance(value, float):
        return int(value) if value.is_integer() else value if math.isfinite(value) else None
    if not isinstance(value, (dict, list)):
        return value
    if not levels:
        return None
    if isinstance(value, dict):
        items = mapping_in(value).items()
        return {whole_text(name): writable(item, levels=levels - 1) for name, item in items}
    return [writable(item, levels=levels - 1) for item in list_in(value)]
