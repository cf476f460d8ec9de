"""What delegates took, beside what the run itself took."""

from __future__ import annotations

from pydantic_ai.usage import RunUsage

from ..client import RemoteUsage

_NAMES = ("input_tokens", "output_tokens", "requests")


def add_delegated(usage: RunUsage, spent: RemoteUsage) -> None:
    """Add what a delegate took, and what it delegated itself, to the details of a run's usage, never to its totals.

    The limits of a run, and what its own model costs, are not to be mixed up with those of others.
    """
    for name in _NAMES:
        key = f"delegated_{name}"
        if value := getattr(spent, name) + spent.details.get(key, 0):
            usage.details[key] = usage.details.get(key, 0) + value
