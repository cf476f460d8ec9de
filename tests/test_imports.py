"""Importing does nothing heavy, and every way to import `serve` works."""

from __future__ import annotations

import subprocess
import sys

import pytest

import pais_sdk

HEAVY = ("pydantic", "pydantic_ai", "anyio", "starlette", "hypercorn", "openai", "typer", "httpx", "asyncio")


def python(code: str) -> str:
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.strip()


def test_importing_the_package_loads_no_heavy_library() -> None:
    loaded = python(f"import sys, pais_sdk; print([name for name in {HEAVY!r} if name in sys.modules])")
    assert loaded == "[]"


@pytest.mark.parametrize(
    "imports",
    [
        "from pais_sdk import serve",
        "import pais_sdk; serve = pais_sdk.serve",
        "import pais_sdk.serve; serve = pais_sdk.serve",
        "import pais_sdk.serve.command; from pais_sdk import serve",
        "from pais_sdk.serve import serve",
        "import pais_sdk.server; from pais_sdk import serve",
        "from pais_sdk import AgentServer, serve",
        "import importlib; importlib.import_module('pais_sdk.serve'); from pais_sdk import serve",
    ],
)
def test_serve_is_the_function_in_every_import_order(imports: str) -> None:
    assert python(f"{imports}\nprint(callable(serve), serve.__module__)") == "True pais_sdk.serve"


def test_importing_tools_and_memories_loads_nothing_that_they_may_not_need() -> None:
    clients = ("mcp", "fastmcp", "pydantic_ai.mcp", "openai", "starlette")
    drivers = ("sqlalchemy", "aiosqlite", "asyncpg", "redis")
    modules = ("pais_sdk.tools", "pais_sdk.memory", "pais_sdk.compose")
    found = f"[name for name in {(*clients, *drivers)!r} if name in sys.modules]"
    code = f"import importlib, sys\nfor module in {modules!r}: importlib.import_module(module); print(module, {found})"
    assert python(code).splitlines() == [f"{module} []" for module in modules]


def test_the_command_runs_without_a_warning() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "pais_sdk.serve", "--help"], capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "file.py" in done.stdout


def test_every_public_name_is_there() -> None:
    for name in pais_sdk.__all__:
        assert getattr(pais_sdk, name) is not None
    assert set(pais_sdk.__all__) <= set(dir(pais_sdk))
    with pytest.raises(AttributeError, match="nothing_like_it"):
        _ = pais_sdk.nothing_like_it  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("blocked", "code", "extra"),
    [
        ("typer", "from pais_sdk.cli import main; main()", "cli"),
        ("starlette", "from pais_sdk import AgentServer", "server"),
        ("hypercorn", "from pais_sdk._listen import serve_socket, open_socket; import asyncio; "
         "asyncio.run(serve_socket(None, open_socket('127.0.0.1', 0), shutdown_trigger=None))", "server"),
        ("sqlalchemy", "from pais_sdk import SQLiteMemory; SQLiteMemory('x.db')", "sql"),
        ("aiosqlite", "from pais_sdk import SQLiteMemory; SQLiteMemory('x.db')", "sql"),
        ("asyncpg", "from pais_sdk.memory import SQLMemory; SQLMemory('postgresql://x')", "postgres"),
        ("redis", "from pais_sdk.memory import RedisMemory; RedisMemory.from_url('redis://x')", "redis"),
    ],
)  # fmt: skip
def test_a_missing_extra_is_named_with_its_command(blocked: str, code: str, extra: str) -> None:
    block = f"import sys; sys.modules[{blocked!r}] = None; "
    done = subprocess.run([sys.executable, "-c", block + code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert f"pip install 'pais-sdk[{extra}]'" in done.stderr.splitlines()[-1]
