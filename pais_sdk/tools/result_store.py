"""The results that a CachedToolset keeps."""

from __future__ import annotations

import pickle
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any

_UNCHANGEABLE = (str, bytes, int, float, bool, type(None))


class Copies:
    """One result, of which any number of copies can be had; what a caller changes in one is in no other.

    Args:
        value: Anything that can be pickled, which is several times as fast as a deep copy.

    Raises:
        Exception: It cannot be pickled.
    """

    def __init__(self, value: Any) -> None:
        self._is_itself = type(value) in _UNCHANGEABLE
        self._kept = value if self._is_itself else pickle.dumps(value, pickle.HIGHEST_PROTOCOL)

    def get(self) -> Any:
        """Return a copy."""
        return self._kept if self._is_itself else pickle.loads(self._kept)  # noqa: S301 - what `__init__` wrote


@dataclass(frozen=True)
class _Entry:
    copies: Copies
    kept_at: float


class ResultStore:
    """The newest results, each for some time; callable on any thread.

    Args:
        ttl_s: Seconds that a result is kept.
        max_entries: So many at most; the one that was not asked for the longest goes first.
        clock: Seconds that never go back.
    """

    def __init__(self, *, ttl_s: float, max_entries: int, clock: Callable[[], float]) -> None:
        self._ttl_s = ttl_s
        self._max_entries = max_entries
        self._clock = clock
        self._entries: OrderedDict[Hashable, _Entry] = OrderedDict()
        self._guard = threading.Lock()  # event loops of several threads may share a toolset
        self.generation = 0
        """Grows with `clear`: what was asked for before it is not kept after it."""

    def get(self, key: Hashable) -> Copies | None:
        """Return what is kept for a key and not too old."""
        with self._guard:
            entry = self._entries.get(key)
            if entry is None:
                return None
            if self._clock() - entry.kept_at >= self._ttl_s:
                del self._entries[key]
                return None
            self._entries.move_to_end(key)
            return entry.copies

    def put(self, key: Hashable, copies: Copies, *, generation: int) -> None:
        """Keep a result, unless all was cleared since `generation`."""
        with self._guard:
            if generation != self.generation:
                return
            self._entries[key] = _Entry(copies, self._clock())
            self._entries.move_to_end(key)
            while len(self._entries) > self._max_entries:
                self._entries.popitem(last=False)

    def clear(self) -> None:
        """Keep nothing of all this."""
        with self._guard:
            self.generation += 1
            self._entries.clear()
