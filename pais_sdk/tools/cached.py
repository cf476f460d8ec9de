"""A toolset that keeps the results of some of its tools."""

from __future__ import annotations

import copy
import logging
import time
from collections.abc import Callable, Collection, Hashable
from functools import partial
from typing import Any, Self

from pydantic_ai.tools import AgentDepsT, RunContext
from pydantic_ai.toolsets import AbstractToolset, ToolsetTool, WrapperToolset

from ..errors import ConfigurationError
from .argument_key import argument_key
from .flights import Flights
from .result_store import Copies, ResultStore
from .run_scope import scope_of

_log = logging.getLogger("pais_sdk.tools")
_Fetched = tuple[Any, Copies | None]


class CachedToolset(WrapperToolset[AgentDepsT]):
    """Runs a tool once for equal calls, as long as its result is kept; only the tools that are named.

    Calls are equal when their tool, their validated arguments and the scope of their run are. What a tool raises
    reaches everyone who waits for that call, and is not kept. Each caller gets a copy of a result that can be changed.
    Always run are: calls whose arguments have no canonical JSON, calls that somebody has approved, and tools whose
    results cannot be pickled. What a tool tells beside its result, such as progress, comes only when it runs.

    Args:
        wrapped: Whose tools these are.
        tools: The names of the tools whose results are kept, as `wrapped` names them. A name that `wrapped` does not
            have is logged once, because the tools of MCP servers come and go.
        ttl_s: Seconds that a result is kept.
        max_entries: Results that are kept; the one that was not asked for the longest goes first.
        shared: Whether a result is for everyone. Only for tools whose result does not depend on who asks.
        scope: Says whom a result is for, such as `lambda ctx: ctx.deps.user_id`. Without it, that is the scope of
            the run in a runtime, or its session where it has none. For an agent without a runtime it is the run if
            that has deps, and everyone if it has none.
        clock: Seconds that never go back.

    Raises:
        ConfigurationError: An argument is out of range.
    """

    def __init__(
        self,
        wrapped: AbstractToolset[AgentDepsT],
        *,
        tools: Collection[str],
        ttl_s: float = 300,
        max_entries: int = 1000,
        shared: bool = False,
        scope: Callable[[RunContext[AgentDepsT]], Hashable] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(wrapped)
        if isinstance(tools, str) or not tools:
            raise ConfigurationError(f"tools={tools!r} must be a list of the names of tools, with one at least")
        if not ttl_s > 0:
            raise ConfigurationError(f"ttl_s={ttl_s!r} keeps nothing; use more than 0")
        if max_entries < 1:
            raise ConfigurationError(f"max_entries={max_entries!r} keeps nothing; use 1 or more")
        if shared and scope is not None:
            raise ConfigurationError("what is shared=True has no scope; give one of the two")
        self._names = frozenset(tools)
        self._shared = shared
        self._scope = scope
        self._store = ResultStore(ttl_s=ttl_s, max_entries=max_entries, clock=clock)
        self._flights: Flights[_Fetched] = Flights()
        self._counts = {"hits": 0, "misses": 0}
        self._missing: set[str] = set()

    @property
    def hits(self) -> int:
        """Calls of these tools that got a result without running them."""
        return self._counts["hits"]

    @property
    def misses(self) -> int:
        """Calls of these tools that ran them."""
        return self._counts["misses"]

    def clear(self) -> None:
        """Forget all results, those of calls under way too; the counters go on."""
        self._store.clear()
        self._flights.clear()

    async def for_run(self, ctx: RunContext[AgentDepsT]) -> AbstractToolset[AgentDepsT]:
        return self._around(await self.wrapped.for_run(ctx))

    async def for_run_step(self, ctx: RunContext[AgentDepsT]) -> AbstractToolset[AgentDepsT]:
        return self._around(await self.wrapped.for_run_step(ctx))

    def visit_and_replace(
        self, visitor: Callable[[AbstractToolset[AgentDepsT]], AbstractToolset[AgentDepsT]]
    ) -> AbstractToolset[AgentDepsT]:
        return self._around(self.wrapped.visit_and_replace(visitor))

    def _around(self, wrapped: AbstractToolset[AgentDepsT]) -> Self:
        """Return this one around what `wrapped` became for a run; they keep their results together."""
        if wrapped is self.wrapped:
            return self
        other = copy.copy(self)
        other.wrapped = wrapped
        return other

    async def get_tools(self, ctx: RunContext[AgentDepsT]) -> dict[str, ToolsetTool[AgentDepsT]]:
        tools = await super().get_tools(ctx)
        missing = self._names.difference(tools, self._missing)
        if missing:
            self._missing |= missing
            _log.warning("%s has no tool %s, whose results are to be kept", self.wrapped.label, sorted(missing))
        return tools

    async def call_tool(
        self, name: str, tool_args: dict[str, Any], ctx: RunContext[AgentDepsT], tool: ToolsetTool[AgentDepsT]
    ) -> Any:
        call = partial(self.wrapped.call_tool, name, tool_args, ctx, tool)
        if name not in self._names or ctx.tool_call_approved:  # an approval is for one call
            return await call()
        key = self._key(name, tool_args, ctx)
        if key is None:
            return await self._run(call)
        copies = self._store.get(key)
        if copies is not None:
            self._counts["hits"] += 1
            return copies.get()
        flight, is_first = self._flights.join(key, partial(self._fetch, key, call))
        value, copies = await flight.wait()
        if is_first:
            return value
        if copies is None:
            return await self._run(call)
        self._counts["hits"] += 1
        return copies.get()

    async def _run(self, call: Callable[[], Any]) -> Any:
        self._counts["misses"] += 1
        return await call()

    async def _fetch(self, key: Hashable, call: Callable[[], Any]) -> _Fetched:
        generation = self._store.generation
        value = await self._run(call)
        try:
            copies = Copies(value)
        except Exception:  # noqa: BLE001 - a class may refuse to be pickled in any way
            return value, None
        self._store.put(key, copies, generation=generation)
        return value, copies

    def _key(self, name: str, arguments: dict[str, Any], ctx: RunContext[AgentDepsT]) -> Hashable | None:
        """Return what equal calls have in common; None for a call that has no equal."""
        digest = argument_key(arguments)
        if digest is None:
            return None
        if self._shared:
            return (name, digest)
        if self._scope is not None:
            return (name, digest, self._scope(ctx))
        scope = scope_of(ctx)
        return None if scope is None else (name, digest, scope)
