"""A2A over one runtime: requests in, answers out; all that needs a2a-sdk is behind this file."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, cast

from a2a.server.context import ServerCallContext
from a2a.server.events import Event
from a2a.utils.errors import (
    A2AError,
    ContentTypeNotSupportedError,
    MethodNotFoundError,
    PushNotificationNotSupportedError,
    UnsupportedOperationError,
    VersionNotSupportedError,
)
from starlette.responses import Response

from ...runtime import RunOptions
from ..errors import stopping
from .call import call_of
from .dialect import Dialect, Operation
from .dialect_0_3 import Dialect03
from .dialect_1_0 import Dialect10
from .event_stream import EventStream
from .handler import TaskHandler
from .kaos import answer_kaos, is_kaos
from .numbers import whole_numbers
from .rpc import Frame, FrameError, RequestId, error_answer, failed, read_frame, result_answer
from .stores import open_task_store

if TYPE_CHECKING:
    from ..app import AgentServer

_log = logging.getLogger("pais_sdk.server")
_VERSION = re.compile(r"(\d+)(?:\.\d+)*")
_BEGIN_TASKS = frozenset({"SendMessage", "SendStreamingMessage", "message/send", "message/stream", "tasks/send"})
_1_0, _0_3 = Dialect10(), Dialect03()


@asynccontextmanager
async def open_service(server: AgentServer) -> AsyncGenerator[A2AService]:
    """Open what a server's tasks need, on this event loop; at the end what runs is cut off and stored."""
    async with open_task_store(server.settings) as storage:
        handler = TaskHandler(server, storage)
        try:
            yield A2AService(server, handler)
        finally:
            await handler.stop()


class A2AService:
    """Answers requests of all dialects.

    Args:
        server: Whose agent it is.
        handler: Has the tasks.
    """

    def __init__(self, server: AgentServer, handler: TaskHandler) -> None:
        self._server = server
        self._handler = handler

    def refuse_content_type(self) -> Response:
        """Return the answer to a body that is said not to be JSON."""
        message = "Content-Type must be application/json."
        return _response(error_answer(None, ContentTypeNotSupportedError(message)))

    async def answer(self, body: bytes, *, version: str, scope: str | None, options: RunOptions) -> Response:
        """Return the answer to a request.

        Args:
            body: As it came.
            version: What the header A2A-Version says; empty where there is none.
            scope: The caller's.
            options: For the run that it may begin.

        Raises:
            WireError: The server stops and takes no new task.
        """
        try:
            frame = read_frame(body)
        except FrameError as error:
            return _response(error.answer)
        if frame.method in _BEGIN_TASKS and self._server.stopping:
            raise stopping()
        try:
            return await self._dispatch(frame, version.strip(), call_of(scope, options))
        except A2AError as error:
            return _response(error_answer(frame.id, error))
        except Exception:  # noqa: BLE001 - a2a-sdk may raise anything, and none of it is for clients
            _log.exception("a request of A2A failed")
            return _response(error_answer(frame.id, failed()))

    async def _dispatch(self, frame: Frame, version: str, call: ServerCallContext) -> Response:
        _refuse_autonomy(frame)
        if is_kaos(frame.body, version or None):
            return _response(await answer_kaos(self._handler, frame.body, call))
        dialect = _dialect_of(frame, version)
        operation = dialect.methods[frame.method]
        if operation == "push":
            raise PushNotificationNotSupportedError("Push notifications are not offered.")
        if operation == "card":
            raise UnsupportedOperationError("There is no extended card.")
        request: Any = dialect.read(frame)
        handler: Any = self._handler
        if operation == "stream":
            return await self._stream(dialect, frame.id, handler.on_message_send_stream(request, call))
        if operation == "subscribe":
            elsewhere = request.id not in handler.executor.task_ids
            events = handler.on_subscribe_to_task(request, call)
            return await self._stream(dialect, frame.id, events, from_elsewhere=elsewhere)
        calls: dict[Operation, Callable[[Any, ServerCallContext], Awaitable[Any]]] = {
            "send": handler.on_message_send,
            "get": handler.on_get_task,
            "list": handler.on_list_tasks,
            "cancel": handler.on_cancel_task,
        }
        result = await calls[operation](request, call)
        return _response(result_answer(frame.id, dialect.result(operation, result, request)))

    async def _stream(
        self,
        dialect: Dialect,
        request_id: RequestId,
        events: AsyncGenerator[Event],
        *,
        from_elsewhere: bool = False,
    ) -> Response:
        # The first event before any header, so that a call that is wrong gets a plain answer.
        first = await anext(events)
        answers = _answers(dialect, request_id, first, events)
        return EventStream(self._server, answers, from_elsewhere=from_elsewhere)


async def _answers(
    dialect: Dialect, request_id: RequestId, first: Event, events: AsyncGenerator[Event]
) -> AsyncGenerator[dict[str, Any]]:
    try:
        yield result_answer(request_id, whole_numbers(dialect.event(first, request_id)))
        async for event in events:
            yield result_answer(request_id, whole_numbers(dialect.event(event, request_id)))
    except A2AError as error:
        yield error_answer(request_id, error)
    except Exception:  # noqa: BLE001 - as above; too late for a status
        _log.exception("a stream of A2A broke off")
        yield error_answer(request_id, failed())
    finally:
        await events.aclose()


def _refuse_autonomy(frame: Frame) -> None:
    configuration = frame.params.get("configuration")
    if isinstance(configuration, dict) and cast("dict[str, Any]", configuration).get("mode") == "autonomous":
        raise UnsupportedOperationError(
            "configuration.mode 'autonomous' is not in this version; leave it out, and send the goal as a message."
        )


def _dialect_of(frame: Frame, version: str) -> Dialect:
    """Return the dialect of a method and a version; a version that is not stated is that of the method."""
    dialect = next((dialect for dialect in (_1_0, _0_3) if frame.method in dialect.methods), None)
    if dialect is None:
        raise MethodNotFoundError("There is no such method.")
    spoken = "1" if dialect is _1_0 else "0"
    numbers = _VERSION.fullmatch(version)
    if version and (numbers is None or numbers[1] != spoken):
        raise VersionNotSupportedError(
            f"A2A-Version {version[:20]!r} is not spoken here, or does not have this method; use 1.0, or 0.3 with the "
            "methods of 0.3."
        )
    if not version and dialect is _1_0 and not _has_core_role(frame):
        raise VersionNotSupportedError("This method needs the header A2A-Version: 1.0.")
    return dialect


def _has_core_role(frame: Frame) -> bool:
    message = frame.params.get("message")
    return isinstance(message, dict) and str(cast("dict[str, Any]", message).get("role")).startswith("ROLE_")


def _response(answer: dict[str, Any]) -> Response:
    return Response(json.dumps(whole_numbers(answer)), media_type="application/json")
