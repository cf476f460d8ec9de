"""What tests ask the mock model endpoint."""

from __future__ import annotations

from typing import Any

ADD: Any = {
    "type": "function",
    "function": {
        "name": "add",
        "parameters": {
            "type": "object",
            "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}, "note": {"type": "string"}},
            "required": ["a", "b"],
        },
    },
}


def user(text: str) -> Any:
    """Return messages with one text of the user."""
    return [{"role": "user", "content": text}]
