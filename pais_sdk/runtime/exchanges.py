"""The exchanges of one runtime: how they begin as tasks, and how they are cancelled together."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

from .exchange import Exchange, current_exchange
from .lifetime import Home, Lifetime
from .stream import finished

if TYPE_CHECKING:
    from .agent_runtime import AgentRuntime
    from .request import RunRequest
    from .run_telemetry import RunTelemetry


class Exchanges:
    """All that run or wait now; lives on the runtime's loop, except `begin` and `cancel`."""

    def __init__(self, runtime: AgentRuntime[Any], lifetime: Lifetime) -> None:
        self._runtime = runtime
        self._lifetime = lifetime
        self._running: set[Exchange] = set()

    def forget_the_gone(self) -> None:
        """Drop those that ended with their loop before they could end by themselves."""
        gone = {exchange for exchange in self._running if exchange.home.over}
        self._running -= gone
        for exchange in gone:
            exchange.lost()

    async def begin(self, request: RunRequest, telemetry: RunTelemetry, *, until_held: bool) -> Exchange:
        """Start an exchange, from any loop.

        Args:
            request: What is wanted of it.
            telemetry: Is told what becomes of it.
            until_held: Whether to wait until its session is held, and to raise what keeps it from that.
        """
        begun: list[Exchange] = []
        given_up = threading.Event()
        try:
            await self._lifetime.call(
                lambda home: self._begin(request, telemetry, home, begun, given_up, until_held=until_held)
            )
        except asyncio.CancelledError:
            given_up.set()  # before the look at the list: there, the list is written first, and then this is looked at
            for exchange in begun:  # it began on another loop just when we gave up: nobody will read or leave it
                exchange.cancel()
                exchange.home.loop.call_soon_threadsafe(exchange.events.close)
            raise
        return begun[0]

    async def _begin(
        self,
        request: RunRequest,
        telemetry: RunTelemetry,
        home: Home,
        begun: list[Exchange],
        given_up: threading.Event,
        *,
        until_held: bool,
    ) -> None:
        """Start it on its loop and put it into `begun`; `given_up` is set where nobody wants it any more."""
        exchange = Exchange(self._runtime, request, home, self._running.discard, telemetry)
        self._running.add(exchange)
        if until_held:
            try:
                await asyncio.shield(exchange.started)
            except asyncio.CancelledError:
                exchange.cancel()
                await finished(exchange.task)
                raise
        begun.append(exchange)
        if given_up.is_set():
            exchange.leave_unread(cancel=True)

    def cancel(self, session_id: str, scope: str | None) -> bool:
        """Cancel those of one session; returns whether there were any."""
        found = [
            exchange
            for exchange in list(self._running)
            if exchange.outcome is None
            and not exchange.task.done()
            and not exchange.home.over
            and (exchange.request.scope, exchange.request.session_id) == (scope, session_id)
        ]
        for exchange in found:
            exchange.cancel()
        return bool(found)

    async def ended(self, home: Home, owner: object = None) -> None:
        """Return when all of one opening, or those of one owner, have ended by themselves; but for the caller's own."""
        while found := self._others(home, owner):
            await asyncio.wait([exchange.task for exchange in found])

    async def cancel_all(self, home: Home, owner: object = None) -> None:
        """Cancel all of one opening, or those of one owner, and return when they have ended.

        The caller's own is not waited for.
        """
        myself = current_exchange()
        while found := self._others(home, owner):
            for exchange in found:
                exchange.cancel()
            for exchange in found:
                # A tool must not hold off its own cancellation: two of them would wait for each other for ever.
                await (finished(exchange.task) if myself is None else asyncio.wait([exchange.task]))
        if myself is not None and myself in self._of(home, owner):
            myself.cancel()

    def _others(self, home: Home, owner: object) -> list[Exchange]:
        myself = current_exchange()
        return [exchange for exchange in self._of(home, owner) if exchange is not myself]

    def _of(self, home: Home, owner: object) -> list[Exchange]:
        return [
            exchange
            for exchange in self._running
            if exchange.home is home and (owner is None or exchange.request.owner is owner) and not exchange.task.done()
        ]
