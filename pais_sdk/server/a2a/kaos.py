"""KAOS's dialect of A2A: its requests and answers, over the same handler and tasks as the others."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, cast

from a2a.server.context import ServerCallContext
from a2a.server.request_handlers import RequestHandler
from a2a.types import Task
from a2a.utils.errors import (
    A2AError,
    InvalidParamsError,
    MethodNotFoundError,
    TaskNotCancelableError,
    TaskNotFoundError,
)

from .kaos_request import Params, cancel_request, get_request, history_length, list_request, send_request
from .kaos_task import kaos_task, task_of_both
from .rpc import error_answer, failed, result_answer

_log = logging.getLogger("pais_sdk.server")
_OF_ALL = {"SendMessage", "GetTask", "CancelTask", "ListTasks"}
_OF_KAOS = {"tasks/send", "tasks/list"}
_OF_BOTH = {"tasks/get", "tasks/cancel"}


def is_kaos(body: Mapping[str, Any], version: str | None) -> bool:
    """Return whether a request of JSON-RPC is one of KAOS's dialect, or one that is answered for it and 0.3 at once.

    Clients of 1.0 must send the header `A2A-Version`, and 0.3 has other names; so nothing changes its meaning.

    Args:
        body: The request.
        version: The header `A2A-Version`; None or empty where there is none.
    """
    method = body.get("method")
    if version:
        return False
    return method in _OF_KAOS | _OF_BOTH or (method in _OF_ALL and not _role_of(body).startswith("ROLE_"))


def _role_of(body: Mapping[str, Any]) -> str:
    params = body.get("params")
    message = cast("Params", params).get("message") if isinstance(params, Mapping) else None
    role = cast("Params", message).get("role") if isinstance(message, Mapping) else None
    return role if isinstance(role, str) else ""


async def answer_kaos(handler: RequestHandler, body: Mapping[str, Any], context: ServerCallContext) -> dict[str, Any]:
    """Return the answer of JSON-RPC to a request of JSON-RPC; whatever is wrong with it, it says so."""
    request_id = body.get("id")
    try:
        result = await _result(handler, str(body.get("method")), _params_of(body), context)
    except A2AError as error:
        return error_answer(request_id, error)
    except Exception:  # noqa: BLE001 - the request ends here, and its client must be answered
        _log.exception("an A2A request failed")
        return error_answer(request_id, failed())
    return result_answer(request_id, result)


async def _result(handler: RequestHandler, method: str, params: Params, context: ServerCallContext) -> dict[str, Any]:
    match method:
        case "SendMessage" | "tasks/send":
            sent = await handler.on_message_send(send_request(params), context)
            assert isinstance(sent, Task)  # our executor never answers with a bare message
            return kaos_task(sent)
        case "ListTasks" | "tasks/list":
            page = await handler.on_list_tasks(list_request(params), context)
            tasks = [kaos_task(task) for task in page.tasks]
            return {"tasks": tasks, "count": len(tasks), "nextPageToken": page.next_page_token}
        case "GetTask" | "CancelTask" | "tasks/get" | "tasks/cancel":
            asked = _cancelled if method in ("CancelTask", "tasks/cancel") else _stored
            length = history_length(params)
            task = await asked(handler, params, context)
            if method.startswith("tasks/"):
                return task_of_both(task, length)
            return kaos_task(task)
        case _:
            raise MethodNotFoundError


async def _stored(handler: RequestHandler, params: Params, context: ServerCallContext) -> Task:
    task = await handler.on_get_task(get_request(params), context)
    if task is None:
        raise TaskNotFoundError
    return task


async def _cancelled(handler: RequestHandler, params: Params, context: ServerCallContext) -> Task:
    try:
        task = await handler.on_cancel_task(cancel_request(params), context)
    except TaskNotCancelableError:
        return await _stored(handler, params, context)  # KAOS gives a task that has ended as it is
    if task is None:
        raise TaskNotFoundError
    return task


def _params_of(body: Mapping[str, Any]) -> Params:
    params = body.get("params")
    if params is None:
        return {}
    if not isinstance(params, Mapping):
        raise InvalidParamsError("params must be an object")
    return cast("Params", params)
