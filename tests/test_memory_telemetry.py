"""What a memory is asked, as spans and as a metric."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Generator, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from anyio import fail_after
from opentelemetry import trace
from opentelemetry.trace import StatusCode
from pydantic_ai import Conversation
from pydantic_ai.messages import ModelMessage

from pais_sdk import InvalidSessionIdError, LocalMemory, MemoryUnavailableError, SessionBusyError
from pais_sdk.memory import EventPage, Memory, MemorySession, NullMemory, RedisMemory, SQLiteMemory, SQLMemory

from .postgres import postgres_url
from .redis_server import redis_url
from .sql_stores import EXCHANGE
from .telemetry import Recorded, recorded

pytestmark = pytest.mark.anyio

DURATION = "pais_sdk.memory.operation.duration"


@pytest.fixture
def seen() -> Generator[Recorded]:
    with recorded() as seen:
        yield seen


def told(seen: Recorded) -> list[tuple[str, dict[str, Any]]]:
    return [(span.name, dict(span.attributes or {})) for span in seen.spans]


def measured(seen: Recorded) -> list[tuple[str, str, str, int]]:
    points = seen.metrics().get(DURATION, [])
    return sorted((label["operation"], label["backend"], label["success"], point.count) for label, point in points)


@asynccontextmanager
async def memory_of(kind: str, folder: Path) -> AsyncGenerator[Memory]:
    async with AsyncExitStack() as stack:
        if kind == "postgres":
            memory: Memory = SQLMemory(await stack.enter_async_context(postgres_url()))
        elif kind == "redis":
            memory = RedisMemory.from_url(await stack.enter_async_context(redis_url()))
        elif kind == "sqlite":
            memory = SQLiteMemory(folder / "pais.db")
        else:
            memory = {"local": LocalMemory(), "null": NullMemory(), "other": Wrapping(LocalMemory())}[kind]
        yield await stack.enter_async_context(memory)


async def run_in(memory: Memory, session_id: str = "s") -> None:
    async with memory.open_session(session_id) as session:
        await session.append(EXCHANGE)


@pytest.mark.parametrize("kind", ["local", "sqlite", "postgres", "redis", "null", "other"])
async def test_a_run_opens_its_session_and_appends_to_it_whatever_the_memory(kind: str, tmp_path: Path) -> None:
    async with memory_of(kind, tmp_path) as memory:
        for view in (memory, memory.scoped("alice")):
            with recorded() as seen:
                await run_in(view)
                attributes = {"memory.backend": kind, "session.id": "s"}
                assert told(seen) == [("memory.open_session", attributes), ("memory.append", attributes)]
                assert measured(seen) == [("append", kind, "true", 1), ("open_session", kind, "true", 1)]
                scopes = [span.instrumentation_scope for span in seen.spans]
                assert {scope and scope.name for scope in scopes} == {"pais_sdk.memory"}


class Wrapping(Memory):
    """A memory of somebody else's, around one of ours; it knows nothing of telemetry."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory

    def open_session(self, session_id: str, **options: Any) -> AbstractAsyncContextManager[MemorySession]:
        return self._open(session_id, options)

    @asynccontextmanager
    async def _open(self, session_id: str, options: dict[str, Any]) -> AsyncGenerator[MemorySession]:
        async with self._memory.open_session(session_id, **options) as session:
            yield WrappingSession(session)

    async def annotate(self, *args: Any, **options: Any) -> None:
        await self._memory.annotate(*args, **options)

    async def read_page(self, **options: Any) -> Any:
        return await self._memory.read_page(**options)

    async def read_log(self, *args: Any, **options: Any) -> Any:
        return await self._memory.read_log(*args, **options)

    async def read_record(self, *args: Any, **options: Any) -> Any:
        return await self._memory.read_record(*args, **options)

    async def read_records(self, **options: Any) -> Any:
        return await self._memory.read_records(**options)

    async def write_record(self, *args: Any, **options: Any) -> None:
        await self._memory.write_record(*args, **options)

    async def delete_record(self, *args: Any, **options: Any) -> None:
        await self._memory.delete_record(*args, **options)

    async def read_entry(self, *args: Any, **options: Any) -> Any:
        return await self._memory.read_entry(*args, **options)


