"""What files an agent takes, as its cards tell and as messages are checked."""

from __future__ import annotations

from typing import get_args

from pydantic_ai.messages import DocumentMediaType

FAMILIES = ("text", "image", "audio", "video")
"""All of these."""

TEXTS = frozenset({"application/json", "application/xml", "application/yaml", "application/x-yaml"})
"""These, which are texts under another name."""

DOCUMENTS = frozenset[str](get_args(DocumentMediaType))
"""And these; whether its model can read one is another question."""

INPUT_MODES = (
    "text/plain",
    "application/json",
    *(f"{family}/*" for family in FAMILIES),
    *sorted(mode for mode in TEXTS | DOCUMENTS if not mode.startswith(FAMILIES) and mode != "application/json"),
)
"""As a card tells them, the most common first."""
