"""OpenAI's chat API as others speak it: with calls that have no arguments, or ids that are not their own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from typing import Any
from uuid import uuid4

from openai.types import chat
from openai.types.chat import ChatCompletionChunk
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIStreamedResponse


class LenientChatModel(OpenAIChatModel):
    """Reads null arguments as none, and gives a call an id of its own where another call has the same."""

    def _validate_completion(self, response: chat.ChatCompletion) -> Any:
        with suppress(AttributeError, TypeError):  # it may have any form, which is then checked
            for choice in response.choices or []:
                _mend(choice.message.tool_calls or [])
        return super()._validate_completion(response)

    @property
    def _streamed_response_cls(self) -> type[OpenAIStreamedResponse]:
        return _LenientStream


class _LenientStream(OpenAIStreamedResponse):
    async def _validate_response(self) -> AsyncIterator[ChatCompletionChunk]:
        owners: dict[str, int] = {}  # the index of the call that an id was first seen with
        async for chunk in super()._validate_response():
            for choice in chunk.choices or []:
                for call in choice.delta.tool_calls or []:
                    if call.id and owners.setdefault(call.id, call.index) != call.index:
                        call.id = _new_id()
            yield chunk


def _mend(calls: Sequence[Any]) -> None:
    seen: set[str] = set()
    for call in calls:
        function = getattr(call, "function", None)
        if function is not None and function.arguments is None:
            function.arguments = "{}"
        if call.id in seen:
            call.id = _new_id()
        seen.add(call.id)


def _new_id() -> str:
    return f"call_{uuid4().hex}"
