"""Lists in variables."""

from __future__ import annotations


def items_of(text: str | None) -> list[str]:
    """Return the items of a list as `one,two` or `[one,two]`, in its order, without spaces around them."""
    text = (text or "").strip()
    if text.startswith("[") and text.endswith("]"):
        text = text[1:-1]
    return [item for part in text.split(",") if (item := part.strip())]
