"""Variables of KAOS that have no effect here."""

from __future__ import annotations

import os

_NOT_IN_THIS_VERSION = {
    "AGENT_SYSTEM_PROMPT": "a system prompt of the environment",
}


def ignored_variables() -> dict[str, str]:
    """Return the variables that are set, as KAOS's operator does, and have no effect here, with what they ask for."""
    return {name: feature for name, feature in _NOT_IN_THIS_VERSION.items() if os.environ.get(name)}
