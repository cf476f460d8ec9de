"""Numbers as they were, where Protobuf has been."""

from __future__ import annotations

from typing import Any, cast

_EXACT = 2**53


def whole_numbers(value: Any) -> Any:
    """Return JSON data with whole numbers written as such: in Protobuf's data every number is a float."""
    if isinstance(value, float):
        return int(value) if value.is_integer() and abs(value) < _EXACT else value
    if isinstance(value, dict):
        return {key: whole_numbers(item) for key, item in cast("dict[str, Any]", value).items()}
    if isinstance(value, list):
        return [whole_numbers(item) for item in cast("list[Any]", value)]
    return value
