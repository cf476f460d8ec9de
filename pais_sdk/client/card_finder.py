"""The card of one agent, looked for when it is needed and kept for a while."""

from __future__ import annotations

import asyncio
import math
import time
import weakref

import httpx2

from ..errors import RemoteAgentError
from .agent_url import AgentUrl
from .card import CARD_PATHS, ProtocolChoice, card_without, read_card
from .failures import Failures
from .json_values import parsed
from .values import RemoteCard
from .wire import Wire

_KEPT_S = 300.0
_FAILURE_KEPT_S = 1.0
_MAX_BYTES = 2**20
_NO_CARD = (400, 404, 405, 406, 410, 501)


class CardFinder:
    """Looks for a card, once for all who want it at the same time.

    Args:
        url: Where the agent is.
        choice: How the caller wants to speak to it.
        failures: The words for what goes wrong.
    """

    def __init__(self, url: AgentUrl, choice: ProtocolChoice, failures: Failures) -> None:
        self._url = url
        self._choice: ProtocolChoice = choice
        self._failures = failures
        self._found: RemoteCard | None = None
        self._found_at = -math.inf
        self._failed: RemoteAgentError | None = None
        self._failed_at = -math.inf
        self._looking: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock] = weakref.WeakKeyDictionary()

    @property
    def known(self) -> RemoteCard | None:
        """The card that was found last, however long ago."""
        return self._found

    @property
    def fresh(self) -> RemoteCard | None:
        """The card, where it was found not too long ago."""
        return self._found if time.monotonic() - self._found_at < _KEPT_S else None

    async def find(self, wire: Wire, *, refresh: bool = False) -> RemoteCard:
        """Return the card, or what holds of an agent without one.

        Raises:
            RemoteAgentError: The agent cannot be asked for it, or fails to answer; kept, too, but only for a moment.
        """
        asked_at = time.monotonic()
        if not refresh and (card := self.fresh) is not None:
            return card
        async with self._one_at_a_time():
            if not refresh or max(self._found_at, self._failed_at) > asked_at:  # somebody else looked meanwhile
                if self._failed is not None and time.monotonic() - self._failed_at < _FAILURE_KEPT_S:
                    raise self._failures.again(self._failed)
                if (card := self.fresh) is not None:
                    return card
            try:
                self._found = await self._look(wire)
            except RemoteAgentError as error:
                self._failed, self._failed_at = self._failures.again(error), time.monotonic()
                self.forget()
                raise
            self._failed, self._found_at = None, time.monotonic()
            return self._found

    def forget(self) -> None:
        """Look again next time: the agent may not be any more what its card says."""
        self._found_at = -math.inf

    def _one_at_a_time(self) -> asyncio.Lock:
        for loop in [*self._looking]:
            if loop.is_closed():  # its lock may hold it
                self._looking.pop(loop, None)
        return self._looking.setdefault(asyncio.get_running_loop(), asyncio.Lock())

    async def _look(self, wire: Wire) -> RemoteCard:
        trouble: RemoteAgentError | None = None
        for path in CARD_PATHS:
            try:
                card = await self._card_at(path, wire)
            except RemoteAgentError as error:
                if error.reason == "unreachable" or isinstance(error.__cause__, httpx2.TimeoutException):
                    raise  # asking for the other card would only take as long again
                if error.reason not in ("refused", "busy"):
                    error = self._failures.no_card(error.reason)  # those words are about a task
                trouble = trouble or error
                continue
            if card is not None:
                return card
        if trouble is not None:
            raise trouble
        return card_without(self._url, self._choice)

    async def _card_at(self, path: str, wire: Wire) -> RemoteCard | None:
        async with wire.get(self._url.at(path)) as reply:
            if reply.status in _NO_CARD or 300 <= reply.status < 400:
                return None
            if reply.status != 200:
                raise await reply.error()
            body = await reply.body(_MAX_BYTES)
        try:
            raw = parsed(body)
        except ValueError:
            return None  # a page for people, for one, that is there at every path
        return read_card(raw, path=path, url=self._url, choice=self._choice) if isinstance(raw, dict) else None
