"""What a mock model says: a completion or an error. Nothing here waits or sends."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from .request import ChatRequest


@dataclass(frozen=True, kw_only=True)
class ToolCall:
    """A call of one tool.

    Attributes:
        arguments: JSON text, or whatever else is to go out in its place; None goes out as null.
        id: None for one that no other answer has.
    """

    name: str
    arguments: str | None
    id: str | None = None

    def wire(self, number: int, index: int) -> dict[str, Any]:
        """Return the entry of `tool_calls`."""
        function = {"name": self.name, "arguments": self.arguments}
        own = f"call_{number}_{index}" if self.id is None else self.id
        return {"id": own, "type": "function", "function": function}


@dataclass(frozen=True, kw_only=True)
class Failure:
    """An error. Status 0 drops the connection; with `words_first` a stream says so many words before."""

    status: int
    message: str
    type: str
    code: str | None = None
    param: str | None = None
    retry_after_s: float | None = None
    words_first: int | None = None

    def body(self) -> dict[str, Any]:
        """Return OpenAI's error object; all four keys are always there."""
        return {"error": {"message": self.message, "type": self.type, "param": self.param, "code": self.code}}


@dataclass(frozen=True, kw_only=True)
class Answer:
    """One completion: a text, tool calls or both, and whether it breaks on the way.

    After `words_first` words (None: it goes through) `then` happens: `hang` until the client is gone, wait for the
    `gate` and go on, or `drop` the connection, in a stream after the error that `last_words` gives. With `chars`
    a stream brings single characters. Tool calls count as words by their pieces.
    """

    text: str = ""
    tool_calls: Sequence[ToolCall] = ()
    finish_reason: str = "stop"
    words_first: int | None = None
    then: Literal["hang", "gate", "drop"] = "hang"
    last_words: dict[str, Any] | None = None
    chars: bool = False

    def message(self, number: int) -> dict[str, Any]:
        """Return the message of a plain answer; `number` goes into the ids of tool calls."""
        if not self.tool_calls:
            return {"role": "assistant", "content": self.text, "refusal": None}
        calls = [call.wire(number, index) for index, call in enumerate(self.tool_calls)]
        return {"role": "assistant", "content": self.text or None, "refusal": None, "tool_calls": calls}

    def opening(self) -> dict[str, Any]:
        """Return the first delta of a stream."""
        return {"role": "assistant", "content": None if self.tool_calls else ""}

    def pieces(self, number: int) -> list[list[dict[str, Any]]]:
        """Return the deltas after that, by words.

        A text is cut before the spaces between its words. Each tool call has its index in all of its deltas, its id
        and name in the first, and its arguments by 10 characters, each piece a word of its own.
        """
        words: list[str] = re.findall(r"\s*\S+(?:\s+$)?|^\s+$", self.text)
        deltas: list[list[dict[str, Any]]] = [
            [{"content": part} for part in (word if self.chars else [word])] for word in words
        ]
        for index, call in enumerate(self.tool_calls):
            first = replace(call, arguments=None if call.arguments is None else "").wire(number, index)
            deltas.append([{"tool_calls": [{"index": index, **first}]}])
            parts: list[str] = re.findall(r"(?s)." if self.chars else r"(?s).{1,10}", call.arguments or "")
            deltas += [[{"tool_calls": [{"index": index, "function": {"arguments": part}}]}] for part in parts]
        return deltas

    def usage(self, chat: ChatRequest) -> dict[str, int]:
        """Return the token counts; a token is a word, that is what `str.split` gives.

        The prompt is the text of all messages; the completion is the text, and the names and arguments of tool calls.
        """
        said = " ".join([self.text, *(f"{call.name} {call.arguments or ''}" for call in self.tool_calls)])
        prompt = sum(len(message.text.split()) for message in chat.messages)
        completion = len(said.split())
        return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}

    def broken_by(self, failure: Failure) -> Answer:
        """Return this answer, broken off by a failure with `words_first` or of status 0."""
        last_words = failure.body() if failure.status else None
        return replace(self, words_first=failure.words_first or 0, then="drop", last_words=last_words)
