"""A real LiteLLM proxy in front of the mock model endpoint, two processes that live for the whole test session.

LiteLLM has an environment of its own, because it pins an older openai. `PAIS_LITELLM` names its executable; without it
that is `.venv-litellm/bin/litellm` in the repository. It is never skipped: `.ci/run` installs it.

A test module that needs it says `pytest_plugins = ["tests.litellm_proxy"]` and imports nothing from here at run time.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import httpx
import pytest

ROOT = Path(__file__).resolve().parent.parent
INSTALL = "uv venv .venv-litellm && uv pip install --python .venv-litellm/bin/python 'litellm[proxy]==1.106.2'"
MOCKED = {  # answered by LiteLLM itself
    "mock": "Hello from LiteLLM.",
    "e429": "litellm.RateLimitError",
    "e500": "litellm.InternalServerError",
    "ctx": "litellm.ContextWindowExceededError",
}
UPSTREAM = [  # `up-echo` is the mock endpoint's `echo`
    *("echo", "hello", "tool", "length", "gate", "hang", "midstream-error", "tool+no-tools"),
    *(f"error-{status}" for status in (401, 429, 500, 503)),
]


@dataclass(frozen=True)
class LiteLLMProxy:
    """Where the proxy and the mock endpoint behind it listen.

    Attributes:
        url: The proxy, without `/v1`.
        mock_url: The mock endpoint, without `/v1`: its `/_requests`, `/_wait` and so on.
    """

    url: str
    mock_url: str


@pytest.fixture(scope="session")
def litellm_proxy(tmp_path_factory: pytest.TempPathFactory) -> Generator[LiteLLMProxy]:
    """A running proxy with the models of `MOCKED`, and `up-...` for each of `UPSTREAM`."""
    executable = Path(os.environ.get("PAIS_LITELLM", ROOT / ".venv-litellm/bin/litellm")).absolute()
    if not executable.is_file():
        pytest.fail(f"no LiteLLM at {executable}; in {ROOT}: {INSTALL}, or set PAIS_LITELLM to its executable")
    directory = tmp_path_factory.mktemp("litellm")
    with _mock_endpoint() as mock_url:
        (directory / "config.yaml").write_text(json.dumps(_config(mock_url)))  # JSON is YAML
        for _ in range(2):  # between our look for a port and LiteLLM's bind, another process may take it
            with _proxy(executable, directory) as (process, url):
                if _is_up(process, url):
                    yield LiteLLMProxy(url=url, mock_url=mock_url)
                    return
        pytest.fail(f"LiteLLM did not come up; the end of its log:\n{(directory / 'log').read_text()[-4000:]}")


def _config(mock_url: str) -> dict[str, object]:
    def model(name: str, **params: str) -> dict[str, object]:
        return {"model_name": name, "litellm_params": {"api_key": "x", **params}}

    return {
        "model_list": [
            *(model(name, model="openai/mock", mock_response=answer) for name, answer in MOCKED.items()),
            *(model(f"up-{name}", model=f"openai/{name}", api_base=f"{mock_url}/v1") for name in UPSTREAM),
        ],
        "litellm_settings": {"telemetry": False, "num_retries": 0},
        "router_settings": {"num_retries": 0, "disable_cooldowns": True},  # else one 401 makes the next request a 429
    }


@contextmanager
def _mock_endpoint() -> Generator[str]:
    command = [sys.executable, "-m", "pais_sdk.testing.mock_llm"]
    with _child(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        with process.stdout:
            ready, _, _ = select.select([process.stdout], [], [], 20)
            line = process.stdout.readline().decode() if ready else ""
            name, _, url = line.strip().partition("=")
            assert name == "MOCK_LLM_URL", f"the mock endpoint printed {line!r}"
            yield url


@contextmanager
def _proxy(executable: Path, directory: Path) -> Generator[tuple[subprocess.Popen[bytes], str]]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [str(executable), "--config", "config.yaml", "--host", "127.0.0.1", "--port", str(port)]
    environment = {
        "HOME": str(directory),  # nothing of this user's
        "PATH": os.defpath,
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",  # no download
        "LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY": "true",
        "NO_PROXY": "*",
    }
    with (
        (directory / "log").open("wb") as log,
        _child([*command, "--num_workers", "1"], cwd=directory, env=environment, stdout=log) as process,
    ):
        yield process, f"http://127.0.0.1:{port}"


def _is_up(process: subprocess.Popen[bytes], url: str) -> bool:
    """Ask until it answers; false when it has ended, or after 60 seconds."""
    deadline = time.monotonic() + 60
    with httpx.Client(base_url=url, timeout=2, trust_env=False) as client:
        while process.poll() is None and time.monotonic() < deadline:
            try:
                if client.get("/health/liveliness").is_success:
                    return True
            except httpx.TransportError:
                pass
            time.sleep(0.1)  # there is no event to wait for: the process says nothing when it listens
    return False


@contextmanager
def _child(
    command: list[str], *, stdout: int | BinaryIO, cwd: Path | None = None, env: Mapping[str, str] | None = None
) -> Generator[subprocess.Popen[bytes]]:
    """Run a process in a group of its own, and end the whole group."""
    process = subprocess.Popen(
        command, cwd=cwd, env=env, stdout=stdout, stderr=subprocess.STDOUT, start_new_session=True
    )
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):  # LiteLLM waits without end for a request that hangs upstream
            process.wait(5)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
