"""Notice a client that hangs up while its answer is being made."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import anyio
from starlette.types import Receive


@asynccontextmanager
async def cancelled_on_disconnect(receive: Receive) -> AsyncGenerator[anyio.CancelScope]:
    """Cancel the block when the client hangs up; what the block raises comes out as it is.

    The request's body must have been read. After the block, `cancel_called` of the scope tells whether it happened.
    """
    failure: BaseException | None = None
    async with anyio.create_task_group() as group:

        async def watch() -> None:
            while (await receive())["type"] != "http.disconnect":
                pass
            scope.cancel()

        group.start_soon(watch)
        with anyio.CancelScope() as scope:
            try:
                yield scope
            except Exception as error:  # noqa: BLE001 - raised below; the task group would wrap it
                failure = error
        group.cancel_scope.cancel()
    if failure is not None:
        raise failure
