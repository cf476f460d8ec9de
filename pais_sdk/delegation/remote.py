"""A delegate elsewhere."""

from __future__ import annotations

import math
import time
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from itertools import islice
from typing import Any, cast

from ..client import RemoteAgent, RemoteAnswer, RemoteEvent, RemoteProgress
from ..errors import RemoteAgentError
from .failure import DelegationFailedError
from .target import DelegateAnswer, DelegatedTask, DelegateEvent, Target

_LOOK_AGAIN_S = 300.0
_LEVELS = 8
_LONGEST_WORDS = 1000
_MOST_WORDS = 20


class RemoteTarget(Target):
    """A RemoteAgent, as a delegate."""

    def __init__(self, name: str, agent: RemoteAgent) -> None:
        super().__init__(name)
        self._agent = agent
        self._looked_at = -math.inf

    @property
    def description(self) -> str:
        card = self._agent.known_card
        return "" if card is None else card.description

    @property
    def wants_look(self) -> bool:
        return self._agent.known_card is None or time.monotonic() - self._looked_at > _LOOK_AGAIN_S

    async def look(self) -> None:
        self._looked_at = time.monotonic()
        await self._agent.card()

    def held(self) -> AbstractAsyncContextManager[Any]:
        return self._agent

    @asynccontextmanager
    async def stream(self, task: DelegatedTask) -> AsyncGenerator[AsyncIterator[DelegateEvent]]:
        try:
            async with (
                self._agent.stream(
                    task.text,
                    session_id=task.session_id,
                    context=task.context,
                    timeout_s=task.timeout_s,
                    chain=task.chain,
                    progress=task.progress,
                    store=task.store,
                ) as events,
                aclosing(_told(events, task)) as told,
            ):
                yield told
        except RemoteAgentError as error:
            raise DelegationFailedError(f"{self.name!r} did not do the task. {error.message}", error.reason) from error


async def _told(events: AsyncIterator[RemoteEvent], task: DelegatedTask) -> AsyncGenerator[DelegateEvent]:
    async for event in events:
        if isinstance(event, RemoteAnswer):
            task.spent(event.usage)
            yield DelegateAnswer(
                text=event.text,
                protocol=event.protocol,
                session_id=event.session_id or task.session_id,
                task_id=event.task_id,
            )
        elif isinstance(event, RemoteProgress):
            yield RemoteProgress(event.action, event.target, _passed_on(event.detail))
        else:
            yield event


def _passed_on(detail: Mapping[str, Any], levels: int = _LEVELS) -> dict[str, Any]:
    """Return what is told to our own clients of what an agent says that it does, which may be of any size and depth."""
    told: dict[str, Any] = {
        name: value[:_LONGEST_WORDS] if isinstance(value, str) else value
        for name, value in islice(detail.items(), _MOST_WORDS)
        if isinstance(value, (str, int, float))
    }
    if levels and isinstance(inner := detail.get("detail"), Mapping):
        told["detail"] = _passed_on(cast("Mapping[str, Any]", inner), levels - 1)
    return told
