"""An MCP server over standard streams that imports next to nothing, so that it starts at once.

For what ends and begins again. What servers really answer is tested with `mcp_process.py`.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any


def hold(port: int) -> str:
    """Connect to the test, and return the line that it says."""
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(f"{os.getpid()}\n".encode())
        return connection.makefile().readline().strip()


say = threading.Lock()
TOOLS: dict[str, Callable[..., Any]] = {
    "pid": os.getpid,
    "read_file": lambda path: Path(path).read_text(),
    "crash": lambda: os._exit(3),
    "hold": hold,
    "hold_again": hold,  # it may be called twice
}


def answer(request: dict[str, Any], **rest: Any) -> None:
    with say:
        print(json.dumps({"jsonrpc": "2.0", "id": request["id"], **rest}), flush=True)


def initialize(params: dict[str, Any]) -> dict[str, Any]:
    return {
        "protocolVersion": params["protocolVersion"],
        "capabilities": {"tools": {}},
        "serverInfo": {"name": "plain", "version": "1"},
    }


def list_tools() -> dict[str, Any]:
    return {
        "tools": [
            {
                "name": name,
                "inputSchema": {"type": "object"},
                "outputSchema": {"type": "object", "properties": {"result": {}}},
                "annotations": {"readOnlyHint": name == "hold_again"},
            }
            for name in TOOLS
        ]
    }


def call(request: dict[str, Any]) -> None:
    params = request["params"]
    result = TOOLS[params["name"]](**params["arguments"])
    content = [{"type": "text", "text": str(result)}]
    answer(request, result={"content": content, "structuredContent": {"result": result}})


for line in sys.stdin:
    message = json.loads(line)
    match message["method"]:
        case "initialize":
            answer(message, result=initialize(message["params"]))
        case "tools/list":
            answer(message, result=list_tools())
        case "tools/call":
            threading.Thread(target=call, args=(message,), daemon=True).start()
        case method if "id" in message:
            answer(message, error={"code": -32601, "message": f"there is no {method}"})
        case _:
            pass
