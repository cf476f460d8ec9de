"""Agents for tests: the model is the one stand-in, and does what the test tells it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

from pydantic_ai import Agent
from pydantic_ai.messages import (
    ModelMessage,
    ModelRequest,
    ModelResponse,
    TextPart,
    ToolCallPart,
    ToolReturnPart,
    UserPromptPart,
)
from pydantic_ai.models.function import AgentInfo, DeltaToolCall, DeltaToolCalls, FunctionModel

Pieces = AsyncIterator[str | DeltaToolCalls]


def model_of(stream: Callable[[list[ModelMessage], AgentInfo], Pieces], name: str = "test") -> FunctionModel:
    """Return a model that streams what `stream` yields, and says all of it at once when it is not streamed."""

    async def whole(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
        parts: list[Any] = []
        async for piece in stream(messages, info):
            if isinstance(piece, str):
                parts.append(TextPart(piece))
            else:
                for call in piece.values():
                    assert isinstance(call, DeltaToolCall)
                    parts.append(ToolCallPart(call.name or "", call.json_args, call.tool_call_id or "call"))
        return ModelResponse(parts)

    return FunctionModel(whole, stream_function=stream, model_name=name)


def echo_model() -> FunctionModel:
    """Return a model that answers with the newest user text and the number of messages it sees."""

    async def stream(messages: list[ModelMessage], info: AgentInfo) -> Pieces:
        yield f"{last_user_text(messages)} "
        yield f"({len(messages)})"

    return model_of(stream)


class GatedModel:
    """Says one word, then waits until the test opens the gate, then says another; tells when it is cancelled."""

    def __init__(self, words: Sequence[str] = ("one ", "two")) -> None:
        self.words = words
        self.said_first = asyncio.Event()
        self.gate = asyncio.Event()
        self.cancelled = asyncio.Event()
        self.requests = 0
        self.model = model_of(self._stream)

    async def _stream(self, messages: list[ModelMessage], info: AgentInfo) -> Pieces:
        self.requests += 1
        try:
            yield self.words[0]
            self.said_first.set()
            await self.gate.wait()
        except (asyncio.CancelledError, GeneratorExit):  # the second: cancelled while its word was on the way
            self.cancelled.set()
            raise
        for word in self.words[1:]:
            yield word


def echo_agent(**options: Any) -> Agent[Any, str]:
    return Agent(echo_model(), name="echo", **options)


def calls_then(answer: str, *calls: tuple[str, str], preamble: str = "") -> FunctionModel:
    """Return a model that calls tools, given as names and JSON arguments, and then answers."""

    async def stream(messages: list[ModelMessage], info: AgentInfo) -> Pieces:
        last = messages[-1]
        if isinstance(last, ModelRequest) and any(isinstance(part, ToolReturnPart) for part in last.parts):
            yield answer
            return
        if preamble:
            yield preamble
        for index, (name, arguments) in enumerate(calls):
            yield {index + 1: DeltaToolCall(name=name, json_args=arguments, tool_call_id=f"call_{index}")}

    return model_of(stream)


def last_user_text(messages: Sequence[ModelMessage]) -> str:
    return user_texts(messages)[-1]


def user_texts(messages: Sequence[ModelMessage]) -> list[str]:
    return [
        str(part.content)
        for message in messages
        if isinstance(message, ModelRequest)
        for part in message.parts
        if isinstance(part, UserPromptPart)
    ]
