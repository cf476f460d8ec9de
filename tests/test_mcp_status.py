"""How the MCP servers are: on /tools, on /ready, and in the list of tools; real servers, each a process."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Generator
from contextlib import closing, contextmanager
from typing import Any

import anyio
import pytest
from anyio import fail_after
from pydantic_ai.capabilities import Toolset
from pydantic_ai.exceptions import ToolFailed
from pydantic_ai.toolsets import FunctionToolset

from pais_sdk import AgentRuntime, LocalMemory, MemoryUnavailableError, Settings
from pais_sdk.mcp import MCPServer, MCPServers
from pais_sdk.tools import CachedToolset

from .agents import echo_agent
from .http_agents import SECRET, Served, content_of, served
from .mcp_servers import START_S, HttpServerProcess, stdio

pytest_plugins = ["tests.mcp_shared"]
pytestmark = pytest.mark.anyio

CARD = "/.well-known/agent.json"
HANGING = {"command": sys.executable, "args": ["-c", "import sys; sys.stdin.read()"]}


@contextmanager
def no_server() -> Generator[dict[str, Any]]:
    """Give the address of a server that is not there, with secrets in it, while the block runs."""
    gone = HttpServerProcess()
    try:
        yield {"url": f"http://127.0.0.1:{gone.port}/{SECRET}/mcp", "headers": {"Authorization": f"Bearer {SECRET}"}}
    finally:
        gone.close()


async def when(here: Served, condition: Callable[[dict[str, Any]], bool], path: str = "/tools") -> dict[str, Any]:
    """Ask until an answer is so; belongs into a `fail_after`."""
    while not condition(told := (await here.http.get(path)).json()):
        await asyncio.sleep(0)
    return told


def is_ready(told: dict[str, Any]) -> bool:
    return told["mcp_servers"][0]["state"] == "ready"


def names(told: dict[str, Any]) -> list[str]:
    return [tool["name"] for tool in told["tools"]]


async def test_an_agent_without_mcp_servers_says_nothing_of_them() -> None:
    with fail_after(5):
        async with served(echo_agent(), toolsets=[MCPServers()]) as here:
            answers = [(await here.http.get(path)).json() for path in ("/tools", "/ready")]
            assert here.runtime.mcp_servers == []
    assert not any("mcp_servers" in answer for answer in answers)


async def test_a_server_is_told_with_its_tools_and_not_asked_again(
    new_server: HttpServerProcess,
) -> None:
    servers = MCPServers({"test": {"url": new_server.url}})
    with fail_after(START_S):
        async with served(echo_agent(), toolsets=[servers]) as here:
            told = await when(here, is_ready)
            version = servers.version
            for path in ["/tools", CARD, "/ready"] * 5:
                assert (await here.http.get(path)).status_code == 200
            assert servers.version == version  # it counts connections, too
            ready = (await here.http.get("/ready")).json()
            card = (await here.http.get(CARD)).json()
    assert told["mcp_servers"] == [{"name": "test", "state": "ready", "tools": told["total"], "error": None}]
    assert {"add", "read_file"} <= set(names(told))
    assert [skill["name"] for skill in card["skills"]] == names(told)
    assert (ready["status"], ready["mcp_servers"]) == ("ready", [{"name": "test", "state": "ready"}])


async def test_a_server_that_is_down_breaks_nothing_and_tells_strangers_nothing() -> None:
    agent = echo_agent(toolsets=[FunctionToolset[Any]([len], id="own")])
    with no_server() as gone, fail_after(START_S):
        async with served(
            agent, toolsets=[MCPServers({"gone": gone})], settings=Settings(agent_api_keys="k=k")
        ) as here:
            ready, health = await here.http.get("/ready"), await here.http.get("/health")
            assert (await here.http.get("/tools")).status_code == 401
            here.http.headers["X-API-Key"] = "k"
            tools = await here.http.get("/tools")
            assert content_of(await here.ask("hi")) == "hi (1)"
    assert (ready.status_code, health.status_code, tools.status_code) == (200, 200, 200)
    assert ready.json()["mcp_servers"] == [{"name": "gone", "state": "down"}]
    assert "127.0.0.1" not in ready.text
    (server,) = tools.json()["mcp_servers"]
    assert (server["name"], server["state"], server["tools"]) == ("gone", "down", 0)
    assert "cannot be reached" in server["error"]
    assert names(tools.json()) == ["len"]
    assert SECRET not in ready.text + tools.text


async def test_a_server_that_is_required_is_a_reason_whenever_it_is_not_there() -> None:
    process, may_try = HttpServerProcess(), asyncio.Event()

    async def pause(count: int) -> None:
        await may_try.wait()

    late = MCPServer("late", {"url": process.url}, required=True, pause=pause)
    with closing(process), no_server() as gone, fail_after(2 * START_S):
        async with served(echo_agent(), toolsets=[MCPServers([late, MCPServer("gone", gone)])]) as here:
            for time in ("before its start", "after a crash"):
                answer = await here.http.get("/ready")
                assert (answer.status_code, answer.json()["reasons"]) == (503, ["mcp"]), time
                down = [{"name": "late", "state": "down"}, {"name": "gone", "state": "down"}]
                assert answer.json()["mcp_servers"] == down
                assert (await here.http.get("/health")).status_code == 200
                assert content_of(await here.ask("hi")) == "hi (1)"  # it is for whoever sends traffic, and no lock
                assert names((await here.http.get("/tools")).json()) == []
                await anyio.to_thread.run_sync(process.start)
                may_try.set()
                ready = await when(here, lambda told: told["status"] == "ready", "/ready")
                assert ready["mcp_servers"] == [{"name": "late", "state": "ready"}, down[1]]
                assert "add" in names((await here.http.get("/tools")).json())
                may_try.clear()
                process.kill()
                with pytest.raises(ToolFailed):
                    await late.call("add", {"a": 1, "b": 2})  # over HTTP, that a server is gone is found by a call


async def test_all_reasons_are_told() -> None:
    class Down(LocalMemory):
        async def check(self) -> None:
            raise MemoryUnavailableError

    with no_server() as gone, fail_after(START_S):
        servers = MCPServers({"gone": gone}, required=["gone"])
        async with served(echo_agent(), toolsets=[servers], memory=Down()) as here:
            found = [(await here.http.get("/ready")).json()["reasons"]]
            here.server.stopping = True
            found.append((await here.http.get("/ready")).json()["reasons"])
    assert found == [["memory", "mcp"], ["draining", "mcp"]]


async def test_tools_that_a_server_adds_are_listed_without_waiting_for_the_list_to_grow_old(
    new_server: HttpServerProcess,
) -> None:
    servers = MCPServers({"test": {"url": new_server.url}})
    with fail_after(START_S):
        async with served(echo_agent(), toolsets=[servers]) as here:
            assert "fresh" not in names(await when(here, is_ready))
            await servers.servers[0].call("change_tools", {"name": "fresh"})
            told = await when(here, lambda told: "fresh" in names(told))
            assert told["mcp_servers"][0]["tools"] == told["total"] == len(told["tools"])


async def test_a_server_that_hangs_is_waited_for_no_longer_than_its_first_wait() -> None:
    servers = MCPServers([MCPServer("hangs", HANGING, required=True, connect_timeout_s=60, first_wait_s=0.1)])
    with fail_after(START_S):
        async with served(echo_agent(), toolsets=[servers]) as here:
            ready = (await here.http.get("/ready")).json()
            assert (ready["reasons"], ready["mcp_servers"][0]["state"]) == (["mcp"], "connecting")
            assert content_of(await here.ask("hi")) == "hi (1)"
            assert (await here.http.get("/tools")).json()["total"] == 0


async def test_a_server_that_hangs_holds_up_the_start_for_no_longer_than_it_may() -> None:
    servers = MCPServers([MCPServer("hangs", HANGING, required=True, connect_timeout_s=0.1)])
    with fail_after(START_S):
        async with served(echo_agent(), toolsets=[servers]) as here:
            assert (await here.http.get("/health")).status_code == 200
            told = await when(here, lambda told: told["mcp_servers"][0]["state"] == "down")
            assert "did not answer within 0.1 s" in told["mcp_servers"][0]["error"]
            assert (await here.http.get("/ready")).json()["reasons"] == ["mcp"]


def test_servers_are_found_wherever_they_are_and_once_each() -> None:
    def servers(name: str) -> MCPServers:
        return MCPServers({name: stdio()}, id=name)

    shared = servers("shared")
    agent = echo_agent(
        toolsets=[servers("prefixed").prefixed("p"), shared], capabilities=[Toolset[Any](servers("of-capability"))]
    )
    runtime = AgentRuntime(
        agent,
        toolsets=[
            servers("filtered").filtered(lambda ctx, tool: True).renamed({}),
            CachedToolset(servers("cached"), tools=["add"]),
            shared.prefixed("again"),
        ],
        capabilities=[Toolset(servers("of-runtime"))],
    )
    found = [status.name for status in runtime.mcp_servers]
    assert sorted(found) == ["cached", "filtered", "of-capability", "of-runtime", "prefixed", "shared"]
    assert {status.state for status in runtime.mcp_servers} == {"down"}  # nothing is open yet
