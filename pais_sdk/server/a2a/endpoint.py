"""POST /: A2A, loaded when the first request comes."""

from __future__ import annotations

import asyncio
import contextvars
import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from importlib import import_module
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import Response

from ..body import discard_body, read_body
from ..delegated import delegated_options
from ..errors import stopping
from ..gate import scope_of

if TYPE_CHECKING:
    from ..app import AgentServer
    from .service import A2AService


class A2AEndpoint:
    """Answers with a service that belongs to one event loop and is opened anew on the next one.

    Args:
        server: Whose agent it is.
    """

    def __init__(self, server: AgentServer) -> None:
        self._server = server
        self._opening: _Opening | None = None
        self._holders = 0

    async def handle(self, request: Request) -> Response:
        """Answer one request."""
        try:
            options = delegated_options(request)
            service = await self._service()
        except Exception:
            await discard_body(request)
            raise
        if not _is_json(request.headers.get("content-type", "")):
            await discard_body(request)
            return service.refuse_content_type()
        with self._server.in_flight.reading() as reading:
            body = await read_body(request, self._server.settings.agent_max_body_bytes)
        if reading.cancelled_caught:
            raise stopping()
        version = request.headers.get("a2a-version", "")
        return await service.answer(body, version=version, scope=scope_of(request), options=options)

    @asynccontextmanager
    async def held(self) -> AsyncGenerator[None]:
        """Close it after the block, where nobody else holds it.

        With a store of tasks to reach it is open before the block; where A2A was asked for it opens meanwhile, so that
        no request has to wait for that, nor others beside it; else the first request opens it.
        """
        self._holders += 1
        try:
            if self._server.a2a_on and self._server.settings.a2a_task_url is not None:
                await self._service()
            elif self._server.settings.a2a:
                self._open()
            yield
        finally:
            self._holders -= 1
            if not self._holders:
                await self._close()

    async def _service(self) -> A2AService:
        return await self._open().service()

    def _open(self) -> _Opening:
        opening = self._opening
        if opening is None or opening.over:
            opening = self._opening = _Opening(self._server)
        return opening

    async def _close(self) -> None:
        opening, self._opening = self._opening, None
        if opening is not None and not opening.over:
            await opening.close()


class _Opening:
    """One service, and the task that opens and closes it: a request that is cancelled must not leave half of one."""

    def __init__(self, server: AgentServer) -> None:
        self._server = server
        self._loop = asyncio.get_running_loop()
        self._ready: asyncio.Future[A2AService] = self._loop.create_future()
        self._stop = asyncio.Event()
        # An empty context: what is opened outlives the request, and the trace, that came first.
        self._task = self._loop.create_task(self._own(), context=contextvars.Context())

    @property
    def over(self) -> bool:
        """Whether it is closed, could not be opened, or belongs to a loop that has gone."""
        return self._task.done() or self._loop is not asyncio.get_running_loop()

    async def service(self) -> A2AService:
        """Return the service when it is open; raises what keeps it from that."""
        return await asyncio.shield(self._ready)

    async def close(self) -> None:
        """Close it, and return when that is done."""
        self._stop.set()
        await asyncio.wait([self._task])
        if not self._task.cancelled() and self._ready.exception() is None:
            self._task.result()

    async def _own(self) -> None:
        try:
            # Its own spans, a hundred for a task, are for those who ask for them; it looks when it is imported.
            os.environ.setdefault("OTEL_INSTRUMENTATION_A2A_SDK_ENABLED", "false")
            module: Any = await asyncio.to_thread(import_module, f"{__package__}.service")  # half a second
            async with module.open_service(self._server) as service:
                self._ready.set_result(service)
                await self._stop.wait()
        except BaseException as error:
            if self._ready.done():
                raise
            if isinstance(error, Exception):
                self._ready.set_exception(error)
                self._ready.exception()  # seen here, in case that nobody waits for it any more
            else:
                self._ready.cancel()
                raise


def _is_json(content_type: str) -> bool:
    kind = content_type.partition(";")[0].strip().lower()
    return kind == "application/json" or (kind.startswith("application/") and kind.endswith("+json"))
