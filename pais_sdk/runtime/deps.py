"""What tools get through `RunContext.deps`."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, cast

from pydantic_ai.agent import AbstractAgent

from ..errors import ConfigurationError
from ..memory import Memory


@dataclass(frozen=True)
class AgentDeps:
    """The deps of agents that have none of their own, one for each run."""

    session_id: str
    """The session of this run."""

    memory: Memory
    """The memory, as this run's scope sees it."""


class DepsFactory:
    """Makes the deps of each run from what the caller gave as `deps=`.

    Args:
        agent: The agent that takes them.
        deps: A value; or something to call for each run, sync or async, with an AgentDeps or with nothing.

    Raises:
        ConfigurationError: The agent has a deps type of its own and nothing was given.
    """

    def __init__(self, agent: AbstractAgent[Any, Any], deps: Any) -> None:
        self._value = deps
        self._call: Callable[..., Any] | None = None
        self._takes_deps = False
        self._default = deps is None and agent.deps_type in (type(None), AgentDeps, object)
        if deps is None and not self._default:
            name = getattr(agent.deps_type, "__name__", repr(agent.deps_type))
            raise ConfigurationError(
                f"the agent's tools need deps of type {name}; give the runtime deps=a {name}, or a function that "
                f"makes one for each run"
            )
        if callable(deps) and not _is_instance(deps, agent.deps_type):
            self._call, self._takes_deps = deps, _needs_argument(deps)

    @property
    def may_wait(self) -> bool:
        """Whether making the deps may take time."""
        return self._call is not None

    async def make(self, session_id: str, memory: Memory) -> Any:
        """Return the deps of one run."""
        if self._default:
            return AgentDeps(session_id, memory)
        if self._call is None:
            return self._value
        made = self._call(AgentDeps(session_id, memory)) if self._takes_deps else self._call()
        return await cast("Awaitable[Any]", made) if isinstance(made, Awaitable) else made


def _is_instance(value: object, kind: Any) -> bool:
    try:
        return isinstance(value, kind)
    except TypeError:  # a type expression that has no instances of its own, such as a Protocol or dict[str, int]
        return not callable(value)


def _needs_argument(call: Callable[..., Any]) -> bool:
    try:
        signature = inspect.signature(call)
    except ValueError:  # a builtin without a signature
        return False
    for arguments, needs in (((), False), ((None,), True)):
        try:
            signature.bind(*arguments)
        except TypeError:
            continue
        return needs
    raise ConfigurationError("deps= must be callable with one argument, an AgentDeps, or with none")
