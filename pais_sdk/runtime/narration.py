"""Narration: Pydantic AI's events of a run, told as ours."""

from __future__ import annotations

from collections.abc import AsyncIterable, Callable
from typing import Any

from pydantic_ai import RunContext
from pydantic_ai.messages import (
    AgentStreamEvent,
    CapabilityEvent,
    CustomEvent,
    FunctionToolCallEvent,
    FunctionToolResultEvent,
    ModelMessage,
    ModelResponse,
    PartDeltaEvent,
    PartStartEvent,
    TextPart,
    TextPartDelta,
    ThinkingPart,
    ThinkingPartDelta,
)

from ..events import Progress, TextDelta, ThinkingDelta, ToolCalled, ToolReturned, delegated_agent
from .channel import Channel

BETWEEN_STEPS = "\n\n"


class Narration:
    """The event handler of one run.

    Args:
        channel: Takes each event, and waits where the reader is slower than the run.
        tells_text: Whether the agent's output is text; the text on the way to other output is not the answer.
        on_first: Called before the first piece of such text, or of the thinking before it, is told.
    """

    def __init__(self, channel: Channel, *, tells_text: bool, on_first: Callable[[], None]) -> None:
        self._channel = channel
        self._emit = channel.put
        self._tells_text = tells_text
        self._on_first: Callable[[], None] | None = on_first if tells_text else None
        self._pieces: list[str] = []
        self._text_step = 0
        self._tool_step = 0
        self._last_calling_step = 0

    @property
    def text(self) -> str:
        """All text told so far."""
        return "".join(self._pieces)

    async def __call__(self, ctx: RunContext[Any], events: AsyncIterable[AgentStreamEvent]) -> None:
        step = ctx.run_step
        async for event in events:
            if isinstance(event, PartDeltaEvent):
                delta = event.delta
                if isinstance(delta, TextPartDelta):
                    if delta.content_delta:
                        await self._tell_text(delta.content_delta, step)
                elif isinstance(delta, ThinkingPartDelta) and delta.content_delta:
                    await self._tell_thinking(delta.content_delta)
            elif isinstance(event, PartStartEvent):
                part = event.part
                if isinstance(part, TextPart):
                    if part.content:
                        await self._tell_text(part.content, step)
                elif isinstance(part, ThinkingPart) and part.content:
                    await self._tell_thinking(part.content)
            elif isinstance(event, FunctionToolCallEvent):
                if step != self._last_calling_step:
                    self._last_calling_step, self._tool_step = step, self._tool_step + 1
                call = event.part
                agent = delegated_agent(call.tool_kind)
                arguments = call.args_as_dict()
                await self._emit(ToolCalled(call.tool_call_id, call.tool_name, arguments, self._tool_step, agent))
            elif isinstance(event, FunctionToolResultEvent):
                part = event.part
                outcome = getattr(part, "outcome", "retried")
                agent = delegated_agent(part.tool_kind)
                await self._emit(ToolReturned(part.tool_call_id, part.tool_name or "", part.content, outcome, agent))
            elif isinstance(event, (CustomEvent, CapabilityEvent)):
                name = event.name if isinstance(event, CustomEvent) else type(event).__name__
                await self._emit(Progress(name, event, event.tool_call_id))

    def tell_output(self, text: str) -> None:
        """Tell output that is no text, at the end; it waits for nobody, for no limit of the run holds any more."""
        self._pieces.append(text)
        self._channel.put_now(TextDelta(text))

    async def _tell_text(self, text: str, step: int) -> None:
        if not self._tells_text:
            return
        if step != self._text_step:
            text = BETWEEN_STEPS + text if self._pieces else text
            self._text_step = step
        self._pieces.append(text)
        if self._on_first is not None:
            self._first()
        await self._emit(TextDelta(text))

    async def _tell_thinking(self, text: str) -> None:
        if self._on_first is not None:
            self._first()
        await self._emit(ThinkingDelta(text))

    def _first(self) -> None:
        on_first, self._on_first = self._on_first, None
        assert on_first is not None
        on_first()


def text_of(messages: list[ModelMessage]) -> str:
    """Return all text that the model said in these messages, pieces of different steps joined by a blank line."""
    steps = (
        "".join(part.content for part in message.parts if isinstance(part, TextPart))
        for message in messages
        if isinstance(message, ModelResponse)
    )
    return BETWEEN_STEPS.join(text for text in steps if text)
