"""An agent that tasks are given to, wherever it is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, TypeAlias

from ..client import RemoteProgress, RemoteText, RemoteUsage


@dataclass(frozen=True, kw_only=True)
class DelegatedTask:
    """One task, and what goes with it."""

    text: str
    session_id: str | None
    """The session of the delegate to work in; None for a new one."""

    scope: str | None
    """The namespace of that session; a delegate elsewhere has its own."""

    context: str | None
    """What was said before."""

    timeout_s: float
    chain: Sequence[str]
    progress: bool
    """Whether anybody may listen to what happens on the way to the answer."""
    store: bool
    """Whether the delegate may keep it."""
    spent: Callable[[RemoteUsage], None]
    """Called once with what the delegate took, however it ended, where that is known."""


@dataclass(frozen=True, kw_only=True)
class DelegateAnswer:
    """What came back."""

    text: str
    protocol: str
    """`local`, or one of the protocols of RemoteAgent."""

    session_id: str | None
    task_id: str | None = None


DelegateEvent: TypeAlias = RemoteText | RemoteProgress | DelegateAnswer


class Target(ABC):
    """One delegate.

    Args:
        name: What it is called by those who delegate to it.
    """

    def __init__(self, name: str) -> None:
        self.name = name

    @property
    @abstractmethod
    def description(self) -> str:
        """What it does, as far as is known now."""

    @property
    @abstractmethod
    def wants_look(self) -> bool:
        """Whether `look` may find out more of what it does."""

    @abstractmethod
    async def look(self) -> None:
        """Find out what it does; RemoteAgentError where it does not say so now."""

    @abstractmethod
    def held(self) -> AbstractAsyncContextManager[Any]:
        """Keep it open while a block runs; entered and left by any tasks of one event loop."""

    @abstractmethod
    def stream(self, task: DelegatedTask) -> AbstractAsyncContextManager[AsyncIterator[DelegateEvent]]:
        """Give it a task and hear of it, last of all a DelegateAnswer; leaving the block earlier cancels the task.

        Raises:
            DelegationFailedError: It did not do it; on entering, while iterating, or on leaving.
        """
