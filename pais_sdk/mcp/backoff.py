"""How long to wait before a server is tried again."""

from __future__ import annotations

import asyncio

_FIRST_S = 0.5
_LONGEST_S = 30.0


async def backoff(pauses: int) -> None:
    """Wait before a new attempt: 0.5 s, then twice as long each time, at the most 30 s."""
    await asyncio.sleep(min(_LONGEST_S, _FIRST_S * 2 ** min(pauses, 10)))
