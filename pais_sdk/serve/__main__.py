"""python -m pais_sdk.serve [TARGET]: serve an agent over HTTP."""

from __future__ import annotations

import argparse

from .command import CANNOT_SERVE, last_words, run_target


def main() -> None:
    """Run the command; what cannot be served ends it with one line and exit code 2."""
    parser = argparse.ArgumentParser(prog="python -m pais_sdk.serve", description="Serve an agent over HTTP.")
    parser.add_argument(
        "target",
        nargs="?",
        help="file.py, file.py:attribute or module:attribute of an Agent, AgentRuntime or AgentServer; "
        "without one: server.py, then agent.py of this folder, else an agent from the environment",
    )
    parser.add_argument("--host", help="the address to listen on, in place of AGENT_HOST")
    parser.add_argument("--port", type=int, help="the port, in place of AGENT_PORT; 0 for a free one")
    parser.add_argument("--env-file", metavar="FILE", help="a file of NAME=value lines, in place of .env")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    try:
        run_target(
            arguments.target,
            host=arguments.host,
            port=arguments.port,
            env_file=arguments.env_file,
            worker=arguments.worker,
        )
    except CANNOT_SERVE as error:
        parser.exit(2, f"{last_words(error)}\n")


if __name__ == "__main__":
    main()
