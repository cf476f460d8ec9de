"""Sessions in the order of their last use."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator


class Recency:
    """Ids by the time of their last use, to be walked from any time without sorting; times only ever grow."""

    def __init__(self) -> None:
        self._used: dict[str, int] = {}
        self._log: list[tuple[int, str]] = []  # a use that was not the last one of its session is skipped
        self._first = 0

    def __len__(self) -> int:
        return len(self._used)

    def use(self, session_id: str, used_us: int) -> None:
        """Note a use, later than all others."""
        self._used[session_id] = used_us
        self._log.append((used_us, session_id))
        if len(self._log) > 2 * len(self._used) + 64:
            self._log = [use for use in self._log if self._is_last(use)]
            self._first = 0

    def drop(self, session_id: str) -> None:
        """Forget a session."""
        del self._used[session_id]

    def newest(self, before: tuple[int, str] | None = None) -> Iterator[tuple[int, str]]:
        """Yield time and id of each session, the last used first: all, or those that come after one in this order."""
        end = len(self._log) if before is None else bisect_left(self._log, before)
        return (use for use in map(self._log.__getitem__, range(end - 1, self._first - 1, -1)) if self._is_last(use))

    def oldest(self) -> Iterator[tuple[int, str]]:
        """Yield time and id of each session, the least recently used first."""
        while self._first < len(self._log) and not self._is_last(self._log[self._first]):
            self._first += 1
        return (use for use in map(self._log.__getitem__, range(self._first, len(self._log))) if self._is_last(use))

    def _is_last(self, use: tuple[int, str]) -> bool:
        return self._used.get(use[1]) == use[0]
