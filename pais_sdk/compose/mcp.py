"""MCP servers from the environment."""

from __future__ import annotations

from ..errors import ConfigurationError
from ..mcp import HttpServer, MCPServer, MCPServerConfig, MCPServers, read_mcp_config
from ..settings import Settings
from ..settings.mcp import listed_names, mcp_config_environment, mcp_server_urls

_FIRST_WAIT_S = 10.0  # a process that answers no probe for longer is killed for it


def create_mcp(settings: Settings) -> MCPServers | None:
    """Return the servers of MCP_SERVERS and MCP_CONFIG, not connected yet; None where neither names one.

    Raises:
        ConfigurationError: A server cannot be used, or both have different ones of the same name, or MCP_REQUIRED
            names one that neither has.
        MissingExtraError: The extra `mcp` is not installed.
    """
    servers: dict[str, MCPServerConfig] = {}
    if settings.mcp_config is not None:
        servers.update(read_mcp_config(settings.mcp_config, mcp_config_environment()))
    for name, url in mcp_server_urls(settings.mcp_servers).items():
        server = HttpServer(url=url)
        if servers.setdefault(name, server) != server:
            raise ConfigurationError(f"MCP_SERVERS and MCP_CONFIG have different servers named {name!r}; rename one")
    required = listed_names(settings.mcp_required, "MCP_REQUIRED")
    for name in required:
        if name not in servers:
            raise ConfigurationError(f"MCP_REQUIRED names {name!r}, which neither MCP_SERVERS nor MCP_CONFIG has")
    if not servers:
        return None
    opened = [MCPServer(name, server, first_wait_s=_FIRST_WAIT_S) for name, server in servers.items()]
    return MCPServers(opened, required=required)