class WrappingSession(MemorySession):
    def __init__(self, inner: MemorySession) -> None:
        super().__init__(inner.session_id, inner.history, exists=inner.exists)
        self._inner = inner

    async def append(self, messages: Sequence[ModelMessage], *args: Any, **options: Any) -> None:
        await self._inner.append(messages, *args, **options)


async def test_a_session_that_takes_no_attributes_is_opened_and_released_all_the_same(seen: Recorded) -> None:
    class Bare:
        """What a run needs of a session, and not one of ours."""

        __slots__ = ("append", "exists", "history", "session_id")

        def __init__(self, inner: MemorySession) -> None:
            self.session_id, self.history, self.exists = inner.session_id, inner.history, inner.exists
            self.append = inner.append

    class Strange(LocalMemory):
        def open_session(self, session_id: str, **options: Any) -> Any:
            return self._open(session_id, options)

        @asynccontextmanager
        async def _open(self, session_id: str, options: dict[str, Any]) -> AsyncGenerator[Bare]:
            async with super().open_session(session_id, **options) as session:
                yield Bare(session)

    memory = Strange()
    with fail_after(5):
        for _ in range(2):
            await run_in(memory)
    assert [span.name for span in seen.spans] == ["memory.open_session", "memory.append"] * 2


@pytest.mark.parametrize("scope", [None, "alice"])
async def test_each_operation_is_recorded_once_and_what_it_is_made_of_is_not(scope: str | None, seen: Recorded) -> None:
    memory = LocalMemory().scoped(scope)
    await memory.create_session("s")
    await memory.add_event("s", "note", "hi")
    await memory.store_event("s", memory.create_event("note", "hi"))
    await memory.get_events("s")
    await memory.get_events()
    await memory.build_conversation_context("s")
    await memory.list_sessions()
    await memory.delete_session("s")
    conversation = Conversation(conversation_id="c", messages=EXCHANGE)
    await memory.save(conversation)
    await memory.load("c")
    await memory.load_entries("c")
    forked = await memory.fork("c", new_conversation_id="d")
    await memory.branch(conversation_id="c", at=0, expected_revision=conversation.revision)
    await memory.list_conversations()
    await memory.delete(forked.conversation_id)
    await memory.check()
    assert [(name, attributes.get("session.id")) for name, attributes in told(seen)] == [
        ("memory.create_session", "s"),
        ("memory.add_event", "s"),
        ("memory.store_event", "s"),
        ("memory.get_events", "s"),
        ("memory.get_events", None),
        ("memory.build_conversation_context", "s"),
        ("memory.list_sessions", None),
        ("memory.delete_session", "s"),
        ("memory.save", "c"),
        ("memory.load", "c"),
        ("memory.load_entries", "c"),
        ("memory.fork", "c"),
        ("memory.branch", "c"),
        ("memory.list_conversations", None),
        ("memory.delete", "d"),
    ]
    assert {label["backend"] for label, _ in seen.metrics()[DURATION]} == {"local"}
    assert all(span.status.status_code is StatusCode.UNSET for span in seen.spans)


async def test_the_wait_for_a_busy_session_is_a_part_of_opening_it(seen: Recorded) -> None:
    memory = LocalMemory()
    with fail_after(5):
        async with memory.open_session("s"):
            waiting = asyncio.create_task(run_in(memory))
            await asyncio.sleep(0)
            held = [span.end_time for span in seen.named("memory.open_session")]
        await waiting
    first, second = seen.named("memory.open_session")
    assert held == [first.end_time]
    assert second.start_time is not None
    assert second.end_time is not None
    assert first.end_time is not None
    assert second.start_time > first.end_time  # it began to wait while the session was held
    assert measured(seen)[-1] == ("open_session", "local", "true", 2)


