"""What a memory is asked, as spans and a metric: of every memory, and written once."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from contextvars import ContextVar
from functools import wraps
from inspect import isfunction
from types import TracebackType
from typing import Any, TypeVar

from opentelemetry import context, metrics, trace
from opentelemetry.trace import StatusCode

from .session_id import from_internal

_tracer = trace.get_tracer("pais_sdk.memory")
_durations = metrics.get_meter("pais_sdk.memory").create_histogram(
    "pais_sdk.memory.operation.duration",
    unit="s",
    description="Time that the memory took",
    explicit_bucket_boundaries_advisory=(
        0.0005,
        0.001,
        0.0025,
        0.005,
        0.01,
        0.025,
        0.05,
        0.1,
        0.25,
        0.5,
        1,
        2.5,
        10,
        30,
    ),
)

_CALLS = (
    *("create_session", "store_event", "add_event", "get_events", "list_sessions", "delete_session"),
    "build_conversation_context",
    *("load", "load_entries", "save", "branch", "fork", "list_conversations", "delete"),  # of Pydantic AI's store
)
_LONGEST_ID = 128
_MARK = "_is_recorded_as"

T = TypeVar("T")


def trace_memory(kind: type[Any]) -> None:
    """Have the operations of a class of memories recorded; those of its subclasses must be, each, too."""
    _replace(kind, "open_session", _opening)
    for name in _CALLS:
        _replace(kind, name, _calling)


def trace_session(kind: type[Any]) -> None:
    """Have the operations of a class of sessions recorded."""
    _replace(kind, "append", _calling)


def _replace(kind: type[Any], name: str, recorded: Callable[[str, Any], Any]) -> None:
    # Also where it comes from a class beside ours, and not where it comes from one that was seen to.
    function = getattr(kind, name)
    if isfunction(function) and not hasattr(function, _MARK):
        setattr(kind, name, recorded(name, function))


class _Operation:
    """One operation, from when it is made until its end. What it asks of the memory meanwhile is a part of it."""

    __slots__ = ("_attached", "_backend", "_began", "_name", "_span", "_under_way", "goes_on")

    def __init__(self, name: str, backend: str, subject: object) -> None:
        self.goes_on = True
        self._name = name
        self._backend = backend
        self._span = _tracer.start_span(f"memory.{name}")
        if self._span.is_recording():
            self._span.set_attribute("memory.backend", backend)
            if isinstance(session_id := getattr(subject, "conversation_id", subject), str):
                self._span.set_attribute("session.id", from_internal(session_id)[:_LONGEST_ID])
        # Without a provider there is nothing to attach: it is the span that is current anyway, or none.
        known = self._span.get_span_context().is_valid
        self._attached = context.attach(trace.set_span_in_context(self._span)) if known else None
        self._under_way = _under_way.set(self)
        self._began = time.perf_counter()

    def end(self, error: BaseException | None = None) -> None:
        """Record how it ended; one that was cancelled says nothing of the memory."""
        took_s = time.perf_counter() - self._began
        self.goes_on = False
        _under_way.reset(self._under_way)
        if self._attached is not None:
            context.detach(self._attached)
        if isinstance(error, Exception):
            self._span.set_attribute("error.type", type(error).__name__)
            self._span.set_status(StatusCode.ERROR, type(error).__name__)
        if error is None or isinstance(error, Exception):
            success = "true" if error is None else "false"
            labels = {"operation": self._name, "backend": self._backend, "success": success}
            _durations.record(took_s, labels)
        self._span.end()


_under_way: ContextVar[_Operation | None] = ContextVar("memory_operation", default=None)


def _is_part() -> bool:
    """Tell whether an operation is a part of another one: then it is not recorded by itself."""
    outer = _under_way.get()
    return outer is not None and outer.goes_on  # a task that one has started may live longer than it


def _calling(name: str, function: Callable[..., Awaitable[T]]) -> Callable[..., Awaitable[T]]:
    @wraps(function)
    async def call(self: Any, *args: Any, **named: Any) -> T:
        if _is_part():
            return await function(self, *args, **named)
        subject = self.session_id if name == "append" else _subject(args, named)
        operation = _Operation(name, self.telemetry_name, subject)
        try:
            result = await function(self, *args, **named)
        except BaseException as error:
            operation.end(error)
            raise
        operation.end()
        return result

    setattr(call, _MARK, name)
    return call


def _subject(args: tuple[Any, ...], named: dict[str, Any]) -> object:
    """Return the session that a call is about: its id, or what has one."""
    if args:
        return args[0]
    for name in ("session_id", "conversation_id", "conversation"):
        if name in named:
            return named[name]
    return None


def _opening(name: str, function: Callable[..., AbstractAsyncContextManager[Any]]) -> Callable[..., Any]:
    @wraps(function)
    def open_session(self: Any, *args: Any, **named: Any) -> AbstractAsyncContextManager[Any]:
        return _Opening(function(self, *args, **named), self.telemetry_name, _subject(args, named))

    setattr(open_session, _MARK, name)
    return open_session


class _Opening(AbstractAsyncContextManager[Any]):
    """What opens a session: recorded until the session is held, with the wait for it where it is busy."""

    __slots__ = ("_backend", "_inner", "_subject")

    def __init__(self, inner: AbstractAsyncContextManager[Any], backend: str, subject: object) -> None:
        self._inner = inner
        self._backend = backend
        self._subject = subject

    async def __aenter__(self) -> Any:
        if _is_part():
            return await self._inner.__aenter__()
        operation = _Operation("open_session", self._backend, self._subject)
        try:
            session = await self._inner.__aenter__()
        except BaseException as error:
            operation.end(error)
            raise
        if hasattr(session, "telemetry_name"):  # else it is not one of ours, and may take no attributes
            session.telemetry_name = self._backend
        operation.end()
        return session

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        return await self._inner.__aexit__(exc_type, exc, traceback)
