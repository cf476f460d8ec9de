"""A session that is held for one run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from pydantic_ai.messages import ModelMessage
from pydantic_ai.usage import RunUsage

from .events import MemoryEvent
from .telemetry import trace_session


class MemorySession:
    """A session that is held for one run, and the part of its history that the run sees."""

    protects_append = False
    """Whether a cancellation that comes during `append` cannot break it off, for it goes on to its end or never waits
    for anything. Runs of a backend that says so are spared a second task around it."""

    telemetry_name = "other"
    """That of the memory, which sets it."""

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        trace_session(cls)

    def __init__(self, session_id: str, history: list[ModelMessage], *, exists: bool) -> None:
        self.session_id = session_id
        self.history = history
        """The newest messages, oldest first; whole runs only. The list and its messages are the caller's."""
        self.exists = exists
        """Whether the session was stored before."""
        self._on_interrupt: Callable[[], None] | None = None
        self._interrupted = False

    @property
    def on_interrupt(self) -> Callable[[], None] | None:
        """Called, on any thread, when another run with `on_busy="interrupt"` wants the session, or has wanted it."""
        return self._on_interrupt

    @on_interrupt.setter
    def on_interrupt(self, call: Callable[[], None] | None) -> None:
        self._on_interrupt = call
        if self._interrupted:
            self.interrupt()

    def interrupt(self) -> None:
        """Tell the holder that another run wants the session; for backends."""
        self._interrupted = True
        if self._on_interrupt is not None:
            self._on_interrupt()

    async def append(
        self,
        messages: Sequence[ModelMessage],
        annotations: Sequence[MemoryEvent] = (),
        *,
        usage: RunUsage | None = None,
        ttl_s: float | None = None,
    ) -> None:
        """Store everything in one atomic write after whatever is the newest message now, and give the session free.

        Args:
            messages: In order.
            annotations: Events that belong to these messages but are no messages.
            usage: Added to the session's own.
            ttl_s: Seconds after which the session may be forgotten; None for the memory's own rule.

        Raises:
            MemoryUnavailableError: Nothing of it was stored; where the store went away without an answer, it may be.
        """
        raise NotImplementedError