async def test_a_failure_is_its_type_and_nothing_of_its_text(seen: Recorded) -> None:
    class Away(LocalMemory):
        async def get_events(self, *args: Any, **options: Any) -> EventPage:
            raise MemoryUnavailableError("the password is hunter2")

    memory = Away()
    with pytest.raises(MemoryUnavailableError):
        await memory.get_events("s")
    with pytest.raises(InvalidSessionIdError):
        await memory.delete_session("no id")
    with pytest.raises(SessionBusyError):
        async with memory.open_session("s"), memory.open_session("s", on_busy="reject"):
            pass
    failed = [span for span in seen.spans if span.status.status_code is StatusCode.ERROR]
    assert [(span.name, span.status.description, (span.attributes or {})["error.type"]) for span in failed] == [
        ("memory.get_events", "MemoryUnavailableError", "MemoryUnavailableError"),
        ("memory.delete_session", "InvalidSessionIdError", "InvalidSessionIdError"),
        ("memory.open_session", "SessionBusyError", "SessionBusyError"),
    ]
    assert not any(span.events for span in seen.spans)
    assert "hunter2" not in "".join(span.to_json() for span in seen.spans)
    assert measured(seen) == [
        ("delete_session", "local", "false", 1),
        ("get_events", "local", "false", 1),
        ("open_session", "local", "false", 1),
        ("open_session", "local", "true", 1),
    ]


async def test_who_gives_up_says_nothing_of_the_memory(seen: Recorded) -> None:
    memory = LocalMemory()
    async with memory.open_session("s"):
        waiting = asyncio.create_task(run_in(memory))
        await asyncio.sleep(0)
        waiting.cancel()
        with fail_after(5):
            await asyncio.wait([waiting])
    given_up = seen.named("memory.open_session")[-1]
    assert given_up.status.status_code is StatusCode.UNSET
    assert "error.type" not in (given_up.attributes or {})
    assert measured(seen) == [("open_session", "local", "true", 1)]


async def test_an_operation_belongs_to_the_span_around_it_and_what_follows_does_not_belong_to_it(
    seen: Recorded,
) -> None:
    with trace.get_tracer("test").start_as_current_span("around") as around:
        await run_in(LocalMemory())
        assert trace.get_current_span() is around
    parents = [span.parent and span.parent.span_id for span in seen.spans]
    assert parents == [around.get_span_context().span_id] * 2 + [None]


async def test_what_a_store_does_meanwhile_belongs_to_the_operation(seen: Recorded) -> None:
    class Instrumented(LocalMemory):
        async def annotate(self, *args: Any, **options: Any) -> None:
            with trace.get_tracer("store").start_as_current_span("INSERT"):
                await super().annotate(*args, **options)

    await Instrumented().create_session("s")
    insert, create = seen.spans
    assert insert.parent is not None
    assert create.context is not None
    assert (insert.name, insert.parent.span_id) == ("INSERT", create.context.span_id)


async def test_a_task_that_an_operation_has_left_behind_is_recorded_again(seen: Recorded) -> None:
    left: list[asyncio.Task[Any]] = []
    go_on = asyncio.Event()

    class Leaves(LocalMemory):
        async def annotate(self, *args: Any, **options: Any) -> None:
            async def later() -> None:
                await self.list_sessions()  # a part of the operation, as far as it goes
                await go_on.wait()
                await self.list_sessions()

            left.append(asyncio.create_task(later()))
            await asyncio.sleep(0)

    await Leaves().create_session("s")
    go_on.set()
    with fail_after(5):
        await asyncio.wait(left)
    assert [span.name for span in seen.spans] == ["memory.create_session", "memory.list_sessions"]


async def test_without_a_trace_and_a_session_there_is_none_in_the_labels(seen: Recorded) -> None:
    memory = LocalMemory()
    for number in range(5):
        await run_in(memory.scoped(f"user-{number}"), f"session-{number}")
    points = seen.metrics()[DURATION]
    assert len(points) == 2
    assert all(set(labels) == {"operation", "backend", "success"} for labels, _ in points)
