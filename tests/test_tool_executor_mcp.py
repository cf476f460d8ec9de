"""ToolExecutor with MCP servers: real processes, which are connected once, shared, lost and left."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import anyio
import pytest
from pydantic_ai import Agent
from pydantic_ai.messages import BinaryContent
from pydantic_ai.models.test import TestModel
from pydantic_ai.tools import Tool

from pais_sdk import ConfigurationError
from pais_sdk.tools import ToolExecutor, ToolResult

from .agents import calls_then
from .mcp_servers import PLAIN, HttpServerProcess, calls, http_server, plain, stdio

pytest_plugins = ["tests.mcp_shared"]
pytestmark = pytest.mark.anyio


def runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def double(number: int) -> int:
    return 2 * number


def with_a_function() -> ToolExecutor:
    tools = ToolExecutor()
    tools.register_tool(double)
    return tools


async def error_of(tools: ToolExecutor, name: str, args: dict[str, Any] | None = None, **options: Any) -> str:
    """Return what a call that fails says."""
    result = await tools.execute(name, args, **options)
    assert not result.success
    assert result.error is not None
    return result.error


async def test_a_server_is_registered_and_its_tools_are_executed(tmp_path: Path) -> None:
    (tmp_path / "test.txt").write_text("Hello from a file")
    with anyio.fail_after(60):
        tools = ToolExecutor()
        await tools.register_mcp("filesystem", stdio())
        result = await tools.execute("read_file", {"path": tmp_path / "test.txt"})
        assert result == ToolResult(True, "Hello from a file")
        assert await tools.execute("filesystem_read_file", {"path": str(tmp_path / "test.txt")}) == result
        pid = (await tools.execute("pid")).result
        assert (await tools.execute("pid")).result == pid  # one process for all calls
        assert runs(pid)
        await tools.aclose()
        assert not runs(pid)
        assert "none is registered" in await error_of(tools, "read_file")


async def test_what_a_server_answers_is_the_result_or_what_went_wrong(new_server: HttpServerProcess) -> None:
    with anyio.fail_after(60):
        async with ToolExecutor() as tools:
            await tools.register_mcp("test", {"url": new_server.url})
            assert (await tools.execute("echo", {"value": {"a": [1, None]}})).result == {"a": [1, None]}
            assert isinstance((await tools.execute("image")).result, BinaryContent)
            assert (await error_of(tools, "fail")).startswith("'fail' failed: Error executing tool fail")
            misfit = await error_of(tools, "add", {"a": "x", "b": 1})
            assert "'add' failed" in misfit
            assert "valid integer" in misfit
            assert "the arguments of 'echo' cannot be sent as JSON" in await error_of(
                tools, "echo", {"value": object()}
            )
            assert "did you mean 'read_file'" in await error_of(tools, "readfile")


async def test_a_server_that_crashes_is_started_again_by_the_next_call() -> None:
    with anyio.fail_after(60):
        async with ToolExecutor() as tools:
            await tools.register_mcp("test", plain())
            pid = (await tools.execute("pid")).result
            assert "broke off the call of 'crash'" in await error_of(tools, "crash")
            assert (await tools.execute("pid")).result not in (pid, None)


async def test_a_server_behind_a_url_is_registered() -> None:
    with http_server("key=secret") as there, anyio.fail_after(60):
        async with ToolExecutor() as tools:
            with pytest.raises(ConfigurationError, match="answered with HTTP status 401") as refused:
                await tools.register_mcp("there", {"url": there.url, "headers": {"Authorization": "Bearer wrong"}})
            assert "wrong" not in str(refused.value)
            await tools.register_mcp("there", {"url": there.url, "headers": {"Authorization": "Bearer secret"}})
            assert (await tools.execute("add", {"a": 1, "b": 2})).result == 3
            there.kill()
            assert "is down" in await error_of(tools, "add", {"a": 1, "b": 2})
            assert "add" in {tool.name for tool in await tools.list_tools()}


async def test_calls_of_a_server_run_at_once_and_can_be_given_up(new_server: HttpServerProcess) -> None:
    with anyio.fail_after(60):
        async with ToolExecutor() as tools, calls() as begun:
            await tools.register_mcp("test", {"url": new_server.url})
            hold = {"port": begun.port}
            tasks = [asyncio.create_task(tools.execute("hold", hold)) for _ in range(3)]
            told = [await begun.next() for _ in tasks]  # all are under way
            told[0].writer.write(b"go on\n")
            done, rest = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            assert [task.result().result for task in done] == ["go on"]
            for task in rest:
                task.cancel()
            await asyncio.wait(rest)
            assert all(task.cancelled() for task in rest)
            assert "'hold' took longer than 0.1 s" in await error_of(tools, "hold", hold, timeout_s=0.1)
            assert (await tools.execute("add", {"a": 1, "b": 2})).result == 3


async def test_a_name_that_two_servers_have_needs_the_servers_name() -> None:
    with http_server("name=only_one") as one, http_server("name=only_two") as two, anyio.fail_after(60):
        async with ToolExecutor() as tools:
            servers = {"one": one, "two": two}.items()
            await asyncio.gather(*(tools.register_mcp(name, {"url": server.url}) for name, server in servers))
            assert await error_of(tools, "pid") == "several tools are named 'pid'; use one of one_pid, two_pid"
            pids = {(await tools.execute(name)).result for name in ("one_pid", "two_pid")}
            assert len(pids) == 2
            assert (await tools.execute("only_two")).result == (await tools.execute("two_only_two")).result
            tools.register_tool(Tool(lambda: "ours", name="pid"))
            assert (await tools.execute("pid")).result == "ours"
            names = {tool.name for tool in await tools.list_tools()}
            assert {"pid", "one_pid", "two_pid", "only_one", "only_two"} < names
            model = TestModel(call_tools=[])
            await Agent(model, toolsets=tools.toolsets).run("go")
            assert model.last_model_request_parameters is not None
            assert {tool.name for tool in model.last_model_request_parameters.function_tools} == names


async def test_an_agent_shares_the_servers() -> None:
    with anyio.fail_after(60):
        async with ToolExecutor() as tools:
            agent = Agent(calls_then("done", ("pid", "{}")), toolsets=tools.toolsets)
            await tools.register_mcp("test", plain())
            pid = (await tools.execute("pid")).result
            for _ in range(2):
                run = await agent.run("go")
                assert f"content={pid}" in repr(run.all_messages())
            assert (await tools.execute("pid")).result == pid


@pytest.mark.parametrize(
    ("config", "text"),
    [
        ({"command": "no-such-command"}, "'it' cannot be reached: the command 'no-such-command' cannot be started"),
        (
            {"command": sys.executable, "args": ["-c", ""]},
            "'it' cannot be reached: the command .* ended the connection",
        ),
        ({"url": "http://127.0.0.1:1/mcp"}, "'it' cannot be reached: 127.0.0.1:1 cannot be reached"),
        ({}, "'it' needs either `command` or `url`"),
    ],
    ids=["no command", "no server", "no listener", "nothing"],
)
async def test_a_server_that_cannot_be_reached_is_not_registered(config: dict[str, Any], text: str) -> None:
    with anyio.fail_after(60):
        async with with_a_function() as tools:
            for _ in range(2):  # its name stays free
                with pytest.raises(ConfigurationError, match=text):
                    await tools.register_mcp("it", config)
            assert [tool.name for tool in await tools.list_tools()] == ["double"]


async def test_a_server_is_registered_once(new_server: HttpServerProcess) -> None:
    config = {"url": new_server.url}
    with anyio.fail_after(60):
        async with ToolExecutor() as tools:
            first = asyncio.create_task(tools.register_mcp("test", config))
            await asyncio.sleep(0)
            with pytest.raises(ConfigurationError, match="MCP server 'test' already"):
                await tools.register_mcp("test", config)
            await first
            with pytest.raises(ConfigurationError, match="MCP server 'test' already"):
                await tools.register_mcp("test", config)
            assert (await tools.execute("test_add", {"a": 1, "b": 2})).result == 3


CALLS_US_AND_WAITS = "import socket, sys; called = socket.create_connection(('127.0.0.1', {port})); sys.stdin.read()"


async def test_a_registration_that_is_cancelled_leaves_no_process() -> None:
    ended = asyncio.Event()

    async def hear(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        began.set()
        await reader.read()  # the end of the connection is that of the process
        writer.close()
        ended.set()

    began = asyncio.Event()
    with anyio.fail_after(60):
        async with ToolExecutor() as tools, await asyncio.start_server(hear, "127.0.0.1", 0) as listener:
            code = CALLS_US_AND_WAITS.format(port=listener.sockets[0].getsockname()[1])
            task = asyncio.create_task(tools.register_mcp("silent", {"command": sys.executable, "args": ["-c", code]}))
            await began.wait()
            assert "none is registered" in await error_of(tools, "add")
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await ended.wait()
            assert not tools._servers


async def test_what_is_closed_while_it_connects_is_not_registered() -> None:
    with anyio.fail_after(60):
        tools = ToolExecutor()
        task = asyncio.create_task(tools.register_mcp("test", plain()))
        await asyncio.sleep(0)
        await tools.aclose()
        with pytest.raises(ConfigurationError, match="closed while it connected"):
            await task
        assert await tools.list_tools() == []


def test_servers_belong_to_one_event_loop() -> None:
    tools = with_a_function()
    loop = asyncio.new_event_loop()
    loop.run_until_complete(tools.register_mcp("test", plain()))
    with pytest.raises(RuntimeError, match="connected on another event loop; use a ToolExecutor of its own"):
        asyncio.run(tools.execute("double", {"number": 1}))
    with pytest.raises(RuntimeError, match="connected on another event loop"):
        asyncio.run(tools.aclose())
    assert runs(loop.run_until_complete(tools.execute("test_pid")).result)
    loop.run_until_complete(tools.aclose())
    loop.close()
    assert asyncio.run(tools.execute("double", {"number": 1})).result == 2  # functions belong to none


def test_servers_end_with_their_event_loop() -> None:
    tools = with_a_function()

    async def register() -> int:
        await tools.register_mcp("test", plain())
        return (await tools.execute("pid")).result

    async def after() -> Any:
        with pytest.raises(RuntimeError, match=r"has ended, and they went with it; call aclose\(\)"):
            await tools.execute("double", {"number": 1})
        await tools.aclose()
        return (await tools.execute("double", {"number": 1})).result

    pid = asyncio.run(register())
    assert not runs(pid)
    assert asyncio.run(after()) == 2


CLOSES_NOTHING = """
import asyncio, sys
from pais_sdk.tools import ToolExecutor

async def main():
    tools = ToolExecutor()
    await tools.register_mcp("test", {"command": sys.executable, "args": [sys.argv[1]]})
    print((await tools.execute("pid")).result)

asyncio.run(main())
"""


def test_a_script_that_closes_nothing_ends_without_a_word() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", CLOSES_NOTHING, str(PLAIN)], capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert not runs(int(done.stdout))
