"""serve(), targets, and the commands, as a user meets them."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from pydantic_ai import Agent

from pais_sdk import AgentRuntime, AgentServer, ConfigurationError, LocalMemory, NullMemory, Settings, mock_model, serve
from pais_sdk.compose import find_target

EXAMPLES = Path(__file__).parent.parent / "examples"
KINDS = (AgentServer, AgentRuntime, Agent)


def agent(**options: Any) -> Agent[None, str]:
    return Agent(mock_model(["hello"]), **options)


def test_serve_takes_what_the_environment_says() -> None:
    settings = Settings(agent_name="named", agent_description="does", memory_type="null", max_steps=3)
    runtime = serve(agent(), settings=settings).runtime
    assert (runtime.name, runtime.description, runtime.max_steps, runtime.history_limit) == ("named", "does", 3, 6)
    assert isinstance(runtime.memory, NullMemory)


def test_arguments_of_serve_win_over_the_environment() -> None:
    memory = LocalMemory()
    settings = Settings(agent_name="named", max_steps=3)
    runtime = serve(agent(), settings=settings, memory=memory, max_steps=7, name="mine").runtime
    assert (runtime.name, runtime.max_steps) == ("mine", 7)
    assert runtime.memory is memory


@pytest.mark.parametrize("given", [{"memory": LocalMemory()}, {"model": "test"}, {"max_steps": 3}])
def test_a_runtime_is_served_as_it_is(given: Any) -> None:
    with pytest.raises(ConfigurationError, match=next(iter(given))):
        serve(AgentRuntime(agent()), **given)


def test_variables_that_have_no_effect_on_a_runtime_are_reported(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("MODEL_NAME", "x")
    monkeypatch.setenv("MEMORY_STATELESS_TTL_SECONDS", "5")
    monkeypatch.setenv("MCP_SERVERS", "echo")
    runtime = AgentRuntime(agent())
    assert serve(runtime).runtime is runtime
    assert "MODEL_NAME" in caplog.text
    assert "MCP_SERVERS, MEMORY_STATELESS_TTL_SECONDS, MODEL_NAME of the environment have no effect" in caplog.text


def test_an_agent_without_a_model_needs_one_from_the_environment() -> None:
    with pytest.raises(ConfigurationError, match="MODEL_API_URL"):
        serve(Agent())


FILES = {
    "one.py": "from pydantic_ai import Agent\nmine = Agent('test', defer_model_check=True)\n",
    "two.py": "from pydantic_ai import Agent\na = Agent('test')\nb = Agent('test')\n",
    "none.py": "x = 1\n",
    "app.py": "from one import mine\nfrom pais_sdk import serve\napp = serve(mine, model='test')\n",
    "broken.py": "import not_there_at_all\n",
    "package/__init__.py": "",
    "package/inner.py": "from pydantic_ai import Agent\nagent = Agent('test')\n",
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Generator[Path]:
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        del sys.modules[name]


@pytest.mark.parametrize("target", ["one.py", "one.py:mine", "one:mine", "package.inner:agent", "two.py:b", "./one.py"])
def test_a_target_is_found(folder: Path, target: str) -> None:
    assert isinstance(find_target(target, KINDS), Agent)


def test_a_server_in_a_file_wins_over_the_agent_in_it(folder: Path) -> None:
    assert isinstance(find_target("app.py", KINDS), AgentServer)


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("two.py", "several to serve (a, b); write two.py:NAME"),
        ("none.py", "nothing to serve"),
        ("missing.py", "no file 'missing.py'"),
        ("one.py:other", "no attribute 'other'"),
        ("none.py:x", "is an int; it must be"),
        ("nowhere:x", "no module 'nowhere'"),
        ("one", "names neither a file nor an attribute"),
    ],
)
def test_a_target_that_is_not_clear_is_explained(folder: Path, target: str, words: str) -> None:
    with pytest.raises(ConfigurationError) as raised:
        find_target(target, KINDS)
    assert words in str(raised.value)


def test_an_error_in_the_users_file_is_the_users(folder: Path) -> None:
    with pytest.raises(ModuleNotFoundError, match="not_there_at_all"):
        find_target("broken.py", KINDS)


def test_without_a_target_server_py_comes_before_agent_py(folder: Path) -> None:
    assert find_target(None, KINDS) is None
    (folder / "agent.py").write_text(FILES["one.py"])
    assert isinstance(find_target(None, KINDS), Agent)
    (folder / "server.py").write_text(FILES["app.py"])
    assert isinstance(find_target(None, KINDS), AgentServer)


SERVE = [sys.executable, "-W", "error", "-m", "pais_sdk.serve"]
PAIS = [sys.executable, "-W", "error", "-c", "from pais_sdk.cli import main; main()", "run"]


@contextmanager
def running(command: list[str], cwd: Path, **environment: str) -> Generator[tuple[str, subprocess.Popen[str]]]:
    """Start a command that serves, and give its URL; it must end cleanly on SIGTERM."""
    process = subprocess.Popen(
        [*command, "--port", "0"], cwd=cwd, env={**os.environ, **environment}, stderr=subprocess.PIPE, text=True
    )
    try:
        assert process.stderr is not None
        lines: list[str] = []
        for line in process.stderr:
            lines.append(line)
            if "listens on" in line:
                break
        assert lines, "the command ended without a word"
        assert "listens on" in lines[-1], "".join(lines)
        yield lines[-1].split()[-1], process
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def ask(url: str) -> dict[str, Any]:
    body = json.dumps({"messages": [{"role": "user", "content": "Greet Alice"}]}).encode()
    request = urllib.request.Request(f"{url}/v1/chat/completions", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.load(answer)


@pytest.mark.parametrize("command", [SERVE, PAIS], ids=["python -m pais_sdk.serve", "pais run"])
@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
def test_a_command_serves_the_example_and_stops_on_a_signal(command: list[str], stop: signal.Signals) -> None:
    target = [*command, "--env-file", "greeter.env", "greeter.py"]
    with running(target, EXAMPLES) as (url, process):
        assert ask(url)["choices"][0]["message"]["content"] == "Hello, Alice! It is good to see you."
        process.send_signal(stop)
        _, rest = process.communicate(timeout=10)
        assert process.returncode == 0
        assert "Traceback" not in rest


def test_the_command_reads_env_of_its_folder_and_builds_an_agent_from_it(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text('AGENT_NAME=from-file\nAGENT_INSTRUCTIONS=x\nDEBUG_MOCK_RESPONSES=["hi there"]\n')
    with running(SERVE, tmp_path, AGENT_NAME="real") as (url, _):
        answer = ask(url)
        assert (answer["model"], answer["choices"][0]["message"]["content"]) == ("real", "hi there")


@pytest.mark.parametrize(
    ("arguments", "environment", "words"),
    [
        ([], {}, "there is nothing to serve"),
        (["missing.py"], {}, "no file 'missing.py'"),
        (["--env-file", "none.env"], {}, "no file 'none.env'"),
        ([], {"AGENT_PORT": "x"}, "AGENT_PORT cannot be used"),
        ([], {"MODEL_API_URL": "http://127.0.0.1:1"}, "MODEL_NAME"),
        (["--host", "192.0.2.1"], {"DEBUG_MOCK_RESPONSES": "[]"}, "cannot listen on 192.0.2.1"),
        (["--port", "99999"], {"DEBUG_MOCK_RESPONSES": "[]"}, "port 99999 is none"),
    ],
)
@pytest.mark.parametrize("command", [SERVE, PAIS], ids=["python -m pais_sdk.serve", "pais run"])
def test_a_start_that_cannot_work_ends_with_one_line(
    tmp_path: Path, command: list[str], arguments: list[str], environment: dict[str, str], words: str
) -> None:
    done = subprocess.run(
        [*command, *arguments],
        cwd=tmp_path,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 2
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("pais_sdk: ")
    assert words in last
    assert "Traceback" not in done.stderr


HANGING = """
import asyncio
from pydantic_ai import Agent
from pydantic_ai.models.function import FunctionModel

