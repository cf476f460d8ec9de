"""What agents tell each other beside a task, on every protocol."""

from __future__ import annotations

CHAIN_HEADER = "X-Delegation-Chain"
"""The ids of the agents that delegated to each other so far, the first one first, separated by commas."""

TIMEOUT_HEADER = "X-Run-Timeout"
"""Seconds that the run may take, a decimal number."""

CONTEXT_ROLE = "developer"
"""Over A2A, the value of `role` in the metadata of a text part that is context and not task."""
