"""Whose run code is a part of."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

from pydantic_ai.tools import RunContext

from .._current_run import current_run


def scope_of(ctx: RunContext[Any]) -> Hashable | None:
    """Return what the results of this run's tools may be shared within.

    That is the scope of the run, where a runtime has said so. In the common scope it is the session, because whoever
    calls the runtime may tell users apart by that alone. A bare agent has nobody to tell apart where its tools get no
    deps. Where they do, these may be of a user, so that only the run itself shares; None where there is not even that.
    """
    run = current_run()
    if run is None and ctx.deps is None:
        return "all"
    if run is None:
        return None if ctx.run_id is None else ("run", ctx.run_id)
    if run.scope is not None:
        return ("scope", run.scope)
    return None if ctx.conversation_id is None else ("session", ctx.conversation_id)
