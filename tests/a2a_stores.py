"""Stores of A2A tasks for tests, the tasks in them, and an agent of a2a-sdk's that does what it is told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from a2a.helpers import new_text_part
from a2a.server.agent_execution import AgentExecutor, RequestContext
from a2a.server.cluster import LegacyTaskStoreAdapter, StoredTask, TaskVersion, VersionedTaskStore
from a2a.server.context import ServerCallContext
from a2a.server.events import EventQueue
from a2a.server.request_handlers import DefaultRequestHandler
from a2a.server.tasks import TaskUpdater
from a2a.types.a2a_pb2 import (
    AgentCapabilities,
    AgentCard,
    AgentInterface,
    AgentSkill,
    Artifact,
    Message,
    Role,
    SendMessageConfiguration,
    SendMessageRequest,
    Task,
    TaskArtifactUpdateEvent,
    TaskState,
    TaskStatus,
    TaskStatusUpdateEvent,
)

from pais_sdk import Settings
from pais_sdk.server.a2a.stores import TaskStorage, open_task_store

WORKING, COMPLETED = TaskState.TASK_STATE_WORKING, TaskState.TASK_STATE_COMPLETED
CANCELED, FAILED = TaskState.TASK_STATE_CANCELED, TaskState.TASK_STATE_FAILED


def caller(scope: str | None = None) -> ServerCallContext:
    return ServerCallContext(state={"scope": scope})


def task(task_id: str, state: TaskState = WORKING, *, context_id: str = "c", at_s: int = 1_000) -> Task:
    made = Task(id=task_id, context_id=context_id, status=TaskStatus(state=state))
    made.status.timestamp.FromSeconds(at_s)
    return made


def piece(of: Task, text: str, *, append: bool) -> TaskArtifactUpdateEvent:
    artifact = Artifact(artifact_id="answer", parts=[new_text_part(text)])
    return TaskArtifactUpdateEvent(task_id=of.id, context_id=of.context_id, artifact=artifact, append=append)


def changed(of: Task, state: TaskState) -> TaskStatusUpdateEvent:
    return TaskStatusUpdateEvent(task_id=of.id, context_id=of.context_id, status=TaskStatus(state=state))


def text_of(found: Task) -> str:
    return "".join(part.text for artifact in found.artifacts for part in artifact.parts)


@dataclass
class Kept:
    """A storage as a2a-sdk uses it, whatever it is."""

    storage: TaskStorage

    @property
    def store(self) -> VersionedTaskStore:
        store = self.storage.store
        return store if isinstance(store, VersionedTaskStore) else LegacyTaskStoreAdapter(store)

    async def save(
        self, saved: Task, *, after: TaskVersion = TaskVersion.MISSING, event: Any = None, scope: str | None = None
    ) -> TaskVersion:
        told = saved if event is None else event
        return await self.store.save(saved, event=told, prev=None, prev_version=after, context=caller(scope))

    async def get(self, task_id: str, scope: str | None = None) -> StoredTask | None:
        return await self.store.get(task_id, caller(scope))

    async def state(self, task_id: str, scope: str | None = None) -> TaskState | None:
        found = await self.get(task_id, scope)
        return None if found is None else found.task.status.state


@asynccontextmanager
async def kept(url: str | None, **settings: Any) -> AsyncGenerator[Kept]:
    """Open a store: at a URL, or in this process."""
    lease_s = {"lease_s": settings.pop("lease_s")} if "lease_s" in settings else {}
    async with open_task_store(Settings(a2a_task_url=url, **settings), **lease_s) as storage:
        yield Kept(storage)


@dataclass
class ToldExecutor(AgentExecutor):
    """Says what is put into `words`, until that is None; looks after the task as our executor does."""

    storage: TaskStorage
    words: asyncio.Queue[str | None] = field(default_factory=lambda: asyncio.Queue[str | None]())
    began: asyncio.Event = field(default_factory=asyncio.Event)
    cancelled: asyncio.Event = field(default_factory=asyncio.Event)
    ended: asyncio.Event = field(default_factory=asyncio.Event)

    async def execute(self, context: RequestContext, event_queue: EventQueue) -> None:
        assert context.task_id is not None
        assert context.context_id is not None
        assert context.message is not None
        try:
            with self.storage.working(context.task_id, self._stop):
                await self._answer(context.task_id, context.context_id, context.message, event_queue)
        finally:
            self.ended.set()

    def _stop(self) -> None:
        self.cancelled.set()
        self.words.put_nowait(None)

    async def _answer(self, task_id: str, context_id: str, message: Message, queue: EventQueue) -> None:
        first = Task(id=task_id, context_id=context_id, status=TaskStatus(state=WORKING), history=[message])
        first.status.timestamp.GetCurrentTime()
        await queue.enqueue_event(first)
        self.began.set()
        said = False
        while (word := await self.words.get()) is not None:
            await queue.enqueue_event(piece(first, word, append=said))
            said = True
        await TaskUpdater(queue, task_id, context_id).complete()

    async def cancel(self, context: RequestContext, event_queue: EventQueue) -> None:
        self.cancelled.set()
        assert context.task_id is not None
        assert context.context_id is not None
        await TaskUpdater(event_queue, context.task_id, context.context_id).cancel()


@dataclass
class Process:
    """What one process has: a handler of a2a-sdk's over a storage."""

    storage: TaskStorage
    executor: ToldExecutor
    handler: Any


@asynccontextmanager
async def handling(url: str | None, **settings: Any) -> AsyncGenerator[Process]:
    """Handle requests as one of several processes would."""
    async with kept(url, **settings) as opened:
        storage = opened.storage
        executor = ToldExecutor(storage)
        handler = DefaultRequestHandler(executor, storage.store, CARD, event_stream=storage.event_stream)
        try:
            yield Process(storage, executor, handler)
        finally:
            await handler.aclose()


def message(text: str = "hi", *, wait: bool = True) -> SendMessageRequest:
    return SendMessageRequest(
        message=Message(message_id="m", role=Role.ROLE_USER, parts=[new_text_part(text)]),
        configuration=SendMessageConfiguration(return_immediately=not wait),
    )


CARD = AgentCard(
    name="told",
    description="Says what it is told.",
    version="1",
    supported_interfaces=[AgentInterface(url="http://localhost/", protocol_binding="JSONRPC", protocol_version="1.0")],
    capabilities=AgentCapabilities(streaming=True),
    default_input_modes=["text/plain"],
    default_output_modes=["text/plain"],
    skills=[AgentSkill(id="s", name="s", description="s", tags=["s"])],
)
