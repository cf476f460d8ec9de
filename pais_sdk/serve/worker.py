"""One of several processes that serve on one socket: what its parent hands it."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self


@dataclass(frozen=True, kw_only=True)
class Worker:
    """File descriptors that a worker inherits."""

    listener: int
    """The socket that listens."""

    ready: int
    """The worker writes here when it serves."""

    parent: int
    """Its end of file says that the parent has gone, or wants the worker to end."""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return what `str()` of a worker says."""
        listener, ready, parent = map(int, text.split(","))
        for end in (listener, ready, parent):
            os.set_inheritable(end, False)  # a child of the agent's would keep the port, and the parent waiting
        return cls(listener=listener, ready=ready, parent=parent)

    def __str__(self) -> str:
        return f"{self.listener},{self.ready},{self.parent}"

    def arguments(self, *, started: Callable[[], None]) -> dict[str, Any]:
        """Return the arguments with which a server runs as this worker; `started` is called when it serves."""
        from socket import socket

        def tell() -> None:
            started()
            os.write(self.ready, b"1")
            os.close(self.ready)

        listener = socket(fileno=self.listener)
        listener.setblocking(False)
        return {"listener": listener, "orphaned": self.parent, "started": tell}
