"""AgentServer: an agent as an ASGI application."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from importlib.util import find_spec
from typing import Any

import anyio

from .._listen import listening
from ..errors import ConfigurationError, MissingExtraError, PaisError, RunCancelledError, RunError

try:
    from starlette.applications import Starlette
    from starlette.exceptions import HTTPException
    from starlette.requests import ClientDisconnect, Request
    from starlette.responses import Response
    from starlette.routing import Route
    from starlette.types import Message, Receive, Scope, Send
except ImportError as error:
    raise MissingExtraError("serving an agent", extra="server") from error

from ..runtime import AgentRuntime
from ..settings import Settings
from .a2a import a2a_is_on
from .a2a.endpoint import A2AEndpoint
from .agent_card import AgentEndpoints
from .auth import Authenticate
from .chat import ChatEndpoint
from .errors import WireError, cut_off, error_response, invalid, stopping
from .gate import Gate
from .http_telemetry import HttpTelemetry
from .in_flight import InFlight
from .openapi import DescriptionEndpoints
from .probes import ProbeEndpoints
from .sessions import SessionEndpoints
from .thread import ServerHandle, start_in_thread
from .trace_context import continued_trace


class AgentServer:
    """An ASGI application over one runtime: serve it, mount it, or start it beside a notebook.

    It opens the runtime with its lifespan, or on the first request where the parent runs none.

    Args:
        runtime: Closed when the server stops, unless it was open before.
        settings: In place of the environment.
        authenticate: Called with each request, without its body, except for probes, the card and the description of
            the API; returns the caller's scope, the namespace of its sessions, or None where the caller may not come
            in. In place of AGENT_API_KEYS. A sync one runs on the event loop and must not block.

    Raises:
        ConfigurationError: The keys, origins or excluded URLs of the settings cannot be used.
        MissingExtraError: AGENT_A2A is true, and the extra `a2a` is not installed.
    """

    def __init__(
        self,
        runtime: AgentRuntime[Any],
        *,
        settings: Settings | None = None,
        authenticate: Authenticate | None = None,
    ) -> None:
        self.runtime = runtime
        self.settings = Settings() if settings is None else settings
        self.gate = Gate(self.settings, authenticate)
        self.in_flight = InFlight()
        self.a2a_on = a2a_is_on(self.settings)
        """Whether A2A is served."""
        if self.a2a_on and find_spec("a2a") is None:
            raise MissingExtraError("AGENT_A2A=true", extra="a2a")
        self.a2a = A2AEndpoint(self)
        chat = ChatEndpoint(self)
        agent, probes = AgentEndpoints(self), ProbeEndpoints(self)
        sessions, description = SessionEndpoints(runtime), DescriptionEndpoints(self)
        before = self.gate.before
        routes = [
            Route("/v1/chat/completions", before(chat.handle), methods=["POST"]),
            Route("/v1/models", before(agent.models)),
            Route("/v1/models/{model_id:path}", before(agent.model)),
            Route("/memory/sessions", before(sessions.list)),
            Route("/memory/sessions/{session_id}", before(sessions.delete), methods=["DELETE"]),
            Route("/memory/events", before(sessions.events)),
            Route("/tools", before(agent.tools)),
            Route("/.well-known/agent.json", agent.card),
            Route("/.well-known/agent-card.json", agent.a2a_card),
            Route("/health", probes.health),
            Route("/ready", probes.ready),
            Route("/openapi.json", description.document),
            Route("/docs", description.page),
            *([Route("/", before(self.a2a.handle), methods=["POST"])] if self.a2a_on else ()),
        ]
        self._app = Starlette(
            routes=routes,
            exception_handlers={
                HTTPException: _not_routed,
                ClientDisconnect: _gone,
                WireError: _failed,
                PaisError: _failed,
                Exception: _failed,
            },
            lifespan=self._lifespan,
        )
        self._app.router.redirect_slashes = False  # a wrong path is an error object, not a redirect
        self._served = HttpTelemetry(self.gate.origins.with_cors(self._app), routes, self.settings)
        self.stopping = False
        """Whether no more runs are taken."""
        self._started: AsyncExitStack | None = None

    @property
    def stalled_s(self) -> float:
        """Seconds after which the system may cut a connection whose client takes nothing; streams end before."""
        return self.settings.agent_stream_idle_s + 5

    async def without_lifespan(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Be the same application for a server that is run here, where the runtime is held open anyway."""
        if scope["type"] != "lifespan":
            await self(scope, receive, send)
            return
        for phase in ("startup", "shutdown"):
            await receive()
            await send({"type": f"lifespan.{phase}.complete"})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._served(scope, receive, send)
            return
        with self.in_flight.counted(), continued_trace(scope.get("headers", ())):
            await self._served(scope, receive, self._closing(scope, send))

    def _closing(self, scope: Scope, send: Send) -> Send:
        """Return a `send` that closes the connection of a stopping server, so that the next request goes elsewhere."""
        if not scope.get("http_version", "").startswith("1"):
            return send  # there it is not for an answer to say

        async def send_and_close(message: Message) -> None:
            if self.stopping and message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), (b"connection", b"close")]
            await send(message)

        return send_and_close

    @asynccontextmanager
    async def _lifespan(self, app: Starlette) -> AsyncGenerator[None]:
        self.stopping = False
        async with self.held():
            yield

    @asynccontextmanager
    async def held(self) -> AsyncGenerator[None]:
        """Keep what requests need open while the block runs: the runtime, and the tasks of A2A."""
        async with self.runtime.held(), self.a2a.held():
            yield

    def run(self, host: str | None = None, port: int | None = None) -> None:
        """Serve until SIGINT or SIGTERM; blocks. Host and port are the settings' unless given.

        Active runs have AGENT_GRACE_SECONDS to finish then; a second signal does not wait for them.

        Raises:
            ConfigurationError: It cannot listen there, or AGENT_WORKERS asks for more than this one process.
        """
        from .process import run_server

        if self.settings.agent_workers > 1:
            raise ConfigurationError(
                f"AGENT_WORKERS={self.settings.agent_workers}: run() serves in one process; "
                "start several with python -m pais_sdk.serve TARGET, or pais run TARGET"
            )
        run_server(self, host=host, port=port)

    async def start(self, host: str | None = None, port: int | None = None) -> str:
        """Serve in this event loop and return the base URL; `stop()` ends it."""
        if self._started is not None:
            raise RuntimeError("the server is started already; stop it first")
        async with AsyncExitStack() as stack:
            url = await stack.enter_async_context(self.running(host, port))
            self._started = stack.pop_all()
        return url

    async def stop(self) -> None:
        """End what `start` began; nothing where nothing was."""
        if self._started is not None:
            started, self._started = self._started, None
            await started.aclose()

    @asynccontextmanager
    async def running(self, host: str | None = None, port: int | None = None) -> AsyncGenerator[str]:
        """Serve in this event loop while the block runs: `async with app.running(port=0) as url`.

        At its end what still runs is cancelled and stored, and its clients are told.
        """
        host, port = self.settings.address(host, port)
        self.stopping = False
        self.gate.listens_on(host)
        listens = listening(self.without_lifespan, host=host, port=port, stalled_s=self.stalled_s)
        async with self.held(), listens as url:
            try:
                yield url
            finally:
                await self.cancel_runs()

    async def drain(self, grace_s: float) -> None:
        """Take no more runs, and return when all that was begun is answered.

        What is not within `grace_s` seconds is cancelled shortly before they are over, stored, and told so.
        """
        self.stopping = True
        self.in_flight.read_no_more()
        began = anyio.current_time()
        with anyio.move_on_after(grace_s - min(2.0, grace_s / 10)):
            await self.runtime.ended(self)
            await self.in_flight.over()
            return
        with anyio.CancelScope(deadline=began + grace_s):
            await self.cancel_runs()
            await self.in_flight.over()

    async def cancel_runs(self) -> None:
        """Take no more runs, cancel what clients of this server began, and return when it is stored.

        Their streams get a last event.
        """
        self.stopping = True
        self.in_flight.read_no_more()
        await self.runtime.cancel_all(self)

    def told_of(self, error: Exception) -> Exception:
        """Return what clients are told of: a run that was cancelled because the server stops was not their wish."""
        if not (self.stopping and isinstance(error, RunCancelledError)):
            return error
        return cut_off() if error.outcome.messages else stopping()

    def start_in_thread(self, host: str | None = None, port: int | None = None) -> ServerHandle:
        """Serve on the SDK's own loop thread, for notebooks; returns when it listens."""
        return start_in_thread(self, host=host, port=port)


async def _not_routed(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if error.status_code == 405:
        allowed = ", ".join(sorted((error.headers or {}).get("Allow", "").split(", ")))
        answer = error_response(
            invalid(f"{request.url.path} does not take {request.method}; use {allowed}", status=405)
        )
        answer.headers["Allow"] = allowed
        return answer
    if error.status_code == 404:
        return error_response(invalid(f"there is nothing at {request.url.path}", status=404))
    return error_response(invalid("the request cannot be read", status=error.status_code))


async def _gone(request: Request, error: Exception) -> Response:
    return Response(status_code=499)  # nobody is there to read it


async def _failed(request: Request, error: Exception) -> Response:
    if isinstance(error, RunError):
        return error_response(error, error.outcome.session_id)
    return error_response(error, getattr(request.state, "session_id", None))
