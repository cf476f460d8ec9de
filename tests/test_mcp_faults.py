"""MCP servers that are not there, end, hang or lie: everything else goes on."""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
from contextlib import closing
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio import fail_after
from pydantic_ai import Agent
from pydantic_ai.exceptions import ToolFailed
from pydantic_ai.messages import ModelMessage, ToolReturnPart
from pydantic_ai.models.function import AgentInfo

from pais_sdk.mcp import MCPServer, MCPServers

from .agents import Pieces, calls_then, model_of
from .mcp_servers import START_S, HttpServerProcess, Pauses, calls, http_server, kill, stdio
from .processes import is_alive

pytest_plugins = ["tests.mcp_shared"]
pytestmark = pytest.mark.anyio

SECRET = "sk-very-secret"
SAYS_NOTHING = [sys.executable, "-c", "import sys; sys.stdin.read()"]
STAYS = """
import signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
open({path!r}, "w").write(str(__import__("os").getpid()))
while True:
    time.sleep(60)
"""

TERMINATED = STAYS.replace("signal.SIG_IGN", 'lambda *_: open({path!r}, "a").write(" terminated")')

SPEAKS_BADLY = r"""
import json, sys

def say(raw):
    sys.stdout.buffer.write(raw.encode("latin-1"))
    sys.stdout.buffer.flush()

def answer(request, result):
    say(json.dumps({"jsonrpc": "2.0", "id": request["id"], "result": result}) + "\n")

count = 0
for line in sys.stdin:
    request = json.loads(line)
    method = request["method"]
    if method == "initialize":
        version = request["params"]["protocolVersion"]
        server = {"name": "test", "version": "1"}
        answer(request, {"protocolVersion": version, "capabilities": {"tools": {}}, "serverInfo": server})
    elif method == "tools/list":  # it has another tool each time, and says so
        count += 1
        answer(request, {"tools": [{"name": f"tool_{count}", "inputSchema": {"type": "object"}}]})
        if count < 5:
            say('{"jsonrpc": "2.0", "method": "notifications/tools/list_changed"}\n')
    elif method == "tools/call":
        say(request["params"]["arguments"]["raw"].replace("ID", str(request["id"])))
    elif "id" in request:
        say(json.dumps({"jsonrpc": "2.0", "id": request["id"], "error": {"code": -32601, "message": "no"}}) + "\n")
"""
ANSWER = '{"jsonrpc": "2.0", "id": ID, "result": {"content": [{"type": "text", "text": "%s"}]}}\n'


def command(*words: str) -> dict[str, Any]:
    return {"command": words[0], "args": list(words[1:])}


async def ends(pid: int) -> None:
    with fail_after(5):
        while is_alive(pid):
            await anyio.sleep(0.001)


async def is_in_state(server: MCPServer, state: str) -> None:
    while server.status.state != state:
        await anyio.sleep(0.001)


# Commands


async def test_a_command_that_crashes_is_started_again_once_for_each_crash(caplog: pytest.LogCaptureFixture) -> None:
    pauses = Pauses()  # none of which ends: what starts it again is the next call
    server = MCPServer("files", stdio(), pause=pauses)
    async with calls() as begun:
        with fail_after(2 * START_S), caplog.at_level(logging.INFO, "pais_sdk.mcp"):
            async with server:
                first = await server.call("pid", {})
                agent = Agent(calls_then("Sorry.", ("crash", "{}")), toolsets=[MCPServers([server])])
                result = await agent.run("go")
                assert result.output == "Sorry."
                parts = [part for message in result.all_messages() for part in message.parts]
                (part,) = [part for part in parts if isinstance(part, ToolReturnPart)]
                assert part.outcome == "failed"
                assert "'files' broke off the call of 'crash'. It may or may not have" in str(part.content)
                await is_in_state(server, "down")
                assert [tool.name for tool in server.offered_tools]  # a call would start it
                results = await asyncio.gather(*(server.call("pid", {}) for _ in range(3)))
                assert len(set(results)) == 1, "it was started more than once"
                second = results[0]
                assert second != first
                assert not Path(f"/proc/{first}").exists()

                # A tool that may be called twice is called again, and another is not.
                twice = asyncio.create_task(server.call("hold_again", {"port": begun.port}))
                once = asyncio.create_task(server.call("hold", {"port": begun.port}))
                assert {(await begun.next()).pid for _ in range(2)} == {second}
                kill(second)
                with pytest.raises(ToolFailed, match="broke off"):
                    await once
                told = await begun.next()
                assert told.pid not in (first, second)
                told.end("the second time")
                assert await twice == "the second time"
            assert not Path(f"/proc/{told.pid}").exists()
    said = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(said) == 2, said
    assert all("MCP server 'files' is down: the command" in text for text in said)
    assert [record.getMessage() for record in caplog.records if record.levelno == logging.INFO] == [
        "MCP server 'files' is back"
    ] * 2


