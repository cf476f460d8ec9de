"""Whose run code is a part of."""

from __future__ import annotations

from collections.abc import Hashable
from contextvars import ContextVar
from typing import Any

from pydantic_ai.tools import RunContext

_scope: ContextVar[tuple[str | None] | None] = ContextVar("pais_sdk_scope", default=None)


def set_run_scope(scope: str | None) -> None:
    """Say whose run the current task carries out; a runtime does so, in the task of each run.

    A context variable and not the deps, because agents have deps of their own.
    """
    _scope.set((scope,))


def scope_of(ctx: RunContext[Any]) -> Hashable | None:
    """Return what the results of this run's tools may be shared within.

    That is the scope of the run, where a runtime has said so. In the common scope it is the session, because whoever
    calls the runtime may tell users apart by that alone. A bare agent has nobody to tell apart where its tools get no
    deps. Where they do, these may be of a user, so that only the run itself shares; None where there is not even that.
    """
    said = _scope.get()
    if said is None and ctx.deps is None:
        return "all"
    if said is None:
        return None if ctx.run_id is None else ("run", ctx.run_id)
    (scope,) = said
    if scope is not None:
        return ("scope", scope)
    return None if ctx.conversation_id is None else ("session", ctx.conversation_id)
