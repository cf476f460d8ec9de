"""Whom a task can be given to."""

from __future__ import annotations

from typing import Any, TypeAlias, cast

from pydantic_ai.agent import AbstractAgent

from ..client import RemoteAgent
from ..errors import ConfigurationError
from ..runtime import AgentRuntime
from .local import LocalTarget
from .remote import RemoteTarget
from .target import Target

Delegate: TypeAlias = str | RemoteAgent | AgentRuntime[Any] | AbstractAgent[Any, Any]
"""An agent at a URL, or a runtime or an agent in this process."""


def target_of(name: str, delegate: object) -> Target:
    """Return the target for a delegate; ConfigurationError, which names it, where it cannot be one."""
    try:
        if isinstance(delegate, str):
            return RemoteTarget(name, RemoteAgent(delegate))
        if isinstance(delegate, RemoteAgent):
            return RemoteTarget(name, delegate)
        if isinstance(delegate, AgentRuntime):
            return LocalTarget(name, cast("AgentRuntime[Any]", delegate))
        if isinstance(delegate, AbstractAgent):
            return LocalTarget(name, AgentRuntime(cast("AbstractAgent[Any, Any]", delegate)))
    except ConfigurationError as error:
        raise ConfigurationError(f"the agent {name!r} cannot be used: {error}") from error
    # Not what it is: where somebody takes it for a RemoteAgent, a key is in it.
    raise ConfigurationError(
        f"the agent {name!r} is of type {type(delegate).__name__}; "
        "give a URL, a RemoteAgent, an AgentRuntime or a Pydantic AI agent"
    )
