"""Delegation: other agents as a capability."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic_ai.capabilities import AbstractCapability
from pydantic_ai.toolsets import AbstractToolset, CombinedToolset

from .delegates import Delegate
from .names import tool_names
from .toolset import DelegationToolset


class Delegation(AbstractCapability[Any]):
    """A `DelegationToolset`, and a word to the model about whom it can ask: `Agent(capabilities=[Delegation({...})])`.

    Two of them in one list of capabilities are as one with the agents of both. By Pydantic AI's rules, one that is
    given for a run (or to an `AgentRuntime`) takes the place of the agent's own; a DelegationToolset adds to it.

    Args:
        agents: As those of DelegationToolset, and so are the others.

    Raises:
        ConfigurationError: An argument cannot work, or two names would share a tool.
    """

    id: str | None = "pais_sdk.delegation"

    def __init__(
        self,
        agents: Mapping[str, Delegate],
        *,
        context_messages: int = 6,
        timeout_s: float = 240,
        max_depth: int = 5,
    ) -> None:
        toolset = DelegationToolset(agents, context_messages=context_messages, timeout_s=timeout_s, max_depth=max_depth)
        self._toolsets: Sequence[DelegationToolset] = [toolset]

    @classmethod
    def combine(cls, capabilities: Sequence[AbstractCapability[Any]]) -> AbstractCapability[Any]:
        combined = object.__new__(cls)
        found = [toolset for each in capabilities if isinstance(each, Delegation) for toolset in each._toolsets]
        combined._toolsets = list(dict.fromkeys(found))
        tool_names(name for toolset in combined._toolsets for name in toolset.agents.values())
        return combined

    def get_toolset(self) -> AbstractToolset[Any]:
        return self._toolsets[0] if len(self._toolsets) == 1 else CombinedToolset(list(self._toolsets))

    def get_instructions(self) -> str:
        agents = ", ".join(f"{agent} ({tool})" for toolset in self._toolsets for tool, agent in toolset.agents.items())
        return (
            f"You can give tasks to other agents: {agents}. "
            "Give those that do not depend on each other at the same time. "
            "An agent knows the newest of this conversation, and what it did for you before."
        )
