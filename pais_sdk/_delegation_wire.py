"""What agents tell each other beside a task, on every protocol."""

from __future__ import annotations

CHAIN_HEADER = "X-Delegation-Chain"
"""The ids of the agents that delegated to each other so far, the first one first, separated by commas."""

TIMEOUT_HEADER = "X-Run-Timeout"
"""Seconds that the run may take, a decimal number."""

CONTEXT_ROLE = "developer"
"""Over A2A, the value of `role` in the metadata of a text part that is context and not task."""

LONGEST_AGENT_ID = 256


def is_agent_id(text: str) -> bool:
    """Return whether a text can be the id of an agent in such a chain."""
    return 0 < len(text) <= LONGEST_AGENT_ID and text.isprintable()
