"""Telemetry: what was set up, and how to end it."""

from __future__ import annotations

import atexit
import threading
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Protocol

from .within import all_within

# Held while something that is global in this process changes.
changing = threading.RLock()


class Part(Protocol):
    """One signal on its way out."""

    def force_flush(self, timeout_s: float) -> bool:
        """Export what is waiting; False where that takes longer."""
        ...

    def shutdown(self, timeout_s: float) -> None:
        """Export what is waiting within this time, and nothing afterwards."""
        ...


class Telemetry:
    """Telemetry that is set up: `setup_telemetry` returns it. As a context manager it is shut down at the block's end.

    Args:
        parts: What exports.
        undo: What takes back what was changed in this process, in this order.
        arrives: Whether what was exported last has arrived, as far as is known.
        summary: What it does, in a few words.
    """

    def __init__(
        self,
        parts: Sequence[Part] = (),
        undo: Sequence[Callable[[], None]] = (),
        *,
        arrives: Callable[[], bool] = lambda: True,
        summary: str = "off",
    ) -> None:
        self._parts = list(parts)
        self._undo = list(undo)
        self._arrives = arrives
        self._summary = summary
        self._over = threading.Event()
        self._begun = False
        if self._parts or self._undo:
            atexit.register(self.shutdown)

    def force_flush(self, timeout_s: float = 5) -> bool:
        """Export what is waiting now.

        Args:
            timeout_s: Seconds that this takes at most, whatever the collector does.

        Returns:
            Whether everything was handed over in time, and the collector took it.
        """
        return all_within(timeout_s, [part.force_flush for part in self._parts]) and self._arrives()

    def shutdown(self, timeout_s: float = 5) -> None:
        """Export what is waiting, and put this process back as it was. A second call does nothing.

        It may be called from any thread, and is called when the process ends.

        Args:
            timeout_s: Seconds that this takes at most, whatever the collector does; what is not exported then is lost.
        """
        with changing:
            first, self._begun = not self._begun, True
            if first:
                for undo in self._undo:
                    undo()
        if not first:
            self._over.wait(timeout_s)
            return
        atexit.unregister(self.shutdown)
        try:
            all_within(timeout_s, [_shutting_down(part) for part in self._parts])
        finally:
            self._over.set()

    def __enter__(self) -> Telemetry:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self.shutdown()

    def __repr__(self) -> str:
        return f"<Telemetry: {'shut down' if self._begun else self._summary}>"


def _shutting_down(part: Part) -> Callable[[float], bool]:
    def shut_down(timeout_s: float) -> bool:
        part.shutdown(timeout_s)
        return True

    return shut_down
