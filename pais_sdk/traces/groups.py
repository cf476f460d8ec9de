"""What kind of step a span is, and its colour."""

from __future__ import annotations

from .span import TraceSpan

_OPERATIONS = {"invoke_agent": "agent", "execute_tool": "tool"}
_SCOPES = {
    "pais_sdk.runtime": "agent",
    "pais_sdk.a2a": "agent",
    "pais_sdk.memory": "memory",
    "pais_sdk.delegation": "delegation",
    "mcp-python-sdk": "tool",
}

# Each can be told from the others, also in grey, on white and on black.
COLOURS = {
    "agent": "#7a8aa0",
    "model": "#8b62d9",
    "tool": "#2f9e75",
    "delegation": "#e0862c",
    "memory": "#3b86d1",
    "other": "#8c8c8c",
}


def group_of(span: TraceSpan) -> str:
    """Return the group of a span, a key of `COLOURS`."""
    operation = span.attributes.get("gen_ai.operation.name")
    if operation is not None:
        return _OPERATIONS.get(str(operation), "model")
    return _SCOPES.get(span.scope, "other")
