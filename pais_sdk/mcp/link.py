"""Link: what is known of one connection's wire."""

from __future__ import annotations

import asyncio
from contextvars import ContextVar
from dataclasses import dataclass, field


@dataclass
class Sending:
    """One request on its way."""

    unsent: bool = False
    """Whether it is certain that the server did nothing about it."""

    broken_off: bool = False
    """Whether there will be no answer."""


sending: ContextVar[Sending | None] = ContextVar("sending", default=None)
"""The request that is being sent; the wire's own tasks have it too, for they run in their senders' contexts."""


@dataclass
class Link:
    """The wire of one connection, while it is there."""

    ended: bool = False
    is_new_server: bool = False
    """Whether the server said that it does not know the session."""

    doubtful: bool = False
    """Whether somebody should look if it still works, or if the tools are still the same."""

    news: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when one of these changes."""

    http_status: int | None = None
    """The newest HTTP status, where it was an error or a redirect that was not followed."""

    last_words: str = ""
    """The newest line that a command wrote to its standard error."""

    def end(self) -> None:
        """Take note that nothing comes over it any more."""
        self.ended = True
        self.news.set()

    def doubt(self) -> None:
        """Ask for a look."""
        self.doubtful = True
        self.news.set()
