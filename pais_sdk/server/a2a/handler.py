"""What every dialect of A2A asks of the tasks, behind the checks that hold for all of them."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from a2a.server.agent_execution.active_task import ActiveTask
from a2a.server.context import ServerCallContext
from a2a.server.events import Event
from a2a.server.request_handlers import DefaultRequestHandler
from a2a.types.a2a_pb2 import (
    AgentCard,
    CancelTaskRequest,
    Message,
    Part,
    SendMessageConfiguration,
    SendMessageRequest,
    Task,
)
from a2a.utils.errors import (
    ContentTypeNotSupportedError,
    InvalidParamsError,
    PushNotificationNotSupportedError,
    TaskNotFoundError,
    UnsupportedOperationError,
)
from google.protobuf.json_format import MessageToDict, ParseDict, SerializeToJsonError
from google.protobuf.message import DecodeError

from ...errors import InvalidSessionIdError
from ...memory import check_session_id
from .call import Awaits, ask
from .cards import card_1_0, facts_of
from .executor import RuntimeExecutor
from .parts import read_question
from .stored import without_files
from .stores import TaskStorage
from .task_states import ENDED
from .telemetry import cancelled, submitted

if TYPE_CHECKING:
    from ..app import AgentServer

_OUTPUT = frozenset({"text", "text/plain", "text/*", "*/*", "*"})


class TaskHandler(DefaultRequestHandler):
    """a2a-sdk's handler over the agent's runtime; belongs to the event loop that it is made on.

    Args:
        server: Whose runtime runs the tasks.
        storage: Where they are kept.
    """

    def __init__(self, server: AgentServer, storage: TaskStorage) -> None:
        card = ParseDict(dict(card_1_0(facts_of(server), "http://localhost")), AgentCard())
        self.executor = RuntimeExecutor(server, storage)
        super().__init__(
            agent_executor=self.executor, task_store=storage.store, agent_card=card, event_stream=storage.event_stream
        )
        self._speaks_text = server.runtime.arguments.speaks_text

    async def on_message_send(self, params: SendMessageRequest, context: ServerCallContext) -> Message | Task:
        awaits: Awaits = "task" if params.configuration.return_immediately else "end"
        handler: Any = super()  # its methods are decorated, and so without types
        with submitted(context):
            checked = await self._checked(params, context, awaits)
            return await handler.on_message_send(checked, context)

    async def on_message_send_stream(
        self, params: SendMessageRequest, context: ServerCallContext
    ) -> AsyncGenerator[Event]:
        handler: Any = super()
        with submitted(context):
            checked = await self._checked(params, context, "events")
            async for event in handler.on_message_send_stream(checked, context):
                yield event

    async def on_cancel_task(self, params: CancelTaskRequest, context: ServerCallContext) -> Task | None:
        handler: Any = super()
        with cancelled(params.id) as cancellation:
            task: Task | None = await handler.on_cancel_task(params, context)
            if task is not None:
                cancellation.of(task)
        return task

    async def stop(self) -> None:
        """End what runs, and return when it is stored."""
        await self.executor.cut_off()
        for task_id in self.executor.told:
            active = await self._active_task_registry.get(task_id)
            if active is not None:
                await _finished(active)
        await self.aclose()

    async def _forget_the_finished(self) -> None:
        told = self.executor.told
        while told:
            active = await self._active_task_registry.get(told[0])
            if active is not None and not active.is_finished:
                return
            told.popleft()

    async def _checked(
        self, params: SendMessageRequest, context: ServerCallContext, awaits: Awaits
    ) -> SendMessageRequest:
        """Attach what is asked to the call, and return the request without it.

        What a2a-sdk does with a message, such as looking for missing fields, takes a second for a megabyte of data.
        """
        await self._forget_the_finished()
        message, configuration = params.message, params.configuration
        if message.task_id:
            await self._refuse_to_go_on(message, context)
        if message.context_id:
            _check_context_id(message.context_id)
        if configuration.HasField("task_push_notification_config"):
            raise PushNotificationNotSupportedError
        self._check_output(configuration)
        _check_storable(message)
        ask(context, read_question(message), without_files(message), awaits)
        light = SendMessageRequest(configuration=configuration)
        light.message.message_id, light.message.role = message.message_id, message.role
        light.message.context_id = message.context_id
        light.message.parts.append(Part(text=" "))
        return light

    async def _refuse_to_go_on(self, message: Message, context: ServerCallContext) -> None:
        """Raise why a task takes no second message: the agent never asks back, so none waits for one."""
        stored = await self._versioned_store.get(message.task_id, context)
        if stored is None:
            raise TaskNotFoundError
        if message.context_id not in ("", stored.task.context_id):
            raise InvalidParamsError("message.contextId is not that of the task of message.taskId")
        if stored.task.status.state in ENDED:
            raise UnsupportedOperationError(
                "The task has ended. Send the message without taskId and with the task's contextId to go on."
            )
        raise UnsupportedOperationError(
            "The task is being worked on and takes no further message. Wait for its end, or cancel it. A message "
            "without taskId and with the task's contextId comes after it."
        )

    def _check_output(self, configuration: SendMessageConfiguration) -> None:
        wanted = {mode.partition(";")[0].strip().lower() for mode in configuration.accepted_output_modes}
        given = _OUTPUT if self._speaks_text else _OUTPUT | {"application/json"}
        if wanted and not wanted & given:
            raise ContentTypeNotSupportedError("configuration.acceptedOutputModes must have text/plain")


def _check_storable(message: Message) -> None:
    """Refuse what can be read but neither stored nor listed: data that is nested deeper than Protobuf writes it."""
    if not message.metadata and not any(part.metadata or part.HasField("data") for part in message.parts):
        return
    kept = without_files(message)
    try:
        MessageToDict(Message.FromString(kept.SerializeToString()))
    except (DecodeError, SerializeToJsonError, ValueError, RecursionError):
        raise InvalidParamsError("The message has data that is nested too deeply, or numbers that are none.") from None


async def _finished(active: ActiveTask) -> None:
    """Return when the last that a task was told is stored; whatever went wrong there, its own followers hear of it."""
    with suppress(Exception):
        async for _ in active.subscribe():
            pass


def _check_context_id(context_id: str) -> None:
    try:
        check_session_id(context_id)
    except InvalidSessionIdError:
        raise InvalidParamsError(
            "message.contextId must be 1 to 128 characters of A-Z a-z 0-9 . _ : -", data={"field": "message.contextId"}
        ) from None
