"""Sessions whose time is over, or that are too many, go now and then."""

from __future__ import annotations

import heapq
from collections import deque
from functools import partial

from ..retention import Retention
from .connection import Row
from .database import Database
from .dropping import drop_free_expired, drop_free_unused
from .statements import DELETE_LEFT_LEASES, EXPIRED, OLDEST, SCOPES

_EVERY, _AT_ONCE, _AT_MOST = 64, 50, 1000
_NEVER = 1 << 62


class Housekeeper:
    """Counts what this process creates, so that a store at its limit costs a run no more than another.

    Args:
        retention: What is kept.
    """

    def __init__(self, retention: Retention) -> None:
        self._max_sessions = retention.max_sessions
        self._evict_every = max(1, (retention.max_sessions or 0) // _EVERY)
        self._to_evict, self._to_expire = self._evict_every, _EVERY
        self._opened = False

    async def opened(self, database: Database) -> None:
        """Drop what is to go when a memory is opened for the first time."""
        if not self._opened:
            await self.expire(database)
            await self.evict(database, keep="")
            self._opened = True

    async def created(self, database: Database, session_id: str) -> None:
        """Count a session that was created; every so many, drop what is to go."""
        self._to_evict -= 1
        self._to_expire -= 1
        if self._to_expire <= 0:
            self._to_expire = _EVERY
            await self.expire(database)
        if self._to_evict <= 0:
            self._to_evict = self._evict_every
            await self.evict(database, session_id)

    async def expire(self, database: Database) -> None:
        """Drop sessions whose time is over, more than are created meanwhile, but not all at once."""
        rows = await database.read(EXPIRED, limit=2 * _EVERY)
        ids = [row[0] for row in rows]
        for start in range(0, len(ids), _AT_ONCE):
            await database.write(partial(drop_free_expired, ids=ids[start : start + _AT_ONCE]))
        await database.change(DELETE_LEFT_LEASES)

    async def evict(self, database: Database, keep: str) -> None:
        """Drop the least recently used sessions of whoever has most, until there are no more than may be.

        Args:
            database: Where.
            keep: A session that was just written.
        """
        if self._max_sessions is None:
            return
        scopes = await database.read(SCOPES)
        excess = min(sum(count for _, count, _ in scopes) - self._max_sessions, _AT_MOST)
        most = [(-count, oldest, scope) for scope, count, oldest in scopes]
        heapq.heapify(most)
        oldest_of: dict[str, deque[Row]] = {}
        chosen: list[Row] = []
        while len(chosen) < excess and most:
            count, _, scope = heapq.heappop(most)
            if scope not in oldest_of:
                oldest_of[scope] = deque(await database.read(OLDEST, scope=scope, id=keep, limit=excess))
            oldest = oldest_of[scope]
            if oldest:  # else all that it has left are held
                chosen.append(oldest.popleft())
                heapq.heappush(most, (count + 1, oldest[0][0] if oldest else _NEVER, scope))
        for start in range(0, len(chosen), _AT_ONCE):
            used_us = {session_id: used for used, session_id in chosen[start : start + _AT_ONCE]}
            await database.write(partial(drop_free_unused, used_us=used_us))
