"""Runs the scripts of one memory."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from ...errors import MemoryUnavailableError
from .clients import GivenClient, UrlClient, passes_soon, redis_errors
from .scripts import ScriptName, run_script

_PATIENCE_S = 2.0


class ScriptRunner:
    """Every script gets the prefix of all keys first.

    Args:
        clients: Where they run.
        root: The prefix.
    """

    def __init__(self, clients: GivenClient | UrlClient, root: str) -> None:
        self._clients = clients
        self._root = root

    async def run(self, name: ScriptName, *arguments: str | bytes | int) -> Any:
        """Return what a script answers, in bytes.

        Raises:
            MemoryUnavailableError: Redis did not do it.
            InvalidRequestError: An argument is no text that can be sent.
        """
        with redis_errors():
            # Any key does that is in their slot; the scripts know the others.
            return await run_script(await self._clients.get(), name, f"{self._root}i", self._root, *arguments)

    async def insist(self, name: ScriptName, *arguments: str | bytes | int) -> Any:
        """Run a script; a server that is being started again is waited for, because what is to be stored is paid."""
        give_up = time.monotonic() + _PATIENCE_S
        while True:
            try:
                return await self.run(name, *arguments)
            except MemoryUnavailableError as error:
                if not passes_soon(error.__cause__) or time.monotonic() >= give_up:
                    raise
            await asyncio.sleep(0.1)
