"""MCP servers: their connections, kept alive, and their tools."""

from .config import HttpServer, MCPServerConfig, StdioServer
from .config_file import parse_server, read_mcp_config
from .server import MCPServer
from .status import MCPServerStatus
from .toolset import MCPServers

__all__ = [
    "HttpServer",
    "MCPServer",
    "MCPServerConfig",
    "MCPServerStatus",
    "MCPServers",
    "StdioServer",
    "parse_server",
    "read_mcp_config",
]
