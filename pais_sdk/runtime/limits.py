"""The limits that a runtime is made with, checked."""

from __future__ import annotations

import math
from typing import Any

from .._delegation_wire import LONGEST_AGENT_ID, is_agent_id
from ..errors import ConfigurationError


def check_limits(
    *,
    max_steps: int,
    history_limit: int,
    timeout_s: float | None,
    tool_timeout_s: float | None,
    busy_wait_s: float,
    on_busy: Any,
    on_disconnect: Any,
) -> None:
    """Raise ConfigurationError where an argument of AgentRuntime cannot work."""
    for argument, value in (("max_steps", max_steps), ("history_limit", history_limit + 1)):
        if value < 1:
            raise ConfigurationError(f"{argument} is too small; max_steps starts at 1, history_limit at 0")
    for argument, value in (("timeout_s", timeout_s), ("tool_timeout_s", tool_timeout_s)):
        if value is not None and not 0 < value < math.inf:
            raise ConfigurationError(f"{argument}={value!r} is no time; use more than 0, None for any time")
    if not 0 <= busy_wait_s < math.inf:
        raise ConfigurationError(f"busy_wait_s={busy_wait_s!r} is no time; use 0 or more")
    if on_busy not in ("queue", "reject", "interrupt"):
        raise ConfigurationError(f"on_busy={on_busy!r} is not known; use 'queue', 'reject' or 'interrupt'")
    if on_disconnect not in ("cancel", "finish"):
        raise ConfigurationError(f"on_disconnect={on_disconnect!r} is not known; use 'cancel' or 'finish'")


def check_id(id: str) -> str:
    """Return the id of an agent, which goes along with the tasks that it delegates, or raise ConfigurationError."""
    if not is_agent_id(id):
        raise ConfigurationError(f"id={id!r} is no id of an agent; use 1 to {LONGEST_AGENT_ID} printable characters")
    return id
