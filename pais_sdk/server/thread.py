"""A server on the SDK's own loop thread, and the handle that its starter holds."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from .._loop import loop_thread
from ..errors import MissingExtraError

if TYPE_CHECKING:
    from openai import OpenAI

    from .app import AgentServer


class ServerHandle:
    """A server that runs in a thread; stop it with `stop()` or a `with` block.

    Attributes:
        url: Its base URL, without a slash at the end.
    """

    def __init__(self, server: AgentServer, url: str) -> None:
        self._server = server
        self.url = url
        loop_thread().at_exit.add(server.stop)

    def openai(self, *, api_key: str = "not-needed", **options: Any) -> OpenAI:
        """Return a client of the `openai` package for this server; `options` go to its constructor."""
        try:
            from openai import OpenAI
        except ImportError as error:
            raise MissingExtraError("an OpenAI client", extra="server") from error
        return OpenAI(base_url=f"{self.url}/v1", api_key=api_key, **options)

    def stop(self) -> None:
        """Stop the server; nothing where it has stopped."""
        loop_thread().run(self._server.stop)
        loop_thread().at_exit.discard(self._server.stop)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def __repr__(self) -> str:
        return f"<ServerHandle {self.url}>"


def start_in_thread(server: AgentServer, *, host: str | None, port: int | None) -> ServerHandle:
    """Start a server on the loop thread and return its handle."""
    return ServerHandle(server, loop_thread().run(lambda: server.start(host, port)))