async def stream(messages, info):
    yield "one "
    await asyncio.Event().wait()

agent = Agent(FunctionModel(stream_function=stream))
"""


def test_a_stream_that_is_open_when_the_process_is_stopped_gets_a_last_event(tmp_path: Path) -> None:
    (tmp_path / "agent.py").write_text(HANGING)
    with running(SERVE, tmp_path, AGENT_GRACE_SECONDS="0.5") as (url, process):
        body = json.dumps({"messages": [{"role": "user", "content": "go"}], "stream": True}).encode()
        request = urllib.request.Request(f"{url}/v1/chat/completions", body)
        with urllib.request.urlopen(request, timeout=10) as answer:
            while b"one " not in answer.readline():
                pass
            process.send_signal(signal.SIGTERM)
            rest = answer.read().decode()
        assert json.loads(rest.strip().removeprefix("data: "))["error"]["code"] == "server_error"
        _, log = process.communicate(timeout=10)
        assert process.returncode == 0
        assert "Traceback" not in log


FLOOD = """
import asyncio
from pydantic_ai import Agent
from pydantic_ai.models.function import FunctionModel

async def stream(messages, info):
    while True:
        yield "word " * 1000
        await asyncio.sleep(0)

agent = Agent(FunctionModel(stream_function=stream))
"""


def test_a_client_that_has_stopped_reading_does_not_keep_the_process(tmp_path: Path) -> None:
    (tmp_path / "agent.py").write_text(FLOOD)
    body = json.dumps({"messages": [{"role": "user", "content": "go"}], "stream": True})
    with running(SERVE, tmp_path, AGENT_GRACE_SECONDS="0.5") as (url, process):
        host, port = url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port))) as client:
            head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: {host}\r\nContent-Length: {len(body)}"
            client.sendall(f"{head}\r\n\r\n{body}".encode())
            assert client.recv(100).startswith(b"HTTP/1.1 200")
            process.send_signal(signal.SIGTERM)
            _, log = process.communicate(timeout=20)
    assert process.returncode == 0
    assert "Traceback" not in log, log


def test_a_server_in_a_thread_that_nobody_stops_ends_with_the_script() -> None:
    script = """
import json, urllib.request
from pydantic_ai import Agent
from pais_sdk import mock_model, serve
handle = serve(Agent(mock_model(["hello"]))).start_in_thread(port=0)
print(json.load(urllib.request.urlopen(handle.url + "/health"))["status"])
"""
    done = subprocess.run([sys.executable, "-W", "error", "-c", script], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "healthy\n"


SLOW_TO_OPEN = """
import asyncio
from pydantic_ai import Agent
from pais_sdk import LocalMemory, mock_model, serve

class Memory(LocalMemory):
    async def open(self):
        print("opening", flush=True)
        await asyncio.Event().wait()

app = serve(Agent(mock_model(["x"])), memory=Memory())
"""


def test_a_signal_ends_a_process_that_cannot_open(tmp_path: Path) -> None:
    (tmp_path / "server.py").write_text(SLOW_TO_OPEN)
    process = subprocess.Popen(
        [*SERVE, "--port", "0"], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "opening\n"
        process.send_signal(signal.SIGTERM)
        _, log = process.communicate(timeout=20)
    finally:
        process.kill()
        process.communicate()
    assert process.returncode == 0
    assert "ended before it had opened" in log
    assert "Traceback" not in log
