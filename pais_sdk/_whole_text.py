"""Texts that may hold half a character, a lone surrogate, which neither UTF-8 nor Protobuf can say."""

from __future__ import annotations

from typing import Any, cast


def whole_text(text: str) -> str:
    """Return a text that can be written as UTF-8: two halves of a character become one, a half alone becomes `�`."""
    if text.isascii():
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def whole_json(value: Any) -> Any:
    """Return JSON data, all of whose texts are whole."""
    if isinstance(value, str):
        return whole_text(value)
    if isinstance(value, dict):
        return {whole_json(key): whole_json(item) for key, item in cast("dict[Any, Any]", value).items()}
    if isinstance(value, (list, tuple)):
        return [whole_json(item) for item in cast("list[Any]", value)]
    return value
