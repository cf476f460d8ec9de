"""What a delegate does meanwhile, told as events of the run that delegates."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic_ai import CapabilityEvent, CustomEvent, RunContext
from pydantic_ai.exceptions import UserError

from ..client import RemoteProgress, RemoteText

_TOGETHER_S = 0.05


@dataclass(kw_only=True)
class DelegationTold:
    """What both kinds of events say."""

    agent: str
    """The delegate, by its own name."""

    action: str
    """`text` for the next of its answer, `tool_call`, `delegate`, or another word of a remote agent's."""

    target: str = ""
    """The tool that it calls, or the agent that it delegates to."""

    text: str = ""
    """What it says, where the action is `text`; pieces that come fast are told together."""

    detail: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """All that a remote agent said about it; empty for `text`."""


@dataclass(kw_only=True)
class DelegationProgress(DelegationTold, CustomEvent, name="pais_sdk.delegation_progress"):
    """A delegate of a `DelegationToolset` does something."""


@dataclass(kw_only=True)
class DelegationProgressEvent(DelegationTold, CapabilityEvent, namespace="pais_sdk"):
    """A delegate of the capability `Delegation` does something; Pydantic AI keeps the two kinds apart."""


class ProgressTeller:
    """Tells what one delegate does to whoever listens to the run.

    Whether anybody does cannot be known, and each event costs a run half as much as a piece of text itself. So pieces
    of text are collected, but for the first one after a while, and told with what comes next.

    Args:
        ctx: The context of the tool call.
        agent: The delegate.
        owned: Whether the tool is known to be a capability's.
    """

    def __init__(self, ctx: RunContext[Any], agent: str, *, owned: bool) -> None:
        self._ctx = ctx
        self._agent = agent
        kinds = [DelegationProgress, DelegationProgressEvent]
        self._kinds: list[type[DelegationProgress | DelegationProgressEvent]] = kinds[::-1] if owned else kinds
        self._pieces: list[str] = []
        self._told_at = -_TOGETHER_S

    async def tell(self, event: RemoteText | RemoteProgress) -> None:
        """Tell one thing; nothing where the run has no stream of events."""
        if isinstance(event, RemoteText):
            self._pieces.append(event.text)
            if time.monotonic() - self._told_at >= _TOGETHER_S:
                await self.end()
        else:
            await self.end()
            await self._emit(action=event.action, target=event.target, detail=event.detail)

    async def end(self) -> None:
        """Tell what is left of the text."""
        if self._pieces:
            text = "".join(self._pieces)
            self._pieces.clear()
            self._told_at = time.monotonic()
            await self._emit(action="text", text=text)

    async def _emit(self, **said: Any) -> None:
        while self._kinds:
            try:
                await self._ctx.emit(self._kinds[0](agent=self._agent, **said))
            except UserError:
                self._kinds.pop(0)  # not the kind for this tool, or no stream at all
            else:
                return
