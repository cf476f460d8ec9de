"""What a remote agent does on the way to its answer, as it says it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from .json_values import mapping_in, text_in, writable
from .values import RemoteProgress

_MAX_WORD = 256


def read_progress(said: Mapping[str, Any]) -> RemoteProgress | None:
    """Return a progress object as an event; None where it does not say what is done."""
    if not text_in(said.get("action")):
        return None
    detail = writable(said)
    action, target = (text_in(detail.get(name), max_characters=_MAX_WORD) for name in ("action", "target"))
    return RemoteProgress(action, target, detail)


def progress_in_text(text: str) -> RemoteProgress | None:
    """Return the progress that a whole piece of text is, as KAOS's own agents write it; None for other text."""
    if not (text.startswith("{") and '"progress"' in text):
        return None
    try:
        said = mapping_in(json.loads(text))
    except (ValueError, RecursionError):
        return None
    return read_progress(said) if said.get("type") == "progress" else None
