"""The `pais` command."""

from __future__ import annotations

from typing import Annotated

from ..errors import MissingExtraError

try:
    import typer
except ImportError as error:
    raise MissingExtraError("the pais command", extra="cli") from error

from .. import __version__
from ..serve.command import CANNOT_SERVE, last_words, run_target

app = typer.Typer(help="Serve Pydantic AI agents.", no_args_is_help=True, add_completion=False)


@app.callback()
def _commands() -> None:  # pyright: ignore[reportUnusedFunction]
    """Serve Pydantic AI agents."""


@app.command()
def run(
    target: Annotated[
        str | None,
        typer.Argument(
            help="file.py, file.py:attribute or module:attribute of an Agent, AgentRuntime or AgentServer. Without "
            "one: server.py, then agent.py of this folder, else an agent from the environment."
        ),
    ] = None,
    host: Annotated[str | None, typer.Option("--host", "-h", help="In place of AGENT_HOST.")] = None,
    port: Annotated[int | None, typer.Option("--port", "-p", help="In place of AGENT_PORT; 0: a free one.")] = None,
    env_file: Annotated[str | None, typer.Option(help="A file of NAME=value lines, in place of .env.")] = None,
) -> None:
    """Serve an agent over HTTP."""
    try:
        run_target(target, host=host, port=port, env_file=env_file)
    except CANNOT_SERVE as error:
        typer.echo(last_words(error), err=True)
        raise typer.Exit(2) from None


@app.command()
def version() -> None:
    """Print the version."""
    typer.echo(__version__)
