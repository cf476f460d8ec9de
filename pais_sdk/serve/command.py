"""What `python -m pais_sdk.serve` and `pais run` do."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

from ..errors import ConfigurationError


def run_target(
    target: str | None, *, host: str | None = None, port: int | None = None, env_file: str | None = None
) -> None:
    """Find what a target names, and serve it until a signal ends the process.

    Args:
        target: `file.py`, `file.py:attribute` or `module:attribute`; None for server.py or agent.py here, else an
            agent from the environment.
        host: In place of AGENT_HOST.
        port: In place of AGENT_PORT.
        env_file: In place of `.env` of the working directory, which may be missing; real variables win over both.

    Raises:
        ConfigurationError: It cannot be served; the text says why and what to do.
    """
    load_env_file(env_file)

    from pydantic_ai.agent import AbstractAgent

    from ..compose import create_agent, find_target
    from ..runtime import AgentRuntime
    from ..server import AgentServer
    from ..settings import Settings
    from . import serve

    settings = Settings()
    configure_logging(settings.log_level)
    found = find_target(target, (AgentServer, AgentRuntime, AbstractAgent))
    if found is None:
        found = create_agent(settings)
    server = found if isinstance(found, AgentServer) else serve(found, settings=settings)
    server.run(host, port)


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


def configure_logging(level: str) -> None:
    """Log to stderr."""
    logging.addLevelName(5, "TRACE")
    logging.basicConfig(level=level, stream=sys.stderr, format="%(asctime)s - %(name)s - %(levelname)s - %(message)s")
    if logging.getLogger().level > logging.DEBUG:
        logging.getLogger("httpx").setLevel(logging.WARNING)
        logging.getLogger("httpx2").setLevel(logging.WARNING)
