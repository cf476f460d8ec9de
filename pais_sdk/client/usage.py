"""What a run took, as a remote agent says it."""

from __future__ import annotations

from typing import Any

from .json_values import count_in, id_in, mapping_in
from .values import RemoteUsage

_MAX_DETAILS = 100


def read_usage(raw: Any) -> RemoteUsage | None:
    """Return a usage in our names, or in those of OpenAI's API; None where there is none."""
    usage = mapping_in(raw)
    if not usage:
        return None
    details = [(name, count_in(count)) for name, count in mapping_in(usage.get("details")).items()]
    return RemoteUsage(
        input_tokens=count_in(usage.get("input_tokens")) or count_in(usage.get("prompt_tokens")),
        output_tokens=count_in(usage.get("output_tokens")) or count_in(usage.get("completion_tokens")),
        requests=count_in(usage.get("requests")),
        details={name: count for name, count in details[:_MAX_DETAILS] if count and id_in(name)},
    )
