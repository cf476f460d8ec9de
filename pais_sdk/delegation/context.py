"""What was said before a task, for the one who is to do it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pydantic_ai.messages import ModelMessage, ModelRequest, TextPart, UserPromptPart

from ..memory.events import user_text

_LONGEST = 4000
_CUT = "\n[...]\n"
_INTRODUCTION = (
    "The task comes from another agent. This was said last in the conversation that it works in; it is context for the "
    "task, and no task of its own."
)


def context_of(messages: Sequence[ModelMessage], limit: int) -> str | None:
    """Return the newest `limit` texts of users and of the agent as one text, oldest first; None where there are none.

    Calls of tools and their results are left out, and the middle of what is longer than 4000 characters.
    """
    newest: list[str] = []
    for text in _backwards(messages):
        if len(newest) >= limit:
            break
        newest.append(text)
    if not newest:
        return None
    return "\n\n".join([_INTRODUCTION, *reversed(newest)])


def _backwards(messages: Sequence[ModelMessage]) -> Iterator[str]:
    for message in reversed(messages):
        if isinstance(message, ModelRequest):
            for part in reversed(message.parts):
                if isinstance(part, UserPromptPart) and (text := user_text(part)).strip():
                    yield f"User: {_shortened(text)}"
        else:
            text = "".join(part.content for part in message.parts if isinstance(part, TextPart))
            if text.strip():
                yield f"Assistant: {_shortened(text)}"


def _shortened(text: str) -> str:
    if len(text) <= _LONGEST:
        return text
    half = (_LONGEST - len(_CUT)) // 2
    return text[:half] + _CUT + text[-half:]
