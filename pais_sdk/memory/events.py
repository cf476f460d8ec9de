"""Memory events: what happened in a session, as a view of its messages and annotations."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal, TypeAlias, cast

from pydantic_ai.conversation_store import ConversationEntry
from pydantic_ai.messages import (
    ModelRequest,
    TextPart,
    ToolCallPart,
    ToolReturnPart,
    UserPromptPart,
)
from pydantic_core import to_jsonable_python

from ..events import delegated_agent

_OF_DELEGATIONS = ("session_id", "task_id", "protocol", "reason")

EventType: TypeAlias = Literal[
    "user_message",
    "agent_response",
    "tool_call",
    "tool_result",
    "delegation_request",
    "delegation_response",
    "error",
]
"""The types that the SDK itself writes; `add_event` takes any word."""


@dataclass(frozen=True, kw_only=True)
class MemoryEvent:
    """One thing that happened in a session.

    Source:
        Names and shape are those of KAOS's memory API.
    """

    event_type: str
    content: Any
    metadata: dict[str, Any] = field(default_factory=dict[str, Any])
    event_id: str = field(default_factory=lambda: f"event_{uuid.uuid4().hex[:16]}")
    timestamp: datetime = field(default_factory=lambda: datetime.now(UTC))

    def to_dict(self) -> dict[str, Any]:
        """Return JSON data: `event_id`, `timestamp` (ISO 8601), `event_type`, `content`, `metadata`."""
        return {
            "event_id": self.event_id,
            "timestamp": self.timestamp.isoformat(),
            "event_type": self.event_type,
            "content": to_jsonable_python(self.content, fallback=str),
            "metadata": to_jsonable_python(self.metadata, fallback=str),
        }


def events_of(entry: ConversationEntry) -> Iterator[MemoryEvent]:
    """Yield the events that one stored message stands for, in the order of its parts."""
    message = entry.message
    if isinstance(message, ModelRequest):
        for index, part in enumerate(message.parts):
            if isinstance(part, UserPromptPart):
                yield _event(entry, index, part.timestamp, "user_message", user_text(part))
            elif isinstance(part, ToolReturnPart):
                content = {"tool": part.tool_name, "result": _plain(part.content)}
                if (agent := delegated_agent(part.tool_kind)) is None:
                    yield _event(entry, index, part.timestamp, "tool_result", content, outcome=part.outcome)
                else:
                    metadata = {**_told_of_delegation(part), "agent": agent, "outcome": part.outcome}
                    yield _event(entry, index, part.timestamp, "delegation_response", content, **metadata)
    else:
        text = "".join(part.content for part in message.parts if isinstance(part, TextPart))
        if text:
            extra = {} if message.state == "complete" else {"state": message.state}
            yield _event(entry, 0, message.timestamp, "agent_response", text, **extra)
        for index, part in enumerate(message.parts):
            if isinstance(part, ToolCallPart):
                content = {"tool": part.tool_name, "arguments": _arguments(part)}
                if (agent := delegated_agent(part.tool_kind)) is None:
                    yield _event(entry, index + 1, message.timestamp, "tool_call", content)
                else:
                    yield _event(entry, index + 1, message.timestamp, "delegation_request", content, agent=agent)


def user_text(part: UserPromptPart) -> str:
    """Return the text of what a user said; content that is no text is named in brackets."""
    if isinstance(part.content, str):
        return part.content
    return "\n".join(_content_text(item) for item in part.content)


def _content_text(item: Any) -> str:
    if isinstance(item, str):
        return item
    text = getattr(item, "content", None)
    return text if isinstance(text, str) else f"[{getattr(item, 'kind', type(item).__name__)}]"


def _arguments(part: ToolCallPart) -> Any:
    try:
        return part.args_as_dict(raise_if_invalid=True)
    except (ValueError, AssertionError):
        return part.args


def _told_of_delegation(part: ToolReturnPart) -> dict[str, Any]:
    """Return what the tool said about the delegation, beside its result; of a tool of somebody else's, nothing."""
    metadata: Any = part.metadata
    told = cast("dict[str, Any]", metadata).get("delegation") if isinstance(metadata, dict) else None
    if not isinstance(told, dict):
        return {}
    told = cast("dict[str, Any]", told)
    return {key: told[key] for key in _OF_DELEGATIONS if key in told}


def _plain(content: Any) -> Any:
    return to_jsonable_python(content, fallback=str)


def _event(
    entry: ConversationEntry, index: int, timestamp: datetime, event_type: str, content: Any, **metadata: Any
) -> MemoryEvent:
    digest = hashlib.blake2s(f"{entry.id}:{index}".encode(), digest_size=8).hexdigest()
    if entry.message.run_id:
        metadata["run_id"] = entry.message.run_id
    return MemoryEvent(
        event_id=f"event_{digest}", timestamp=timestamp, event_type=event_type, content=content, metadata=metadata
    )
