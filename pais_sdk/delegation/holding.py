"""Holding: what keeps delegates open, and gets to know them, while a toolset is entered."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import weakref
from collections import defaultdict
from collections.abc import Sequence
from contextlib import AsyncExitStack

from .._shield import to_its_end
from ..errors import RemoteAgentError
from .target import Target

_log = logging.getLogger("pais_sdk.delegation")


class Holding:
    """Counts how often a toolset is entered, on each event loop for itself; the last one who leaves closes.

    A delegate is opened when it is first needed, because most runs need none.

    Args:
        targets: The delegates.
    """

    def __init__(self, targets: Sequence[Target]) -> None:
        self._targets = targets
        self._here: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, _Opened] = weakref.WeakKeyDictionary()

    def enter(self) -> None:
        """Hold once more; begins to look at delegates that are not known yet, and waits for none."""
        loop = asyncio.get_running_loop()
        opened = self._here.get(loop)
        if opened is None:
            opened = self._here[loop] = _Opened()
        opened.count += 1
        wanted = [target for target in self._targets if target.wants_look]
        if wanted and (opened.look is None or opened.look.done()):
            # An empty context: it is for all who enter, and belongs to none of their traces.
            opened.look = loop.create_task(self._look(wanted), context=contextvars.Context())

    async def leave(self) -> None:
        """Hold once less."""
        loop = asyncio.get_running_loop()
        opened = self._here.get(loop)
        if opened is None:
            return
        opened.count -= 1
        if not opened.count:
            del self._here[loop]
            if opened.look is not None or opened.kept:
                await to_its_end(opened.close())

    async def keep(self, target: Target) -> AsyncExitStack:
        """Open a delegate and keep it so as long as this is held, or else until what is returned is left."""
        opened = self._here.get(asyncio.get_running_loop())
        for_this_call = AsyncExitStack()
        if opened is None:
            await for_this_call.enter_async_context(target.held())
        elif target not in opened.kept:
            async with opened.opening[target]:  # one who is cancelled while it opens must not close it for the next
                if target not in opened.kept:
                    await opened.stack.enter_async_context(target.held())
                    opened.kept.add(target)
        return for_this_call

    async def _look(self, targets: Sequence[Target]) -> None:
        await asyncio.gather(*(self._look_at(target) for target in targets))

    async def _look_at(self, target: Target) -> None:
        try:
            async with await self.keep(target):
                await target.look()
        except RemoteAgentError as error:
            _log.debug("the agent %r is not known yet: %s", target.name, error)


class _Opened:
    """What is open on one event loop."""

    def __init__(self) -> None:
        self.count = 0
        self.stack = AsyncExitStack()
        self.kept: set[Target] = set()
        self.opening: defaultdict[Target, asyncio.Lock] = defaultdict(asyncio.Lock)
        self.look: asyncio.Task[None] | None = None

    async def close(self) -> None:
        if self.look is not None:
            self.look.cancel()
            await asyncio.wait([self.look])
            if not self.look.cancelled() and (error := self.look.exception()) is not None:
                _log.error("the agents could not be looked at", exc_info=error)
        await self.stack.aclose()
