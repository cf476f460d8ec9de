"""MCP servers that all tests share; a test may add a tool, and ends none of them.

A test module that needs one says `pytest_plugins = ["tests.mcp_shared"]` and imports nothing from here at run time.
"""

from __future__ import annotations

from collections.abc import Generator
from multiprocessing import forkserver

import pytest

from .mcp_servers import HttpServerProcess, http_server


@pytest.fixture(scope="session", autouse=True)
def _import_ahead() -> None:  # pyright: ignore[reportUnusedFunction]
    """Let what servers are forked from import its second's worth while the first tests run."""
    forkserver.ensure_running()


@pytest.fixture(scope="session")
def new_server() -> Generator[HttpServerProcess]:
    """A server for all tests."""
    with http_server() as server:
        yield server


@pytest.fixture(scope="session")
def old_server() -> Generator[HttpServerProcess]:
    """The same with the protocol that has sessions."""
    with http_server("old") as server:
        yield server
