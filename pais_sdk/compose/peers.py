"""Other agents to delegate to, from the environment."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..settings import Settings
from ..settings.peers import peer_agents

if TYPE_CHECKING:
    from ..delegation import DelegationToolset


def create_peers(settings: Settings) -> DelegationToolset | None:
    """Return the agents of AGENT_SUB_AGENTS and PEER_AGENTS as tools, not asked for anything yet; None without any.

    Raises:
        ConfigurationError: The environment names one in a way that cannot be used, or two whose tools would have the
            same name.
    """
    peers = peer_agents(settings)
    if not peers:
        return None
    from ..client import RemoteAgent
    from ..delegation import DelegationToolset

    timeout_s = settings.delegation_timeout_s
    agents = {
        # Agents that answer all at once say nothing before, however long it takes; so the time of a task is what holds.
        name: RemoteAgent(peer.url, api_key=peer.api_key, read_timeout_s=timeout_s)
        for name, peer in peers.items()
    }
    return DelegationToolset(
        agents,
        id="peers",
        context_messages=settings.memory_context_limit,
        timeout_s=timeout_s,
        max_depth=settings.delegation_max_depth,
    )
