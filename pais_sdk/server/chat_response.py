"""The answers of the chat completions API, plain and as chunks of a stream."""

from __future__ import annotations

import json
import time
import uuid
from typing import Any

from pydantic_ai.usage import RunUsage

from ..events import RunEvent, RunOutcome
from .answers.chat import (
    AnswerHead,
    AnswerMessage,
    ChatCompletion,
    ChatCompletionChunk,
    Choice,
    ChunkChoice,
    Delta,
    FinishReason,
    Progress,
    Usage,
)
from .progress import RunProgress

_FINISH_REASONS: dict[str, FinishReason] = {"length": "length", "content_filter": "content_filter"}


class ChatResponse:
    """Writes the answer to one request.

    Args:
        model: The model's name as the client sent it.
        progress: How tool calls and delegated work show in a stream: `chunk`, `kaos-ui`, `kaos-cli` or `off`.
        max_steps: The run's limit, told with the progress.
        include_usage: Whether the stream ends with a chunk that has the usage.
    """

    def __init__(self, model: str, *, progress: str, max_steps: int, include_usage: bool) -> None:
        self._form = progress
        self._run_progress = RunProgress(max_steps)
        self._include_usage = include_usage
        self._head: AnswerHead = {"id": f"chatcmpl-{uuid.uuid4().hex}", "created": int(time.time()), "model": model}
        usage = ',"usage":null' if include_usage else ""
        head = json.dumps({**self._head, "object": "chat.completion.chunk"})
        # A chunk of text is these two around one JSON string: nothing else is built for a token.
        self._before = f'data: {head[:-1]}, "choices": [{{"index": 0, "delta": {{"content": '
        self._after = f'}}, "logprobs": null, "finish_reason": null}}]{usage}}}\n\n'

    def plain(self, outcome: RunOutcome[Any]) -> ChatCompletion:
        """Return the whole answer."""
        message: AnswerMessage = {"role": "assistant", "content": outcome.text, "refusal": None}
        choice: Choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": _finish_reason(outcome)}
        return {
            **self._head,
            "object": "chat.completion",
            "choices": [choice],
            "usage": usage_object(outcome.usage),
            "session_id": outcome.session_id,
        }

    def role(self) -> bytes:
        """Return the first chunk of a stream."""
        return self._chunk({"role": "assistant", "content": ""})

    def text(self, text: str) -> bytes:
        """Return a chunk with the next piece of text."""
        return f"{self._before}{json.dumps(text)}{self._after}".encode()

    def progress(self, event: RunEvent) -> bytes:
        """Return what a stream says of a tool's call or of delegated work; nothing of other events."""
        progress = None if self._form == "off" else self._run_progress.of(event)
        if progress is None:
            return b""
        if self._form == "kaos-cli":
            return self.text(json.dumps(progress))
        chunk = self._chunk({}, progress=progress)
        if self._form == "kaos-ui":
            # To the rules of SSE a line that begins with a space is an unknown field; KAOS's UI trims and reads it.
            delta = {"choices": [{"index": 0, "delta": {"content": json.dumps(progress)}, "finish_reason": None}]}
            return f" data: {json.dumps(delta)}\n".encode() + chunk
        return chunk

    def end(self, outcome: RunOutcome[Any]) -> bytes:
        """Return the last chunks of a stream that ended well."""
        chunks = self._chunk({}, finish_reason=_finish_reason(outcome))
        if self._include_usage:
            chunk: ChatCompletionChunk = {
                **self._head,
                "object": "chat.completion.chunk",
                "choices": [],
                "usage": usage_object(outcome.usage),
            }
            chunks += event_line(chunk)
        return chunks + b"data: [DONE]\n\n"

    def _chunk(
        self, delta: Delta, *, finish_reason: FinishReason | None = None, progress: Progress | None = None
    ) -> bytes:
        choice: ChunkChoice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
        chunk: ChatCompletionChunk = {**self._head, "object": "chat.completion.chunk", "choices": [choice]}
        if progress is not None:
            chunk["progress"] = progress
        if self._include_usage:
            chunk["usage"] = None
        return event_line(chunk)


def event_line(body: Any) -> bytes:
    """Return one server-sent event with JSON data."""
    return f"data: {json.dumps(body)}\n\n".encode()


def usage_object(usage: RunUsage) -> Usage:
    """Return the usage of all model requests of a run in OpenAI's names, with what other agents used for it."""
    told: Usage = {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.input_tokens + usage.output_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cache_read_tokens},
        "completion_tokens_details": {"reasoning_tokens": usage.output_reasoning_tokens},
        "requests": usage.requests,
    }
    if any(name.startswith("delegated_") for name in usage.details):
        told["details"] = {
            "delegated_input_tokens": usage.details.get("delegated_input_tokens", 0),
            "delegated_output_tokens": usage.details.get("delegated_output_tokens", 0),
            "delegated_requests": usage.details.get("delegated_requests", 0),
        }
    return told


def _finish_reason(outcome: RunOutcome[Any]) -> FinishReason:
    return _FINISH_REASONS.get(outcome.finish_reason or "", "stop")
