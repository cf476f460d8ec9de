"""How long a delegate may take."""

from __future__ import annotations

import time
from typing import Any

from pydantic_ai import RunContext

from .._current_run import current_run


def time_left_s(ctx: RunContext[Any], limit_s: float) -> float:
    """Return the seconds that a delegate has; 0 or less where there are none.

    Of what is left of the run, and of the time of one tool call, a tenth is kept, at the most a second: who delegates
    must hear of the end, and say something, while there is still time.
    """
    run = current_run()
    limits = [limit_s]
    if run is not None and run.deadline is not None:
        limits.append(_most_of(run.deadline - time.monotonic()))
    if (left_s := ctx.remaining_time()) is not None:
        limits.append(_most_of(left_s))
    if run is not None and run.tool_timeout_s is not None:
        limits.append(_most_of(run.tool_timeout_s))
    return min(limits)


def _most_of(seconds: float) -> float:
    return seconds - min(1.0, seconds / 10)
