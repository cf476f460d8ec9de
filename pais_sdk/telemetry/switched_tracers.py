"""The tracer provider that stays while what is behind it comes and goes."""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable, Collection
from contextlib import AbstractContextManager
from functools import wraps
from types import TracebackType
from typing import Any

from opentelemetry.trace import NoOpTracerProvider, Span, Tracer, TracerProvider

_NOTHING = NoOpTracerProvider()

Scope = tuple[str, str | None, str | None, Any]


class HandsOn:
    """Asks the present one for what it does not have itself, such as add_span_processor, which programs call."""

    present: Any

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name == "present":
            raise AttributeError(name)  # where it is being copied, for example, there is nothing yet
        return getattr(self.present, name)


class SwitchedTracerProvider(HandsOn, TracerProvider):
    """Hands over to one provider at a time, or to none.

    OpenTelemetry takes a global provider only once in a process. This one is it, so that telemetry can be set up, shut
    down and set up again, and whoever got a tracer before has one that works.
    """

    def __init__(self) -> None:
        self.present: TracerProvider = _NOTHING
        self._without: Collection[str] = ()
        self._tracers: dict[str, SwitchedTracer] = {}
        self._guard = threading.Lock()

    def switch(self, provider: TracerProvider | None, *, without: Collection[str] = ()) -> None:
        """Hand over to this provider from now on; None for to none.

        Args:
            provider: Where spans go.
            without: Libraries whose spans go nowhere; traces go on through them.
        """
        with self._guard:
            self.present, self._without = provider or _NOTHING, without
            for tracer in self._tracers.values():
                tracer.present = self._present_tracer(tracer.scope)

    def _present_tracer(self, scope: Scope) -> Tracer:
        provider = _NOTHING if scope[0] in self._without else self.present
        return provider.get_tracer(*scope)

    def get_tracer(
        self,
        instrumenting_module_name: str,
        instrumenting_library_version: str | None = None,
        schema_url: str | None = None,
        attributes: Any = None,
    ) -> Tracer:
        """Return a tracer that follows this provider."""
        scope: Scope = (instrumenting_module_name, instrumenting_library_version, schema_url, attributes)
        with self._guard:
            tracer = self._tracers.get(repr(scope))
            if tracer is None:
                tracer = self._tracers[repr(scope)] = SwitchedTracer(self._present_tracer(scope), scope)
            return tracer


class SwitchedTracer(HandsOn, Tracer):
    """A tracer of whatever provider there is at the moment.

    Args:
        present: The tracer to begin with.
        scope: What it was asked for with.
    """

    def __init__(self, present: Tracer, scope: Scope) -> None:
        self.present = present
        self.scope = scope

    def start_span(self, *arguments: Any, **options: Any) -> Span:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Start a span of the present tracer."""
        return self.present.start_span(*arguments, **options)

    def start_as_current_span(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, *arguments: Any, **options: Any
    ) -> Any:
        """Return a context manager, and decorator, that makes a span of the tracer that is present then."""
        return _CurrentSpan(lambda: self.present.start_as_current_span(*arguments, **options))


class _CurrentSpan(AbstractContextManager[Span]):
    """Begins when it is entered; as a decorator, with each call of the function."""

    def __init__(self, begin: Callable[[], AbstractContextManager[Span]]) -> None:
        self._begin = begin
        self._begun: AbstractContextManager[Span] | None = None

    def __enter__(self) -> Span:
        self._begun = self._begin()
        return self._begun.__enter__()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> bool | None:
        assert self._begun is not None
        return self._begun.__exit__(kind, error, where)

    def __call__(self, function: Callable[..., Any]) -> Callable[..., Any]:
        if inspect.iscoroutinefunction(function):

            @wraps(function)
            async def traced_async(*arguments: Any, **options: Any) -> Any:
                with self._begin():
                    return await function(*arguments, **options)

            return traced_async

        @wraps(function)
        def traced(*arguments: Any, **options: Any) -> Any:
            with self._begin():
                return function(*arguments, **options)

        return traced