@pytest.mark.parametrize(
    ("config", "says"),
    [
        (command("/not/there/tool", SECRET), "the command 'tool' cannot be started: No such file or directory"),
        ({**command(sys.executable), "cwd": "/not/there"}, "cannot be started: its working directory is not there"),
        (command("/", SECRET), "cannot be started: Permission denied"),
        (command(sys.executable, "-c", f"'{SECRET}'"), "ended the connection, or does not speak MCP"),
        (command(sys.executable, "-c", "print('hello', flush=True); input()"), "ended the connection, or does"),
        (command(*SAYS_NOTHING, SECRET), "did not answer within 0.2 s"),
        ({"url": f"http://127.0.0.1:9/{SECRET}", "headers": {"K": SECRET}}, "127.0.0.1:9 cannot be reached"),
        ({"url": f"http://{SECRET}:x@127.0.0.1:9"}, "127.0.0.1:9 cannot be reached"),
    ],
)  # fmt: skip
async def test_a_server_that_cannot_be_started_is_down_and_says_why_without_its_secrets(
    config: dict[str, Any], says: str, caplog: pytest.LogCaptureFixture
) -> None:
    pauses = Pauses()
    server = MCPServer("files", config, connect_timeout_s=0.2 if "did not" in says else 5, pause=pauses)
    before = asyncio.all_tasks()
    with fail_after(10), caplog.at_level(logging.WARNING, "pais_sdk.mcp"):
        async with server:
            await pauses.begun()  # the whole attempt is over
            assert (server.status.state, server.status.tools) == ("down", 0)
            assert says in str(server.status.error)
            assert server.tools == server.offered_tools == []
            with pytest.raises(ToolFailed, match="The MCP server 'files' is down"):
                await server.call("add", {})
    assert pauses.counts == [0]
    assert [record.getMessage() for record in caplog.records if record.name == "pais_sdk.mcp"] == [
        f"MCP server 'files' is down: {server_said(caplog)}"
    ]
    assert SECRET not in caplog.text
    assert asyncio.all_tasks() <= before


def server_said(caplog: pytest.LogCaptureFixture) -> str:
    (record,) = [record for record in caplog.records if record.name == "pais_sdk.mcp"]
    return record.getMessage().partition("is down: ")[2]


async def test_what_a_command_wrote_last_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    config = command(sys.executable, "-c", "import sys; sys.exit('no module named files')")
    with fail_after(10), caplog.at_level(logging.WARNING, "pais_sdk.mcp"):
        async with MCPServer("files", config, pause=Pauses()) as server:
            assert "files" not in str(server.status.error)
    assert "its last words: no module named files" in caplog.text


async def test_a_command_that_does_not_end_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mcp.client.stdio.PROCESS_TERMINATION_TIMEOUT", 0.05)
    monkeypatch.setattr("mcp.client.stdio.FORCE_KILL_TIMEOUT", 0.05)
    path = tmp_path / "pid"
    server = MCPServer("files", command(sys.executable, "-c", STAYS.format(path=str(path))))
    with fail_after(10):
        entering = asyncio.create_task(server.__aenter__())
        while not path.exists() or not path.read_text():
            await anyio.sleep(0.001)
        pid = int(path.read_text())
        entering.cancel()  # while it connects
        with pytest.raises(asyncio.CancelledError):
            await entering
        assert not Path(f"/proc/{pid}").exists(), "a process, or a zombie, is left"
        assert server.status.error == "it is not open"


async def test_a_command_that_is_being_ended_is_killed_though_it_is_closed_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mcp.client.stdio.PROCESS_TERMINATION_TIMEOUT", 0.05)
    monkeypatch.setattr("mcp.client.stdio.FORCE_KILL_TIMEOUT", 0.5)
    path = tmp_path / "pid"
    code = TERMINATED.format(path=str(path))
    server = MCPServer("files", command(sys.executable, "-c", code), connect_timeout_s=0.5)
    with fail_after(10):
        server.hold()
        while not path.exists() or "terminated" not in path.read_text():
            await anyio.sleep(0.001)
        await server.release()  # between SIGTERM and SIGKILL
    pid = int(path.read_text().split()[0])
    assert not Path(f"/proc/{pid}").exists(), "a process, or a zombie, is left"


