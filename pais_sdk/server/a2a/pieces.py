"""The text of an answer in pieces that are worth an event each."""

from __future__ import annotations

import math
import time
from collections.abc import Awaitable, Callable

from ..._whole_text import whole_text


class TextPieces:
    """Gathers small pieces of text: the first one goes out soon, further ones together, some times a second.

    Every event of a task is stored, with the whole task.

    Args:
        tell: Takes a piece, and whether it is the last.
        every_s: Seconds between two.
        soon_s: Seconds that a piece waits for what comes with it.
    """

    def __init__(
        self, tell: Callable[[str, bool], Awaitable[None]], *, every_s: float = 0.05, soon_s: float = 0.01
    ) -> None:
        self._tell = tell
        self._every_s = every_s
        self._soon_s = soon_s
        self._pending: list[str] = []
        self._told_at = self._began_at = -math.inf

    @property
    def due(self) -> float | None:
        """When `flush` should be called, by `time.monotonic()`; None where there is nothing to tell."""
        if not self._pending:
            return None
        return max(self._told_at + self._every_s, self._began_at + self._soon_s)

    async def add(self, text: str) -> None:
        """Take the next piece, and tell what there is where it is time."""
        now = time.monotonic()
        if not self._pending:
            self._began_at = now
        self._pending.append(text)
        if self.due is not None and now >= self.due:
            await self.flush()

    async def flush(self) -> None:
        """Tell what there is; half a character waits for its other half."""
        text = "".join(self._pending)
        held = text[-1:] if "\ud800" <= text[-1:] <= "\udbff" else ""
        self._pending = [held] if held else []
        self._told_at = time.monotonic()
        if len(text) > len(held):
            await self._tell(whole_text(text.removesuffix(held) if held else text), False)

    async def end(self) -> None:
        """Tell the rest, as the last piece."""
        text, self._pending = "".join(self._pending), []
        await self._tell(whole_text(text), True)
