"""A real PostgreSQL for the tests: one server for the whole session, a database of its own for whoever asks.

The server is looked after by a process of its own (`python -m tests.postgres`), which ends it and removes its folder as
soon as the tests are over, however they end.
"""

from __future__ import annotations

import atexit
import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import uuid
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path
from typing import Any

import asyncpg
from anyio import to_thread

_ROOT = Path(__file__).parent.parent


@asynccontextmanager
async def postgres_url() -> AsyncGenerator[str]:
    """Give the URL of an empty database, which is dropped afterwards."""
    folder = await to_thread.run_sync(_server)
    name = f"test_{uuid.uuid4().hex}"
    admin = await asyncpg.connect(host=folder, user="pais", database="postgres")
    try:
        await admin.execute(f"CREATE DATABASE {name} STRATEGY FILE_COPY")
        try:
            yield f"postgresql://pais@/{name}?host={folder}"
        finally:
            await admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
    finally:
        await admin.close()


@cache
def _server() -> str:
    """Return the folder of the session's server, which listens there and nowhere else."""
    keeper = subprocess.Popen(
        [sys.executable, "-m", "tests.postgres"], cwd=_ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert keeper.stdin is not None
    assert keeper.stdout is not None
    atexit.register(_end, keeper)
    folder = keeper.stdout.readline().strip()
    assert folder, "PostgreSQL did not start; why is said above"
    return folder


def _end(keeper: subprocess.Popen[str]) -> None:
    assert keeper.stdin is not None
    assert keeper.stdout is not None
    keeper.stdin.close()
    keeper.wait(30)
    keeper.stdout.close()


def _programs(folder: Path) -> Path:
    """Return where PostgreSQL's programs are: on the path, else from the wheel, copied into a folder."""
    found = shutil.which("postgres")
    if found:
        return Path(found).resolve().parent
    if shutil.which("pg_config"):
        installed = Path(subprocess.check_output(["pg_config", "--bindir"], text=True).strip())
        if (installed / "postgres").exists():  # else it is there for the client's headers only
            return installed
    wheel = importlib.util.find_spec("pgserver")
    assert wheel is not None
    assert wheel.origin is not None, "the tests need PostgreSQL: install it, or the package pgserver"
    package = Path(wheel.origin).parent
    # A copy, for the user whom the server runs as may not be allowed to read where packages are installed.
    for part in (Path("pgserver", "pginstall"), Path("pgserver.libs")):
        if (package.parent / part).is_dir():
            shutil.copytree(package.parent / part, folder / part)
    return folder / "pgserver" / "pginstall" / "bin"


def _keep() -> None:
    """Run a server until nobody is left who would write to this process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the tests; when they end, so does this
    folder = tempfile.mkdtemp(prefix="pais-postgres-")
    data = f"{folder}/data"
    user: dict[str, Any] = {}
    if os.geteuid() == 0:  # PostgreSQL refuses to run as root
        nobody = pwd.getpwnam("nobody")
        os.chown(folder, nobody.pw_uid, nobody.pw_gid)
        user = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
    programs = _programs(Path(folder))
    environment = {"PATH": os.environ.get("PATH", ""), "LC_ALL": "C.UTF-8", "HOME": folder}
    server: subprocess.Popen[Any] | None = None
    try:
        initdb = [programs / "initdb", "-D", data, "-U", "pais", "-A", "trust", "-E", "UTF8", "--no-sync"]
        made = subprocess.run(initdb, env=environment, cwd=folder, capture_output=True, text=True, check=False, **user)
        assert made.returncode == 0, made.stderr
        server = subprocess.Popen(
            [programs / "postgres", "-D", data, "-k", folder]
            + [word for setting in _SETTINGS for word in ("-c", setting)],
            env=environment,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=sys.stderr,
            **user,
        )
        is_ready = [programs / "pg_isready", "-h", folder, "-U", "pais", "-d", "postgres", "-q", "-t", "1"]
        while subprocess.run(is_ready, env=environment, check=False).returncode != 0:
            assert server.poll() is None, "PostgreSQL ended"
        print(folder, flush=True)
        sys.stdin.read()
    finally:
        if server is not None:
            server.send_signal(signal.SIGINT)  # SIGTERM would wait for clients
            server.wait()
        shutil.rmtree(folder, ignore_errors=True)


_SETTINGS = (
    "listen_addresses=",
    "fsync=off",
    "full_page_writes=off",
    "synchronous_commit=off",
    "shared_buffers=32MB",
    "max_connections=100",
    "log_min_messages=panic",
)

if __name__ == "__main__":
    _keep()
