"""How MCP servers are configured: in code, in a file, and in the environment."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from pydantic_ai import Agent
from pydantic_ai.toolsets import AbstractToolset

from pais_sdk import AgentRuntime, ConfigurationError, Settings, serve
from pais_sdk.compose import create_runtime
from pais_sdk.compose.mcp import create_mcp
from pais_sdk.mcp import HttpServer, MCPServers, StdioServer, parse_server, read_mcp_config

from .agents import echo_agent, echo_model

SECRET = "sk-very-secret"


def written(folder: Path, servers: Mapping[str, Any]) -> Path:
    path = folder / "mcp.json"
    path.write_text(json.dumps({"mcpServers": servers}))
    return path


# One entry


@pytest.mark.parametrize(
    ("entry", "server"),
    [
        ({"command": "npx"}, StdioServer(command="npx")),
        (
            {"type": "stdio", "command": "npx", "args": ["-y", "x"], "env": {"A": "1"}, "cwd": "/"},
            StdioServer(command="npx", args=("-y", "x"), env={"A": "1"}, cwd=Path("/")),
        ),
        ({"command": "npx", "args": None, "env": None, "cwd": None, "url": None}, StdioServer(command="npx")),
        ({"url": "http://a/mcp"}, HttpServer(url="http://a/mcp")),
        (
            {"type": "http", "url": "https://a:1/x", "headers": {"K": "v"}},
            HttpServer(url="https://a:1/x", headers={"K": "v"}),
        ),
        ({"type": "streamable-http", "url": "http://a"}, HttpServer(url="http://a")),
        ({"type": "streamableHttp", "url": "http://a"}, HttpServer(url="http://a")),
        ({"url": "http://a", "headers": {"X-Empty": ""}}, HttpServer(url="http://a", headers={"X-Empty": ""})),
        ({"url": "http://a", "autoApprove": ["x"], "timeout": 3}, HttpServer(url="http://a")),
    ],
)
def test_an_entry_is_a_command_or_a_url(entry: dict[str, Any], server: StdioServer | HttpServer) -> None:
    assert parse_server("a", entry) == server


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        ({}, "needs either `command` or `url`"),
        ({"command": "x", "url": "http://a"}, "needs either `command` or `url`"),
        ({"command": ""}, "`command` must be a text"),
        ({"command": ["x"]}, "`command` must be a text"),
        ({"command": "a\0b"}, "`command` must be a text"),
        ({"command": "x", "args": "y"}, "`args` must be a list of texts"),
        ({"command": "x", "args": [1]}, "`args` must be a list of texts"),
        ({"command": "x", "env": {"A": 1}}, "`env` must be an object of texts"),
        ({"command": "x", "env": ["A"]}, "`env` must be an object of texts"),
        ({"command": "x", "cwd": 1}, "`cwd` must be a text"),
        ({"url": "http://a", "headers": {"A": None}}, "`headers` must be an object of texts"),
        ({"url": "http://a", "headers": {"Authorization": f"Bearer {SECRET}\n"}}, "`headers` cannot be sent: 'Auth"),
        ({"url": "http://a", "headers": {"Key": f"{SECRET}\u20ac"}}, "`headers` cannot be sent: 'Key' has a character"),
        ({"url": "http://a", "headers": {"Two words": SECRET}}, "`headers` cannot be sent: 'Two words'"),
        ({"url": "http://a", "headers": {"": SECRET}}, "`headers` cannot be sent: ''"),
        ({"url": SECRET}, "`url` must begin with http:// or https:// and name a host"),
        ({"url": f"ftp://{SECRET}"}, "`url` must begin with http:// or https:// and name a host"),
        ({"url": f"http://[{SECRET}"}, "`url` must begin with http:// or https:// and name a host"),
        ({"url": f"http://a:{SECRET}"}, "`url` must begin with http:// or https:// and name a host"),
        ({"type": "sse", "url": "http://a/sse"}, "of type sse, which is not supported"),
        ({"type": "grpc", "url": "http://a"}, "a type that is not known"),
        ({"type": "http", "command": "x"}, "of type http and needs `url`"),
        ({"type": 1, "url": "http://a"}, "`type` must be a text"),
    ],
)
def test_an_entry_that_cannot_be_used_is_refused_without_its_values(entry: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse_server("files", entry)
    assert "'files'" in str(caught.value)
    assert says in str(caught.value)
    assert SECRET not in str(caught.value)


def test_a_server_is_shown_without_its_secrets() -> None:
    pairs = {"KEY": SECRET}
    assert SECRET not in repr([StdioServer(command="x", env=pairs), HttpServer(url="http://a", headers=pairs)])


# A file


def test_a_file_has_servers_and_variables_are_filled_in_everywhere(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        {
            "files": {
                "command": "${BIN}/run",
                "args": ["--in=${DIR:-/data}", "${EMPTY:-none}"],
                "env": {"K": "${KEY}"},
                "cwd": "${DIR:-/}",
            },
            "web": {"url": "http://${HOST:-a}:${PORT}/mcp", "headers": {"Authorization": "Bearer ${KEY}"}},
            "off": {"command": "${NOT_SET}", "disabled": True},
            "on": {"command": "x", "disabled": False},
        },
    )
    environment = {"BIN": "/bin", "KEY": SECRET, "EMPTY": "", "PORT": "81"}
    assert read_mcp_config(path, environment) == {
        "files": StdioServer(command="/bin/run", args=("--in=/data", "none"), env={"K": SECRET}, cwd=Path("/")),
        "web": HttpServer(url="http://a:81/mcp", headers={"Authorization": f"Bearer {SECRET}"}),
        "on": StdioServer(command="x"),
    }


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('{"mcpServers": {\n"a": {"command": "sk-very-secret",}}}', "is no JSON: .*, line 2$"),
        ("", "is no JSON: .*, line 1$"),
        ("[]", "must be an object with an object `mcpServers`$"),
        ('{"servers": {}}', "must be an object with an object `mcpServers`$"),
        ('{"mcpServers": []}', "must be an object with an object `mcpServers`$"),
        ('{"mcpServers": {"a": "sk-very-secret"}}', "'a' .*must be an object$"),
        ('{"mcpServers": {"a": {"command": "${NOT_SET}"}}}', "'a' needs NOT_SET, which is not set"),
        ('{"mcpServers": {"a": {"command": "x"}, "a": {"command": "y"}}}', "has the key 'a' twice in one object"),
        ('{"mcpServers": {"a": {"url": "${KEY}"}}}', "'a': `url` must begin with"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_by_its_name(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "mcp.json"
    path.write_text(text)
    with pytest.raises(ConfigurationError, match=says) as caught:
        read_mcp_config(path, {"KEY": SECRET})
    assert "mcp.json" in str(caught.value)
    assert SECRET not in str(caught.value)


def test_a_file_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    path = tmp_path / "mcp.json"
    path.write_text('{"mcpServers": {"a": {"command": "x"}}}', "utf-8-sig")
    assert read_mcp_config(path) == {"a": StdioServer(command="x")}


def test_a_file_that_is_not_there_or_not_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot be read: No such file"):
        read_mcp_config(tmp_path / "none.json")
    (tmp_path / "bytes.json").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigurationError, match="is not UTF-8"):
        read_mcp_config(tmp_path / "bytes.json")


def test_from_config_fills_in_only_what_it_is_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEY", SECRET)
    path = written(tmp_path, {"a": {"command": "x", "env": {"K": "${KEY}"}}})
    with pytest.raises(ConfigurationError, match="'a' needs KEY"):
        MCPServers.from_config(path)
    (server,) = MCPServers.from_config(path, environment={"KEY": "1"}, required=["a"]).servers
    assert (server.name, server.required) == ("a", True)
    assert server.config == StdioServer(command="x", env={"K": "1"})


def test_servers_of_one_name_and_required_ones_that_are_not_there_are_refused() -> None:
    servers = MCPServers({"a": {"command": "x"}})
    with pytest.raises(ConfigurationError, match="two MCP servers with the name 'a'"):
        servers.add(servers.servers[0])
    with pytest.raises(ConfigurationError, match="'b' is required"):
        MCPServers({"a": {"command": "x"}}, required=["b"])


# The environment


def urls(monkeypatch: pytest.MonkeyPatch, names: str, **variables: str) -> dict[str, str]:
    for variable, value in variables.items():
        monkeypatch.setenv(variable, value)
    servers = create_mcp(Settings(mcp_servers=names))
    assert servers is not None
    return {server.name: server.config.url for server in servers.servers if isinstance(server.config, HttpServer)}


@pytest.mark.parametrize("names", ["a,b-c", "[a,b-c]", " [ a , b-c ] ", "a,,b-c,"])
def test_names_may_have_brackets_and_spaces(monkeypatch: pytest.MonkeyPatch, names: str) -> None:
    found = urls(monkeypatch, names, MCP_SERVER_A_URL="http://a", MCP_SERVER_B_C_URL="http://b")
    assert found == {"a": "http://a/mcp", "b-c": "http://b/mcp"}


def test_the_variable_with_the_name_as_it_is_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MCP_SERVER_echo-tools_URL", "http://verbatim")
    assert urls(monkeypatch, "echo-tools", MCP_SERVER_ECHO_TOOLS_URL="http://upper") == {
        "echo-tools": "http://verbatim/mcp"
    }


@pytest.mark.parametrize(
    ("url", "used"),
    [
        ("http://a.b.svc:8000", "http://a.b.svc:8000/mcp"),
        ("http://a/", "http://a/mcp"),
        ("http://a/mcp", "http://a/mcp"),
        ("http://a/mcp//", "http://a/mcp"),
        ("https://gateway/ns/mcp/files", "https://gateway/ns/mcp/files/mcp"),
        ("http://a/x?key=1", "http://a/x/mcp?key=1"),
    ],
)
def test_mcp_is_appended_once(monkeypatch: pytest.MonkeyPatch, url: str, used: str) -> None:
    assert urls(monkeypatch, "a", MCP_SERVER_A_URL=url) == {"a": used}


@pytest.mark.parametrize(
    ("variables", "says"),
    [
        ({"MCP_SERVERS": "a-b"}, "its URL is missing: set MCP_SERVER_a-b_URL or MCP_SERVER_A_B_URL$"),
        ({"MCP_SERVERS": "a-b", "MCP_SERVER_A_B_URL": " "}, "its URL is missing"),
        ({"MCP_SERVERS": "A"}, "its URL is missing: set MCP_SERVER_A_URL$"),
        ({"MCP_SERVERS": "a,b,a"}, "names 'a' twice$"),
        ({"MCP_SERVERS": "a", "MCP_SERVER_a_URL": SECRET}, "^MCP_SERVER_a_URL cannot be used: it must begin with http"),
        ({"MCP_SERVERS": "a", "MCP_SERVER_A_URL": "http://"}, "^MCP_SERVER_A_URL cannot be used: .* name a host$"),
        ({"MCP_REQUIRED": "a"}, "^MCP_REQUIRED names 'a', which neither"),
        ({"MCP_CONFIG": "not-there.json"}, "'not-there.json' cannot be read"),
    ],
)
def test_an_environment_that_cannot_be_used_stops_the_start(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], says: str
) -> None:
    for variable, value in variables.items():
        monkeypatch.setenv(variable, value)
    with pytest.raises(ConfigurationError, match=says) as caught:
        create_mcp(Settings())
    assert SECRET not in str(caught.value)


def test_the_file_and_the_variables_are_put_together(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("KEY", SECRET)
    same = {"url": "http://a/mcp"}
    path = written(tmp_path, {"a": same, "files": {"command": "x", "env": {"K": "${KEY}"}}})
    monkeypatch.setenv("MCP_CONFIG", str(path))
    monkeypatch.setenv("MCP_SERVERS", "a,b")
    monkeypatch.setenv("MCP_REQUIRED", "b, files")
    monkeypatch.setenv("MCP_SERVER_A_URL", "http://a")
    monkeypatch.setenv("MCP_SERVER_B_URL", "http://b")
    servers = create_mcp(Settings())
    assert servers is not None
    assert [(server.name, server.required) for server in servers.servers] == [
        ("a", False),
        ("files", True),
        ("b", True),
    ]
    assert servers.servers[1].config == StdioServer(command="x", env={"K": SECRET})
    monkeypatch.setenv("MCP_SERVER_A_URL", "http://other")
    with pytest.raises(ConfigurationError, match="have different servers named 'a'"):
        create_mcp(Settings())


def test_without_servers_there_is_no_toolset(tmp_path: Path) -> None:
    assert create_mcp(Settings()) is None
    assert create_mcp(Settings(mcp_config=str(written(tmp_path, {})))) is None


def test_the_servers_stand_beside_the_toolsets_that_are_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MCP_SERVER_A_URL", "http://a")
    mine: AbstractToolset[Any] = MCPServers(id="mine")
    settings = Settings(mcp_servers="a")
    runtime = create_runtime(echo_agent(), settings=settings, options={"toolsets": [mine]})
    own, found = runtime.arguments.toolsets()[-2:]
    assert own is mine
    assert isinstance(found, MCPServers)
    assert [server.name for server in found.servers] == ["a"]


def test_a_served_runtime_says_that_it_has_no_servers_of_the_environment(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("MCP_SERVERS", "a")
    monkeypatch.setenv("MCP_REQUIRED", "a")
    with caplog.at_level(logging.WARNING):
        serve(AgentRuntime(Agent(echo_model())))
    assert "MCP_REQUIRED, MCP_SERVERS of the environment have no effect on it" in caplog.text


def test_importing_it_loads_no_mcp_library_and_a_missing_extra_is_named() -> None:
    code = (
        "import sys; sys.modules['fastmcp'] = None\n"
        "import pais_sdk.compose\n"
        "from pais_sdk.mcp import MCPServers\n"
        "print([name for name in ('mcp', 'mcp_types', 'pydantic_ai.mcp') if name in sys.modules])\n"
        "MCPServers({'a': {'command': 'x'}})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout == "[]\n"
    assert done.stderr.splitlines()[-1].endswith("MCP servers needs the extra 'mcp': pip install 'pais-sdk[mcp]'")
