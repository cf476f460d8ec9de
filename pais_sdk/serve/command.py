"""What `python -m pais_sdk.serve` and `pais run` do."""

from __future__ import annotations

import logging
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import ConfigurationError, MemoryUnavailableError, MissingExtraError
from .garbage import collected_seldom
from .worker import Worker

if TYPE_CHECKING:
    from ..server import AgentServer
    from ..settings import Settings


_log = logging.getLogger("pais_sdk.serve")
_THREADS_END_S = 0.5
_LAST_RESORT_S = 2.0

CANNOT_SERVE = (ConfigurationError, MissingExtraError, MemoryUnavailableError)
"""What ends the command with one line and exit code 2."""


def run_target(
    target: str | None,
    *,
    host: str | None = None,
    port: int | None = None,
    env_file: str | None = None,
    worker: str | None = None,
) -> None:
    """Find what a target names, and serve it until a signal ends the process.

    Args:
        target: `file.py`, `file.py:attribute` or `module:attribute`; None for server.py or agent.py here, else an
            agent from the environment.
        host: In place of AGENT_HOST.
        port: In place of AGENT_PORT.
        env_file: In place of `.env` of the working directory, which may be missing; real variables win over both.
        worker: What makes this process one of several; see `Worker.parse`.

    Raises:
        ConfigurationError: It cannot be served; the text says why and what to do.
        MissingExtraError: What it needs is not installed.
        MemoryUnavailableError: Its memory cannot be opened, or not be closed.
        SystemExit: It was served by several processes, and one of them could not start or did not end well.
    """
    load_env_file(env_file)

    from ..settings import Settings
    from .logging_setup import configure_logging

    inherited = None if worker is None else Worker.parse(worker)  # before the agent can start a process
    settings = Settings()
    configure_logging(settings.log_level, settings.log_format)
    if worker is None and settings.agent_workers > 1:
        from .workers import run_workers

        arguments = [*([] if env_file is None else ["--env-file", env_file]), *([] if target is None else [target])]
        sys.exit(run_workers(arguments, settings, host=host, port=port))
    with collected_seldom() as settled:
        from ..server.process import run_server

        server = _server_of(target, settings)
        if inherited is None:
            if server.settings.agent_workers > 1:
                raise ConfigurationError("several workers are started by AGENT_WORKERS of the environment only")
            run_server(server, host=host, port=port, started=settled)
        else:
            _check_shared(server)
            run_server(server, **inherited.arguments(started=settled))
    leave_threads_behind()


def last_words(error: Exception) -> str:
    """Return the line that the command ends with."""
    text = " ".join(str(error).split())
    if isinstance(error, MemoryUnavailableError):
        text = (
            f"the memory is not available: {text.rstrip('.')}; make it so, or choose another one by MEMORY_TYPE or "
            "MEMORY_REDIS_URL"
        )
    return f"pais_sdk: {text}"


def _server_of(target: str | None, settings: Settings) -> AgentServer:
    from pydantic_ai.agent import AbstractAgent

    from ..compose import create_agent, find_target
    from ..runtime import AgentRuntime
    from ..server import AgentServer
    from . import serve

    found = find_target(target, (AgentServer, AgentRuntime, AbstractAgent))
    if found is None:
        found = create_agent(settings)
    return found if isinstance(found, AgentServer) else serve(found, settings=settings)


def _check_shared(server: AgentServer) -> None:
    memory = server.runtime.memory
    if not memory.is_shared:
        raise ConfigurationError(
            f"AGENT_WORKERS is more than 1, but {type(memory).__name__} keeps sessions in one process, where the "
            "others cannot see them; use one that they share (MEMORY_TYPE=sqlite or redis), "
            "MEMORY_TYPE=null to keep nothing, or AGENT_WORKERS=1"
        )
    if server.a2a_on and server.settings.a2a_task_url is None:
        raise ConfigurationError(
            "AGENT_WORKERS is more than 1, and A2A is on, but each process would know only its own tasks; name a "
            "database that they share by A2A_TASK_URL (such as sqlite:///tasks.db), or switch A2A off by "
            "AGENT_A2A=false"
        )


def leave_threads_behind() -> None:
    """End the process now where a thread, such as that of a sync tool, would keep it; everything else is closed.

    What else is done at a process's end, such as by other libraries, has 2 seconds.
    """
    from ..server.process import leave, leave_behind

    last_resort = threading.Timer(_LAST_RESORT_S, leave_behind, (0,))
    last_resort.daemon = True
    last_resort.start()
    others = [thread for thread in threading.enumerate() if thread is not threading.main_thread() and not thread.daemon]
    until = time.monotonic() + _THREADS_END_S
    for thread in others:  # one that has nothing more to do ends by itself, but not at once
        thread.join(max(0, until - time.monotonic()))
    others = [thread for thread in others if thread.is_alive()]
    if others:
        _log.warning("%d threads still work: they are left behind", len(others))
        logging.shutdown()
        sys.stdout.flush()
        sys.stderr.flush()
        leave(0)


def load_env_file(path: str | None) -> None:
    """Load a file of `NAME=value` lines into the environment, under what is set already."""
    if path is not None and not Path(path).is_file():
        raise ConfigurationError(f"there is no file {path!r} to read the environment from")
    file = Path(path or ".env")
    if file.is_file():
        from dotenv import load_dotenv

        try:
            load_dotenv(file, override=False)
        except UnicodeDecodeError:
            raise ConfigurationError(f"{str(file)!r} is not in UTF-8; write it again in UTF-8") from None
