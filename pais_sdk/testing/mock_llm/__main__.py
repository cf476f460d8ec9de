"""The mock endpoint as a process."""

from __future__ import annotations

import argparse
import asyncio
import signal

from ..._listen import open_socket, serve_socket, url_of
from .. import mock_llm
from .endpoint import MockLLM


async def _serve_until_signal(mock: MockLLM, host: str, port: int) -> None:
    listener = open_socket(host, port)
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, stop.set)

    async def ended() -> float:
        await stop.wait()
        mock.record.let_go()
        return 3.0

    print(f"MOCK_LLM_URL={url_of(listener)}", flush=True)  # noqa: T201
    await serve_socket(mock.app, listener, shutdown_trigger=ended)


def main(argv: list[str] | None = None) -> None:
    """Serve until SIGTERM or SIGINT.

    Args:
        argv: The arguments of the command; None for those of the process.
    """
    parser = argparse.ArgumentParser(
        prog="python -m pais_sdk.testing.mock_llm",
        description=mock_llm.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--host", default="127.0.0.1", help="the address to listen on (127.0.0.1)")
    parser.add_argument("--port", type=int, default=0, help="0 for one that the system picks (0)")
    parser.add_argument("--responses", default="[]", metavar="JSON", help="the answers of the model script, a list")
    options = parser.parse_args(argv)
    try:
        mock = MockLLM(responses=options.responses)
    except ValueError as error:
        parser.error(f"argument --responses: {error}")
    try:
        asyncio.run(_serve_until_signal(mock, options.host, options.port))
    except OSError as error:
        parser.exit(1, f"cannot listen on {options.host}:{options.port}: {error.strerror or error}\n")


if __name__ == "__main__":
    main()
