"""MCP servers that work: their tools, by themselves and in an agent."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio import fail_after
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic_ai import Agent, BinaryContent, ModelRetry, RunContext
from pydantic_ai.exceptions import ToolFailed
from pydantic_ai.messages import ModelMessage, ToolReturnPart
from pydantic_ai.models.function import AgentInfo
from pydantic_ai.models.test import TestModel
from pydantic_ai.usage import RunUsage

from pais_sdk import AgentRuntime, ToolCalled, ToolReturned
from pais_sdk.mcp import MCPServer, MCPServers
from pais_sdk.mcp.names import ToolNames, valid_name

from .agents import Pieces, calls_then, model_of
from .mcp_servers import (
    START_S,
    HttpServerProcess,
    calls,
    stdio,
)
from .processes import is_alive

pytest_plugins = ["tests.mcp_shared"]
pytestmark = pytest.mark.anyio

OWN = {"add", "echo", "read_file", "hold", "hold_again", "fail", "crash", "pid", "environment", "folder", "complain"}
PIXEL = bytes.fromhex("89504e470d0a1a0a0000000d4948445200000001000000010802000000907753de")


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module", params=["stdio", "new_server", "old_server"])
async def server(request: pytest.FixtureRequest) -> AsyncGenerator[MCPServer]:
    """A server that is entered, over each kind of wire."""
    config = stdio() if request.param == "stdio" else {"url": request.getfixturevalue(request.param).url}
    server = MCPServer("test", config)
    with fail_after(START_S):
        await server.__aenter__()
    yield server
    with fail_after(5):
        await server.__aexit__(None, None, None)


def context(agent: Agent[Any, Any] | None = None) -> RunContext[Any]:
    return RunContext(deps=None, model=TestModel(), usage=RunUsage(), agent=agent, max_retries=1)


# One server


async def test_tools_are_listed_called_and_told_apart_from_errors(server: MCPServer, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("what is in it")
    assert (server.status.state, server.status.error) == ("ready", None)
    assert server.status.tools == len(server.tools)
    assert {tool.name for tool in server.tools} >= OWN
    add = server.tools[0]
    assert (add.name, add.description) == ("add", "Add two numbers.")
    assert add.parameters_json_schema["properties"]["a"] == {"title": "A", "type": "integer"}
    with fail_after(5):
        assert await server.call("add", {"a": 1, "b": 2}) == 3
        assert await server.call("echo", {"value": {"a": [1, {"b": None}]}}) == {"a": [1, {"b": None}]}
        assert await server.call("read_file", {"path": str(tmp_path / "a.txt")}) == "what is in it"
        image = await server.call("image", {})
        assert isinstance(image, BinaryContent)
        assert (image.media_type, image.data) == ("image/png", PIXEL)
        with pytest.raises(ToolFailed, match="Error executing tool fail"):
            await server.call("fail", {})
        with pytest.raises(ToolFailed, match="valid integer"):
            await server.call("add", {"a": "x", "b": 2})
        with pytest.raises((ToolFailed, ModelRetry), match="Unknown tool"):
            await server.call("nothing_like_it", {})
    assert server.status.state == "ready"


async def test_calls_run_side_by_side(server: MCPServer) -> None:
    async with calls() as begun:
        with fail_after(5):
            results = [asyncio.create_task(server.call("hold", {"port": begun.port})) for _ in range(5)]
            held = [await begun.next() for _ in results]
            assert await server.call("add", {"a": 1, "b": 2}) == 3
            for number, told in enumerate(held):
                told.end(f"answer {number}")
            assert sorted(await asyncio.gather(*results)) == [f"answer {number}" for number in range(5)]


async def test_a_cancelled_call_is_cancelled_at_the_server_and_the_next_one_works(server: MCPServer) -> None:
    async with calls() as begun:
        with fail_after(5):
            call = asyncio.create_task(server.call("hold", {"port": begun.port}))
            told = await begun.next()
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
            await told.cancelled()
            async with anyio.create_task_group() as group:  # AnyIO's way to cancel, which comes again and again
                group.start_soon(server.call, "hold", {"port": begun.port})
                told = await begun.next()
                group.cancel_scope.cancel()
            await told.cancelled()
            assert await server.call("add", {"a": 1, "b": 2}) == 3
            assert server.status.state == "ready"


async def test_a_result_may_be_large(server: MCPServer) -> None:
    value = {"text": "x" * 2_000_000}
    with fail_after(10):
        assert await server.call("echo", {"value": value}) == value


@pytest.mark.parametrize("value", ["half of \ud83d", b"\xff", object()])
async def test_arguments_that_cannot_be_sent_leave_the_other_calls_alone(server: MCPServer, value: Any) -> None:
    async with calls() as begun:
        with fail_after(5):
            call = asyncio.create_task(server.call("hold", {"port": begun.port}))
            told = await begun.next()
            with pytest.raises(ModelRetry, match="The arguments of 'echo' cannot be sent"):
                await server.call("echo", {"value": {"a": value}})
            told.end("answer")
            assert await call == "answer"


async def test_changed_tools_are_taken_up(server: MCPServer) -> None:
    with fail_after(5):
        version, count = server.version, len(server.tools)
        await server.call("change_tools", {"name": "new"})
        while len(server.tools) == count:
            await anyio.sleep(0.001)
        assert server.version > version
        assert isinstance(await server.call("new", {}), int)


async def test_many_calls_may_be_on_their_way(new_server: HttpServerProcess) -> None:
    async with calls() as begun:
        with fail_after(10):
            async with MCPServer("test", {"url": new_server.url}) as server:
                results = [asyncio.create_task(server.call("hold", {"port": begun.port})) for _ in range(120)]
                held = [await begun.next() for _ in results]
                assert await server.call("add", {"a": 1, "b": 2}) == 3
                for told in held:
                    told.end("answer")
                assert set(await asyncio.gather(*results)) == {"answer"}


async def test_a_call_that_takes_too_long_fails_and_the_next_one_works(new_server: HttpServerProcess) -> None:
    server = MCPServer("test", {"url": new_server.url}, call_timeout_s=0.1)
    async with calls() as begun:
        with fail_after(5):
            async with server:
                with pytest.raises(ToolFailed, match=r"took longer than 0\.1 s"):
                    await server.call("hold", {"port": begun.port})
                await (await begun.next()).cancelled()
                assert await server.call("add", {"a": 1, "b": 2}, timeout_s=5) == 3
                assert server.status.state == "ready"


async def test_many_may_enter_and_it_is_connected_once(new_server: HttpServerProcess) -> None:
    server = MCPServer("test", {"url": new_server.url})

    async def use() -> None:
        async with server:
            versions.add(server.version)
            assert await server.call("add", {"a": 1, "b": 2}) == 3

    versions: set[int] = set()
    with fail_after(5):
        async with server:
            await asyncio.gather(*(use() for _ in range(20)))
            assert len(versions) == 1
            assert server.status.state == "ready"
        assert server.status.state == "down"
        async with server:  # and again
            assert await server.call("add", {"a": 1, "b": 2}) == 3
    with pytest.raises(RuntimeError, match="not open on this event loop"):
        await server.call("add", {})


async def test_another_event_loop_may_have_it_afterwards_and_not_at_the_same_time(
    new_server: HttpServerProcess,
) -> None:
    server = MCPServer("test", {"url": new_server.url})

    async def use() -> Any:
        async with server:
            return await server.call("add", {"a": 1, "b": 2})

    with fail_after(5):
        async with server:
            with pytest.raises(RuntimeError, match="is open on another event loop"):
                await asyncio.to_thread(asyncio.run, use())
        assert await asyncio.to_thread(asyncio.run, use()) == 3
        assert await use() == 3


async def test_a_command_gets_its_variables_its_folder_and_nothing_secret(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOME_API_KEY", "sk-very-secret")
    server = MCPServer("test", {**stdio(), "env": {"MINE": "1", "HOME": "/nowhere"}, "cwd": str(tmp_path)})
    with fail_after(START_S):
        async with server:
            environment = await server.call("environment", {})
            assert environment["MINE"] == "1"
            assert environment["HOME"] == "/nowhere"
            assert "PATH" in environment
            assert "SOME_API_KEY" not in environment
            assert await server.call("folder", {}) == str(tmp_path.resolve())
            pid = await server.call("pid", {})
            # More than a pipe holds, in one line: nobody must wait for anybody.
            assert await server.call("complain", {"text": "x" * 300_000}) == "done"
            assert is_alive(pid)
        assert not Path(f"/proc/{pid}").exists(), "a process, or a zombie, is left"


# Several, in an agent


async def test_an_agent_calls_the_tools_in_a_streamed_run(new_server: HttpServerProcess) -> None:
    servers = MCPServers({"test": {"url": new_server.url}})
    agent = Agent(calls_then("Three.", ("add", '{"a": 1, "b": 2}')))
    with fail_after(5):
        async with AgentRuntime(agent, toolsets=[servers]) as runtime:
            async with runtime.stream("How much is 1 and 2?") as run:
                events = [event async for event in run]
            assert [event.tool_name for event in events if isinstance(event, ToolCalled)] == ["add"]
            (returned,) = [event for event in events if isinstance(event, ToolReturned)]
            assert returned.content == 3
            assert run.outcome.text == "Three."
            assert "add" in {tool.name for tool in await runtime.list_tools()}
        assert servers.statuses[0].state == "down"


async def test_an_agent_run_in_a_cell_opens_and_closes_them(new_server: HttpServerProcess) -> None:
    servers = MCPServers({"test": {"url": new_server.url}})
    agent = Agent(calls_then("Three.", ("add", '{"a": 1, "b": 2}'), ("fail", "{}")))
    with fail_after(5):
        result = await agent.run("1 and 2?", toolsets=[servers])
    returned = {
        part.tool_name: (str(part.content), part.outcome)
        for message in result.all_messages()
        for part in message.parts
        if isinstance(part, ToolReturnPart)
    }
    assert returned["add"] == ("3", "success")
    assert returned["fail"][0].startswith("Error executing tool fail")
    assert returned["fail"][1] == "failed"
    assert servers.statuses[0].state == "down"


async def test_names_that_collide_are_prefixed_for_good_and_the_agents_own_stay(
    new_server: HttpServerProcess,
) -> None:
    one = MCPServer("one", {"url": new_server.url})
    servers = MCPServers([one])
    agent = Agent(toolsets=[servers])

    @agent.tool_plain
    def pid() -> str:  # pyright: ignore[reportUnusedFunction]
        return "of the agent"

    with fail_after(5):
        async with servers:
            names = set(await servers.get_tools(context()))
            assert {"add", "pid"} <= names
            names = set(await servers.get_tools(context(agent)))
            assert {"add", "one_pid"} <= names
            assert "pid" not in names
            assert "pid" not in await servers.get_tools(context())  # once it is prefixed it stays so

            servers.add(MCPServer("the two", {"url": new_server.url}))
            await servers.servers[1].settled()
            tools = await servers.get_tools(context())
            assert not {"add", "echo", "hold"} & set(tools)
            assert {"one_add", "the_two_add"} <= set(tools)
            tool = tools["the_two_add"]
            assert await servers.call_tool("the_two_add", {"a": 1, "b": 2}, context(), tool) == 3

            model = calls_then("Done.", ("pid", "{}"), ("one_pid", "{}"))
            result = await agent.run("Who are you?", model=model)
            parts = [part for message in result.all_messages() for part in message.parts]
            returned = [part.content for part in parts if isinstance(part, ToolReturnPart)]
            assert returned[0] == "of the agent"
            assert isinstance(returned[1], int)
        assert [status.state for status in servers.statuses] == ["down", "down"]
        assert await servers.get_tools(context()) == {}


async def test_a_tool_with_the_name_of_the_output_breaks_no_run(new_server: HttpServerProcess) -> None:
    server = MCPServer("test", {"url": new_server.url})
    servers = MCPServers([server])

    async def stream(messages: list[ModelMessage], info: AgentInfo) -> Pieces:
        names.append({tool.name for tool in info.function_tools})
        yield "7"

    names: list[set[str]] = []
    with fail_after(5):
        async with servers:
            await server.call("change_tools", {"name": "final_result"})
            while "final_result" not in {tool.name for tool in server.tools}:
                await anyio.sleep(0.001)
            await Agent(model_of(stream), toolsets=[servers]).run("go")
    assert "test_final_result" in names[0]
    assert "final_result" not in names[0]


async def test_instructions_are_passed_on_where_they_are_wanted(new_server: HttpServerProcess) -> None:
    seen: list[str | None] = []

    async def stream(messages: list[ModelMessage], info: AgentInfo) -> Pieces:
        seen.append(info.instructions)
        yield "yes"

    servers = {"test": {"url": new_server.url}}
    with fail_after(5):
        for wanted in (False, True):
            toolset = MCPServers(servers, include_instructions=wanted)
            await Agent(model_of(stream), instructions="Mine.").run("go", toolsets=[toolset])
    assert [text is not None and "Add with add." in text for text in seen] == [False, True]


# Names


NEAR = st.sampled_from(["x", "b_x", "a_b_x", "x.y", "x_y", "x/y", ""])
TOOLS = st.lists(st.tuples(st.sampled_from(["a", "a_b", "b", "ä b", ""]), st.text(max_size=80) | NEAR), max_size=8)


@given(TOOLS, st.sets(st.sampled_from(["x", "a_x", "a_b_x", "x_y", "b_x"])))
def test_every_tool_has_one_name_that_apis_accept_and_nobody_else_has(
    tools: list[tuple[str, str]], taken: set[str]
) -> None:
    names = ToolNames()
    given_names = names.give(tools, taken=taken)
    assert sorted(given_names.values()) == sorted(set(tools))
    assert not set(given_names) & taken
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{1,64}", name) for name in given_names)
    assert names.give(tools, taken=taken) == given_names


@given(TOOLS, TOOLS)
@example([("a", "x"), ("a", "a:b:x")], [("a_b", "x"), ("a_b", "a:b:x")])
def test_a_name_never_means_another_tool_as_long_as_all_are_known(
    tools: list[tuple[str, str]], more: list[tuple[str, str]]
) -> None:
    names = ToolNames()
    before = names.give(tools)
    after = names.give([*tools, *more])
    assert all(after.get(name, tool) == tool for name, tool in before.items())


@pytest.mark.parametrize(
    ("name", "valid"),
    [
        ("read_file", "read_file"),
        ("get-it", "get-it"),
        ("github.create issue", "github_create_issue"),
        ("x" * 64, "x" * 64),
        ("x" * 65, "x" * 51 + "_"),
        ("", "tool_"),
        ("читать", "tool_"),
    ],
)
def test_a_hostile_name_is_made_valid(name: str, valid: str) -> None:
    made = valid_name(name)
    assert made == valid or (valid.endswith("_") and re.fullmatch(f"{valid}[0-9a-f]{{12}}", made))
