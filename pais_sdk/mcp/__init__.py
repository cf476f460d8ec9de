"""MCP servers: their connections, kept alive, and their tools."""
