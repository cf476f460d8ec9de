"""A chat request, as far as a mock model reads it."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field


class Message(BaseModel):
    """One message of a request; fields that no behaviour reads are ignored."""

    role: str
    content: str | list[dict[str, Any]] | None = None

    @property
    def text(self) -> str:
        """The text of the message; the text parts, joined by spaces, where the content is a list."""
        if isinstance(self.content, list):
            return " ".join(str(part["text"]) for part in self.content if part.get("type") == "text" and "text" in part)
        return self.content or ""


class Function(BaseModel):
    """A function that the model may call."""

    name: str
    parameters: dict[str, Any] = Field(default_factory=dict[str, Any])


class Tool(BaseModel):
    """An entry of a request's `tools`."""

    function: Function


class StreamOptions(BaseModel):
    """The `stream_options` of a request."""

    include_usage: bool = False


class ChatRequest(BaseModel):
    """The body of `POST /v1/chat/completions`, as far as a behaviour reads it."""

    model: str
    messages: list[Message] = Field(min_length=1)
    tools: list[Tool] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None

    @property
    def name(self) -> str:
        """The model without its options."""
        return self.model.partition("+")[0]

    @property
    def options(self) -> list[str]:
        """What follows the name, each after a `+`."""
        return self.model.split("+")[1:]

    @property
    def user_text(self) -> str:
        """The text of the last user message; empty where there is none."""
        return next((message.text for message in reversed(self.messages) if message.role == "user"), "")
