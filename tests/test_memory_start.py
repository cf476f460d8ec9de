"""A served agent gets the memory that the environment names, or does not start; what was stored outlives the server."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncGenerator
from pathlib import Path

import httpx
import pytest
from anyio import fail_after

from pais_sdk import AgentRuntime, LocalMemory, NullMemory, RedisMemory, Settings, SQLiteMemory, serve
from pais_sdk.compose import create_memory
from pais_sdk.memory.leased import LeasedMemory
from pais_sdk.memory.retention import Retention
from pais_sdk.serve.command import CANNOT_SERVE, last_words

from .agents import echo_agent
from .http_agents import CHAT, body, content_of
from .processes import SERVE, process
from .redis_server import redis_server, redis_url

pytestmark = pytest.mark.anyio

PASSWORD = "hunter2"
UNREACHABLE = {"MEMORY_REDIS_URL": f"redis://:{PASSWORD}@127.0.0.1:1/0"}
COUNTING = """
import os
from pydantic_ai import Agent
from pydantic_ai.messages import ModelResponse, TextPart
from pydantic_ai.models.function import FunctionModel

agent = Agent(FunctionModel(lambda seen, info: ModelResponse([TextPart(f"{os.getpid()} saw {len(seen)}")])))
"""


async def refusal(folder: Path, *command: str, **environment: str) -> str:
    """Return the one line with which a start is refused."""
    (folder / "agent.py").write_text(COUNTING)
    with fail_after(60):
        child = await asyncio.create_subprocess_exec(
            *(command or SERVE),
            *("--port", "0"),
            cwd=folder,
            env={**os.environ, **environment},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, log = await child.communicate()
    assert (child.returncode, out) == (2, b""), log.decode()
    lines = log.decode().splitlines()
    assert len(lines) == 1, lines
    assert lines[0].startswith("pais_sdk: ")
    assert PASSWORD not in lines[0]
    return lines[0]


async def ask(http: httpx.AsyncClient, session_id: str) -> str:
    """Ask on a connection of its own, so that any worker may answer."""
    async with httpx.AsyncClient(base_url=http.base_url, timeout=20) as fresh:
        return content_of(await fresh.post(CHAT, json=body("How many?"), headers={"X-Session-ID": session_id}))


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        (
            {**UNREACHABLE, "AGENT_WORKERS": "2", "AGENT_A2A": "false"},
            "choose another one by MEMORY_TYPE or MEMORY_REDIS_URL",
        ),
        ({"MEMORY_TYPE": "sqlite", "MEMORY_SQLITE_PATH": "agent.py/x.db"}, "agent.py/x.db"),
    ],
)
async def test_a_memory_that_cannot_be_had_stops_the_start_with_one_line(
    tmp_path: Path, environment: dict[str, str], words: str
) -> None:
    assert words in await refusal(tmp_path, **environment)


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        (
            {"MEMORY_TYPE": "remote"},
            "MEMORY_TYPE cannot be used: remote, KAOS's MemoryStore, is not supported; use redis",
        ),
        ({"MEMORY_TYPE": "redis"}, "MEMORY_TYPE=redis needs MEMORY_REDIS_URL (or REDIS_URL)"),
        (UNREACHABLE, "the memory is not available: "),
        ({"MEMORY_TYPE": "sqlite", "MEMORY_SQLITE_PATH": __file__}, "is no SQLite database"),
        ({"REDIS_URL": f"http://:{PASSWORD}@x"}, "REDIS_URL cannot be used: it must begin with redis://"),
        ({"REDIS_URL": f"redis://:{PASSWORD}@x:port"}, "the URL of Redis cannot be read"),
        ({"REDIS_URL": f"unix://:{PASSWORD}@/nowhere/redis.sock"}, "/nowhere/redis.sock"),
        ({"REDIS_URL": f"rediss://:{PASSWORD}@127.0.0.1:1"}, "127.0.0.1"),
        ({"MEMORY_TYPE": "sqlite", "MEMORY_SQLITE_PATH": "."}, "cannot be opened; name a file in a folder"),
        ({"MEMORY_TYPE": "sqlite", "MEMORY_SQLITE_PATH": ":memory:"}, "name a file, or use LocalMemory"),
    ],
)
async def test_what_is_wrong_with_a_memory_is_said_in_one_line_without_its_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, text in environment.items():
        monkeypatch.setenv(name, text)
    with fail_after(20), pytest.raises(CANNOT_SERVE) as raised:
        await create_memory(Settings()).open()
    line = last_words(raised.value)
    assert words in line
    assert PASSWORD not in line
    assert "\n" not in line


async def test_a_password_that_is_wrong_is_said_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    async with redis_server("--requirepass", "right") as server:
        monkeypatch.setenv("REDIS_URL", server.url.replace("unix://", f"unix://:{PASSWORD}@"))
        with fail_after(20), pytest.raises(CANNOT_SERVE, match="refuses this user or password") as raised:
            await create_memory(Settings()).open()
        assert PASSWORD not in last_words(raised.value)


async def test_a_memory_whose_extra_is_not_installed_stops_the_start_with_one_line(tmp_path: Path) -> None:
    code = "import runpy, sys; sys.modules['redis'] = None; runpy.run_module('pais_sdk.serve', run_name='__main__')"
    line = await refusal(tmp_path, sys.executable, "-c", code, REDIS_URL="redis://x")
    assert "pip install 'pais-sdk[redis]'" in line


@pytest.mark.parametrize(
    ("environment", "kind", "retention"),
    [
        ({"MEMORY_TYPE": "sqlite"}, SQLiteMemory, Retention()),
        ({"REDIS_URL": "redis://x"}, RedisMemory, Retention(ttl_s=604_800)),
        (
            {"MEMORY_TYPE": "sqlite", "MEMORY_MAX_SESSIONS": "7", "MEMORY_MAX_SESSION_EVENTS": "8"},
            SQLiteMemory,
            Retention(max_sessions=7, max_session_messages=8),
        ),
        ({"MEMORY_REDIS_URL": "redis://x", "MEMORY_TTL_SECONDS": "0"}, RedisMemory, Retention()),
    ],
)
async def test_a_memory_keeps_what_the_environment_says(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], kind: type[LeasedMemory], retention: Retention
) -> None:
    for name, text in environment.items():
        monkeypatch.setenv(name, text)
    memory = create_memory(Settings())
    assert isinstance(memory, kind)
    assert (memory._retention, memory.stateless_ttl_s) == (retention, 86_400)


async def test_a_memory_that_is_switched_off_needs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEMORY_ENABLED", "false")
    monkeypatch.setenv("MEMORY_TYPE", "redis")
    assert isinstance(create_memory(Settings()), NullMemory)


async def test_a_file_that_nothing_is_stored_in_is_reported(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("MEMORY_SQLITE_PATH", "chats.db")
    assert isinstance(create_memory(Settings()), LocalMemory)
    assert "MEMORY_SQLITE_PATH has no effect: MEMORY_TYPE is local, and not sqlite" in caplog.text


async def test_a_memory_given_in_code_wins_over_a_url_that_cannot_be_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_URL", "other://x")
    memory = LocalMemory()
    assert serve(echo_agent(), memory=memory).runtime.memory is memory


async def test_only_variables_of_ours_are_reported_as_ignored_by_a_runtime(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("REDIS_URL", "redis://x")
    serve(AgentRuntime(echo_agent()))
    assert caplog.text == ""
    monkeypatch.setenv("MEMORY_REDIS_URL", "redis://x")
    serve(AgentRuntime(echo_agent()))
    assert "MEMORY_REDIS_URL of the environment have no effect on it" in caplog.text


@pytest.fixture(params=["sqlite", "redis"])
async def stored(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncGenerator[dict[str, str]]:
    """The environment of a memory that outlives a server."""
    (tmp_path / "agent.py").write_text(COUNTING)
    if request.param == "sqlite":
        yield {"MEMORY_TYPE": "sqlite", "MEMORY_SQLITE_PATH": "made/at the start/chats.db"}
    else:
        async with redis_url() as url:
            yield {"REDIS_URL": url}


async def test_a_session_goes_on_after_the_server_was_started_again(tmp_path: Path, stored: dict[str, str]) -> None:
    with fail_after(60):
        async with process(tmp_path, **stored) as here:
            assert (await ask(here.http, "s1")).endswith("saw 1")
            here.stop()
            assert await here.ended() == 0
            assert "Traceback" not in "".join(here.log)
        async with process(tmp_path, **stored) as here:
            assert (await ask(here.http, "s1")).endswith("saw 3")
            assert (await here.http.get("/memory/sessions")).json()["sessions"] == ["s1"]
            events = (await here.http.get("/memory/events", params={"session_id": "s1"})).json()["events"]
            assert [event["event_type"] for event in events] == ["user_message", "agent_response"] * 2
