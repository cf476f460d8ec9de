"""A server as a process of its own, and what the system says about it; /proc is Linux."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

_FOLDER = Path(__file__).parent
_TICKS = os.sysconf("SC_CLK_TCK")


class ServerProcess:
    """A server that runs; it has answered /health."""

    def __init__(self, process: subprocess.Popen[bytes], url: str) -> None:
        self._process = process
        self.url = url

    @property
    def cpu_s(self) -> float:
        """Its CPU time so far."""
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS

    @property
    def memory_mib(self) -> float:
        """What it has in memory now."""
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0]) / 1024


def command(kind: str, agent: str, port: int) -> list[str]:
    """Return how a server of a kind is started: `bare`, `frozen` (bare, with `gc.freeze()`) or `ours`."""
    if kind == "ours":
        return [sys.executable, "-m", "pais_sdk.serve", f"benchmarks.{agent}", "--port", str(port)]
    frozen = ["--frozen"] if kind == "frozen" else []
    return [sys.executable, "-m", "benchmarks.bare", agent, "--port", str(port), *frozen]


@contextmanager
def server(
    kind: str, agent: str = "agents:agent", *, provider: bool = False, **environment: str
) -> Generator[ServerProcess]:
    """Run a server while the block runs.

    Args:
        kind: See `command`.
        agent: Its module here, and its name there.
        provider: Whether a provider's library is loaded.
        environment: Further variables.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    variables = {**os.environ, "LOG_LEVEL": "ERROR", "WITH_PROVIDER": "1" if provider else "", **environment}
    process = subprocess.Popen(command(kind, agent, port), cwd=_FOLDER.parent, env=variables)
    url = f"http://127.0.0.1:{port}"
    try:
        _wait_for(f"{url}/health", process)
        yield ServerProcess(process, url)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(10)


def _wait_for(url: str, process: subprocess.Popen[bytes]) -> None:
    while process.poll() is None:
        try:
            urllib.request.urlopen(url).close()  # noqa: S310 - it is our own
        except urllib.error.URLError:
            time.sleep(0.01)
        else:
            return
    raise SystemExit(f"{process.args} ended before it answered")
