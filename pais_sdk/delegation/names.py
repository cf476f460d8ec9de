"""The names of delegation tools."""

from __future__ import annotations

import re
from collections.abc import Iterable

from ..errors import ConfigurationError
from ..mcp.names import valid_name

_OTHER = re.compile(r"[^A-Za-z0-9]")


def tool_names(agents: Iterable[object]) -> dict[str, str]:
    """Return the agents' names by the names of the tools that delegate to them.

    Raises:
        ConfigurationError: There are none, one is no text that can be printed, or two would share a tool.
    """
    named: dict[str, str] = {}
    for agent in agents:
        if not isinstance(agent, str) or not agent.strip() or not agent.isprintable():
            raise ConfigurationError(f"{agent!r} is no name for an agent; use printable text")
        name = tool_name(agent)
        if name in named:
            raise ConfigurationError(
                f"the agents {named[name]!r} and {agent!r} would share the tool {name!r}; rename one"
            )
        named[name] = agent
    if not named:
        raise ConfigurationError("there is no agent to delegate to; give at least one, by its name")
    return named


def tool_name(agent: str) -> str:
    """Return the name of the tool that delegates to an agent, as model APIs accept it."""
    return valid_name(f"delegate_to_{_OTHER.sub('_', agent)}")
