"""An MCP server, in a process of its own: `mcp_process.py` speaks over its standard streams, `serve` over HTTP.

Over HTTP there are options: `old` speaks the protocol with sessions only, `name=...` adds a tool of that name; and
whoever says that his key is wrong is refused.
"""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mcp.server import MCPServer
from mcp.server.mcpserver import Context, Image
from mcp.types import ToolAnnotations

READ_ONLY = ToolAnnotations(read_only_hint=True)
PIXEL = bytes.fromhex("89504e470d0a1a0a0000000d4948445200000001000000010802000000907753de")

server = MCPServer("test", instructions="Add with add.", log_level="CRITICAL")  # an error is drawn for a second


@server.tool()
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


@server.tool()
def echo(value: dict[str, Any]) -> dict[str, Any]:
    return value


@server.tool(annotations=READ_ONLY)
def read_file(path: str) -> str:
    """Read a file."""
    return Path(path).read_text()


@server.tool()
async def hold(port: int) -> str:
    """Connect to the test, and return the line that it says."""
    return await told(port)


@server.tool(annotations=READ_ONLY)
async def hold_again(port: int) -> str:
    """Do the same; it may be called twice."""
    return await told(port)


@server.tool()
async def hold_all(port: int) -> str:
    """Do the same, and answer nobody else meanwhile."""
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(f"{os.getpid()}\n".encode())
        return connection.makefile().readline().strip()


async def told(port: int) -> str:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(f"{os.getpid()}\n".encode())
        return (await reader.readline()).decode().strip()
    finally:
        writer.close()


@server.tool()
def fail() -> str:
    raise ValueError("the disk is full")


@server.tool()
def crash() -> str:
    os._exit(3)


@server.tool()
def pid() -> int:
    return os.getpid()


@server.tool()
def environment() -> dict[str, str]:
    return dict(os.environ)


@server.tool()
def folder() -> str:
    return str(Path.cwd())


@server.tool()
def complain(text: str) -> str:
    """Write to standard error."""
    sys.stderr.write(text)
    sys.stderr.flush()
    return "done"


@server.tool()
def image() -> Image:
    return Image(data=PIXEL, format="png")


@server.tool()
async def change_tools(name: str, context: Context) -> str:
    """Add a tool, and say so."""
    server.add_tool(pid, name=name)
    await context.session.send_tool_list_changed()
    await context.notify_tools_changed()
    return "changed"


class Gate:
    """Refuses a wrong key, and all that the protocol without sessions begins with if it is `old`."""

    def __init__(self, app: Any, *, old: bool) -> None:
        self.app, self.old = app, old

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        if any(name == b"authorization" and value.startswith(b"Bearer wrong") for name, value in scope["headers"]):
            await refuse(send, 401)
            return
        message = await receive()
        if self.old and b'"server/discover"' in message.get("body", b""):
            await refuse(send, 404)
            return
        first = [message]

        async def again() -> Any:
            return first.pop() if first else await receive()

        await self.app(scope, again, send)


async def refuse(send: Any, status: int) -> None:
    await send({"type": "http.response.start", "status": status, "headers": []})
    await send({"type": "http.response.body", "body": b""})


async def serve(port: int, options: tuple[str, ...], listens: Callable[[], None]) -> None:
    """Serve until the process is ended."""
    from pais_sdk._listen import serve_socket

    for option in options:
        if option.startswith("name="):
            server.add_tool(pid, name=option.removeprefix("name="))
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)  # the test keeps the port for us
    listener.bind(("127.0.0.1", port))
    listener.listen()
    listener.setblocking(False)
    app = Gate(server.streamable_http_app(), old="old" in options)
    listens()
    never = asyncio.Event()

    async def stopped() -> float:
        await never.wait()
        return 0

    await serve_socket(app, listener, shutdown_trigger=stopped)


if __name__ == "__main__":
    server.run("stdio")