@pytest.mark.parametrize(
    ("raw", "result"),
    [
        ("noise\n" + ANSWER % "yes", "yes"),
        ("\xff\xfe noise\n" + ANSWER % "yes", "yes"),
        (ANSWER % "not UTF-8: \xff", "not UTF-8: \N{REPLACEMENT CHARACTER}"),
        (ANSWER % r"half of \ud83d", "half of ?"),
        (ANSWER % r"all of \ud83d\ude00", "all of \N{GRINNING FACE}"),
    ],
    ids=["a line", "a line that is not UTF-8", "a byte", "half a character", "a character"],
)
async def test_what_a_command_writes_badly_breaks_nothing(raw: str, result: str) -> None:
    with fail_after(5):
        async with MCPServer("bad", command(sys.executable, "-c", SPEAKS_BADLY)) as server:
            assert await server.call("say", {"raw": raw}) == result


async def test_tools_that_change_while_they_are_listed_are_listed_again() -> None:
    with fail_after(5):
        async with MCPServer("bad", command(sys.executable, "-c", SPEAKS_BADLY)) as server:
            while [tool.name for tool in server.tools] != ["tool_5"]:
                await anyio.sleep(0.001)


def test_a_loop_that_ends_takes_the_command_along(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mcp.client.stdio.PROCESS_TERMINATION_TIMEOUT", 0.05)
    path = tmp_path / "pid"
    server = MCPServer(
        "files", command(sys.executable, "-c", STAYS.format(path=str(path)).replace("SIGTERM", "SIGINT"))
    )

    async def cell() -> int:
        server.hold()  # and never released
        while not path.exists() or not path.read_text():
            await anyio.sleep(0.001)
        return int(path.read_text())

    pid = asyncio.run(cell())
    assert not is_alive(pid)
    assert server.status.error == "it is not open"


# HTTP


@pytest.mark.parametrize("options", [(), ("old",)])
async def test_a_server_that_is_killed_and_restarted_in_mid_session_goes_on(options: tuple[str, ...]) -> None:
    pauses = Pauses()
    with http_server(*options) as process:
        server = MCPServer("web", {"url": process.url}, pause=pauses)
        async with calls() as begun:
            with fail_after(START_S):
                async with server:
                    call = asyncio.create_task(server.call("hold", {"port": begun.port}))
                    again = asyncio.create_task(server.call("hold_again", {"port": begun.port}))
                    pids = {(await begun.next()).pid for _ in range(2)}
                    process.kill()
                    with pytest.raises(ToolFailed, match=r"broke off|is down"):
                        await call
                    with pytest.raises(ToolFailed, match=r"broke off|is down"):
                        await again
                    await is_in_state(server, "down")
                    with pytest.raises(ToolFailed, match="is down"):  # after one more attempt at once
                        await server.call("add", {"a": 1, "b": 2})
                    assert server.offered_tools == []
                    assert "cannot be reached" in str(server.status.error)
                    process.start()
                    await pauses.end_until_ready(server)
                    assert await server.call("pid", {}) not in pids

                    if options:
                        process.kill()
                        process.start()  # before anybody noticed: the new one does not know the session
                        assert await server.call("pid", {}) not in pids


async def test_a_server_that_is_dead_at_the_start_comes_up_later_in_an_agent(new_server: HttpServerProcess) -> None:
    pauses = Pauses()
    late = HttpServerProcess("name=late")
    servers = MCPServers(
        [
            MCPServer("late", {"url": late.url}, pause=pauses),
            MCPServer("hangs", command(*SAYS_NOTHING), connect_timeout_s=0.2),
            MCPServer("test", {"url": new_server.url}),
        ]
    )
    seen: list[set[str]] = []

    async def stream(messages: list[ModelMessage], info: AgentInfo) -> Pieces:
        seen.append({tool.name for tool in info.function_tools})
        yield "yes"

    agent = Agent(model_of(stream), toolsets=[servers])
    with closing(late), fail_after(START_S):
        async with agent:
            assert [status.state for status in servers.statuses] == ["down", "down", "ready"]
            version = servers.version
            await agent.run("go")
            result = await agent.run("go", model=calls_then("Three.", ("add", '{"a": 1, "b": 2}')))
            assert result.output == "Three."
            late.start()
            await pauses.end_until_ready(servers.servers[0])
            assert servers.version > version
            await agent.run("go")
    assert "add" in seen[0]
    assert "late" not in seen[0]
    assert {"late", "late_add", "test_add"} <= seen[1]
    assert pauses.counts == list(range(len(pauses.counts)))


async def test_a_refused_key_is_told_by_its_status(
    new_server: HttpServerProcess, caplog: pytest.LogCaptureFixture
) -> None:
    wrong = {"url": new_server.url, "headers": {"Authorization": f"Bearer wrong {SECRET}"}}
    with fail_after(5), caplog.at_level(logging.WARNING, "pais_sdk.mcp"):
        async with MCPServer("web", wrong, pause=Pauses()) as server:
            assert server.status.error == f"127.0.0.1:{new_server.port} answered with HTTP status 401"
    assert SECRET not in caplog.text


async def test_a_server_that_hangs_is_found_out_after_a_call_that_took_too_long(new_server: HttpServerProcess) -> None:
    pauses = Pauses()
    server = MCPServer("web", {"url": new_server.url}, connect_timeout_s=1, pause=pauses)
    with fail_after(10):
        async with server:
            await server.call("add", {"a": 1, "b": 2})
            new_server.stop()
            try:
                with pytest.raises(ToolFailed, match=r"took longer than 0\.05 s"):
                    await server.call("add", {"a": 1, "b": 2}, timeout_s=0.05)
                await pauses.begun()
                error = server.status.error
            finally:
                new_server.go_on()
    assert error == f"127.0.0.1:{new_server.port} did not answer within 1 s"


async def test_a_server_that_is_busy_with_a_call_is_not_taken_for_dead(
    new_server: HttpServerProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pais_sdk.mcp.connection import Connection

    looks: list[str] = []
    list_tools = Connection.list_tools

    async def look(connection: Connection) -> Any:
        try:
            return await list_tools(connection)
        except asyncio.CancelledError:
            looks.append("took too long")
            raise

    monkeypatch.setattr("pais_sdk.mcp.keeper._LOOK_S", 0.01)
    monkeypatch.setattr(Connection, "list_tools", look)
    async with calls() as begun:
        with fail_after(10):
            async with MCPServer("web", {"url": new_server.url}, connect_timeout_s=1) as server:
                call = asyncio.create_task(server.call("hold_all", {"port": begun.port}))
                told = await begun.next()
                while not looks:
                    await anyio.sleep(0.001)
                told.end("answer")
                assert await call == "answer"


async def test_a_call_that_breaks_off_leaves_the_others_alone(new_server: HttpServerProcess) -> None:
    async with calls() as begun:
        with fail_after(10):
            async with MCPServer("web", {"url": new_server.url}) as server:
                call = asyncio.create_task(server.call("hold", {"port": begun.port}))
                told = await begun.next()
                with pytest.raises(ToolFailed, match="broke off the call of 'echo'"):
                    await server.call("echo", {"value": {"a": "x" * 10_000_000}})  # more than it reads
                told.end("answer")
                assert await call == "answer"
                assert server.status.state == "ready"


async def test_a_redirect_to_another_host_is_not_followed() -> None:
    asked: list[str] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        asked.append(head)
        writer.write(f"HTTP/1.1 307 Moved\r\nLocation: {elsewhere}\r\nContent-Length: 0\r\n\r\n".encode())
        await writer.drain()
        writer.close()

    async with (
        await asyncio.start_server(answer, "127.0.0.1", 0) as one,
        await asyncio.start_server(answer, "127.0.0.1", 0) as other,
    ):
        port, other_port = (server.sockets[0].getsockname()[1] for server in (one, other))
        elsewhere = f"http://127.0.0.1:{other_port}/mcp"
        config = {"url": f"http://127.0.0.1:{port}/mcp", "headers": {"Authorization": SECRET}}
        with fail_after(5):
            async with MCPServer("web", config, pause=Pauses()) as server:
                assert server.status.error == f"127.0.0.1:{port} answered with HTTP status 307"
    assert SECRET in asked[0]
    assert not any(f"127.0.0.1:{other_port}" in head for head in asked)


async def test_entering_waits_for_no_longer_than_the_slowest_server() -> None:
    servers = MCPServers(
        MCPServer(f"hangs {number}", command(*SAYS_NOTHING), connect_timeout_s=0.5) for number in range(5)
    )
    loop = asyncio.get_running_loop()
    with fail_after(20):
        started = loop.time()
        await servers.__aenter__()
        took = loop.time() - started
        await servers.__aexit__(None, None, None)
    assert took < 5 * 0.5
    assert {status.state for status in servers.statuses} == {"down"}


async def test_importing_what_talks_to_servers_does_not_hold_up_the_loop() -> None:
    threads: list[str] = []
    original = MCPServer.__init__.__globals__["Keeper"].__init__.__globals__["_load"]

    def load() -> Any:
        threads.append(threading.current_thread().name)
        return original()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pais_sdk.mcp.keeper._load", load)
        with fail_after(START_S):
            async with MCPServer("web", {"url": "http://127.0.0.1:9"}, pause=Pauses()):
                pass
    assert threads
    assert threading.main_thread().name not in threads
