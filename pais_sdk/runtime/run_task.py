"""The task of one run."""

from __future__ import annotations

import asyncio
from typing import Any


class RunTask(asyncio.Task[None]):
    """A task that is cheap to name.

    AnyIO words the reason of each cancellation, and there are several in a run, with the task that it happens in: its
    code, its place and its callbacks. That took a thirtieth of a run.

    It also begins before it is cancelled: a task that is cancelled before its first step never runs what cleans up.
    """

    has_begun = False
    """To be set by its first step."""

    def cancel(self, msg: Any | None = None) -> bool:
        if self.has_begun or self.done():
            return super().cancel(msg)
        self.get_loop().call_soon(super().cancel, msg)  # its first step is in line already
        return True

    def __repr__(self) -> str:
        return f"<{self.get_name()}>"
