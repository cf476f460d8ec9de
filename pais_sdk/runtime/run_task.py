"""The task of one run."""

from __future__ import annotations

import asyncio


class RunTask(asyncio.Task[None]):
    """A task that is cheap to name.

    AnyIO words the reason of each cancellation, and there are several in a run, with the task that it happens in: its
    code, its place and its callbacks. That took a thirtieth of a run.
    """

    def __repr__(self) -> str:
        return f"<{self.get_name()}>"
