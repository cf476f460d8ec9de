"""What calls of tools cost: `python -m benchmarks.tools [--only mcp|cache]`.

An MCP call through our parts beside the same call through fastmcp's client, each to a process of its own, in turns; and
what CachedToolset adds to a call of a toolset, for results that are kept.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from fastmcp.client import Client
from fastmcp.client.transports import StdioTransport
from pydantic_ai import RunContext, Tool
from pydantic_ai.models.test import TestModel
from pydantic_ai.toolsets import AbstractToolset, FunctionToolset
from pydantic_ai.usage import RunUsage

from pais_sdk.mcp import MCPServer, parse_server
from pais_sdk.tools import CachedToolset, ToolExecutor

from .ratios import Ratios, Row

PARTS = ("mcp", "cache")
COMMAND, ARGS = sys.executable, [str(Path(__file__).with_name("mcp_server.py"))]
SERVER = {"command": COMMAND, "args": ARGS}
SUM = {"first": 1, "second": 2}
CITY = {"city": "Oslo", "days": 2}
MCP_CALLS = 200
CACHE_CALLS = 2000
RESULTS: dict[str, Any] = {
    "a text": "Sunny, 21 degrees",
    "100 records": [{"id": number, "name": f"name {number}", "tags": ["a", "b"]} for number in range(100)],
}

Call = Callable[[], Awaitable[object]]


async def median_s(calls: dict[str, Call], times: int, *, backwards: bool) -> dict[str, float]:
    """Return the median seconds of each call, made in turns, so that what else the machine does meets all of them."""
    found: dict[str, list[float]] = {name: [] for name in calls}
    names = list(reversed(calls)) if backwards else list(calls)
    for _ in range(times):
        for name in names:
            began = time.perf_counter()
            await calls[name]()
            found[name].append(time.perf_counter() - began)
    return {name: statistics.median(values) for name, values in found.items()}


async def measure_mcp(ratios: Ratios, rounds: int) -> None:
    """Compare calls of one tool of an MCP server over stdio; the first round warms up."""
    raw = Client(StdioTransport(COMMAND, ARGS, keep_alive=False))  # kept alive, it may outlive the event loop
    server, tools = MCPServer("server", parse_server("server", SERVER)), ToolExecutor()
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(raw)
        await stack.enter_async_context(server)
        await stack.enter_async_context(tools)
        await tools.register_mcp("tools", SERVER)
        calls: dict[str, Call] = {
            "fastmcp": lambda: raw.call_tool("add", SUM),
            "MCPServer.call": lambda: server.call("add", SUM),
            "ToolExecutor.execute": lambda: tools.execute("add", SUM),
        }
        for number in range(rounds + 1):
            found = await median_s(calls, MCP_CALLS, backwards=number % 2 == 1)
            if number:
                base = found.pop("fastmcp")
                ratios.add(Row("MCP call: ms", "fastmcp's client"), base * 1e3)
                for who, value in found.items():
                    ratios.add(Row("MCP call: ms more than fastmcp's client", who, 5), (value - base) * 1e3)


async def measure_cache(ratios: Ratios, rounds: int) -> None:
    """Compare calls of a tool that only returns a value with those whose result is kept."""
    ctx: RunContext[Any] = RunContext(deps=None, model=TestModel(), usage=RunUsage(), run_id="run")
    for what, result in RESULTS.items():

        async def look_up(city: str, days: int, result: Any = result) -> Any:
            return result

        plain: FunctionToolset[Any] = FunctionToolset([Tool(look_up)])
        cached = CachedToolset(plain, tools=["look_up"])
        calls: dict[str, Call] = {"plain": await call_of(plain, ctx), "kept": await call_of(cached, ctx)}
        for number in range(rounds + 1):
            found = await median_s(calls, CACHE_CALLS, backwards=number % 2 == 1)
            if number:
                more = (found["kept"] - found["plain"]) * 1e6
                ratios.add(Row(f"{what}, kept: us more than the toolset", "CachedToolset", 100), more)
        assert cached.misses == 1


async def call_of(toolset: AbstractToolset[Any], ctx: RunContext[Any]) -> Call:
    """Return a call of the tool as an agent makes it, with arguments that are validated."""
    tool = (await toolset.get_tools(ctx))["look_up"]
    return lambda: toolset.call_tool("look_up", CITY, ctx, tool)


async def measure(parts: list[str], rounds: int) -> Ratios:
    """Return all figures."""
    ratios = Ratios()
    if "mcp" in parts:
        await measure_mcp(ratios, rounds)
    if "cache" in parts:
        await measure_cache(ratios, rounds)
    return ratios


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tools", description="What calls of tools cost.")
    parser.add_argument("--rounds", type=int, default=7, help="rounds after the first, which warms up (default: 7)")
    parser.add_argument("--only", choices=PARTS, action="append", help="some parts only")
    options = parser.parse_args()
    began = time.monotonic()
    ratios = asyncio.run(measure(options.only or list(PARTS), options.rounds))
    print(ratios.table())
    print(f"\n{options.rounds} rounds, {time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main()
