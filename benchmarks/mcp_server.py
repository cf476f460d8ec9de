"""The MCP server that is measured, over its standard streams."""

from __future__ import annotations

from mcp.server import MCPServer

server = MCPServer("benchmark", log_level="ERROR")


@server.tool()
def add(first: int, second: int) -> int:
    """Add two numbers."""
    return first + second


if __name__ == "__main__":
    server.run("stdio")
