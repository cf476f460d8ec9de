"""RunTelemetry: what becomes of one run, as a span and as metrics, from the call to the last that is seen of it."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from .run_metrics import RunMetrics
from .run_span import RunSpan

if TYPE_CHECKING:
    from ..events import RunOutcome
    from ..traces import RunTrace


class RunTelemetry:
    """Made by the caller, told by the exchange that carries the run out; whatever happens, the run ends here once.

    Its span lasts until the run has ended and its reader, where it has one, has left. Reader and run may live on
    different threads.

    Args:
        agent: The name of the agent.
        surface: What the call came through.
        session_id: The session of the run, where it is known.
        read: Whether somebody reads the run while it lasts.
    """

    def __init__(self, agent: str, surface: str, session_id: str | None = None, *, read: bool = False) -> None:
        self._metrics = RunMetrics(surface)
        self._span = RunSpan(agent, surface, session_id)
        # One that a thread may take twice: a stream that is garbage collected may end its run in the middle of this.
        self._guard = threading.RLock()
        self._taken_up = False
        self._over = False
        self._held_by = {"run", "reader"} if read else {"run"}

    @property
    def trace(self) -> RunTrace | None:
        """The trace that the run belongs to; None where there is none."""
        return self._span.trace

    # By the run, on its loop

    def taken_up(self, run_id: str) -> None:
        """An exchange carries the run out, and will say how it ended."""
        with self._guard:
            self._taken_up = True
        if not self._over:
            self._span.has_id(run_id)

    def make_current(self) -> None:
        """Let what this task does from here on be a part of the span."""
        self._span.make_current()

    def placed(self) -> None:
        """The run has its place."""
        with self._guard:  # or the end, on another thread, might not see that one more is active
            if not self._over:
                self._metrics.placed()

    def first_token(self) -> None:
        """The first piece of the answer, or of the thinking before it, is told."""
        if not self._over:
            self._metrics.first_token()

    def ended(self, outcome: RunOutcome[Any] | None, refusal: BaseException | None = None) -> None:
        """Say how the run ended: with an outcome, by a refusal, or, with neither, because its task was broken off."""
        with self._guard:
            if self._over:
                return
            self._over = True
        if outcome is not None:
            stop_reason, error = outcome.stop_reason, outcome.error
        else:
            stop_reason, error = "cancelled" if refusal is None else "refused", refusal
        try:
            self._metrics.ended(stop_reason)
            self._span.tell(stop_reason, outcome, error)
        finally:
            self._let_go("run")

    # By the caller, anywhere

    def given_up(self, error: BaseException) -> None:
        """The call ended with an error: nobody reads the run, and it is over where nothing carries it out."""
        with self._guard:
            mine, self._taken_up = not self._taken_up, True
        self.reader_left()
        if mine:
            self.ended(None, error if isinstance(error, Exception) else None)

    def reader_left(self) -> None:
        """Nobody reads the run any more."""
        self._let_go("reader")

    def _let_go(self, holder: str) -> None:
        with self._guard:
            if holder not in self._held_by:
                return
            self._held_by.remove(holder)
            last = not self._held_by
        if last:  # whichever comes later, the end of the run or that of its reading
            self._span.end()
