"""What a remote agent says: its card, and what it tells while it works."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

RemoteProtocol: TypeAlias = Literal["a2a-1.0", "a2a-0.3", "a2a-kaos", "chat"]
"""How a remote agent is spoken to: A2A in one of three dialects, or OpenAI's chat completions."""


@dataclass(frozen=True, kw_only=True)
class RemoteCard:
    """What a remote agent says about itself, and how it is spoken to."""

    name: str
    description: str
    url: str
    """Where tasks are sent."""

    protocol: RemoteProtocol
    streaming: bool
    skills: Sequence[str] = ()
    """The names of what it can do."""


@dataclass(frozen=True, slots=True)
class RemoteText:
    """The next piece of the remote's answer, as it is said; what the remote takes back later is only in its answer."""

    text: str


@dataclass(frozen=True, slots=True)
class RemoteProgress:
    """Something that the remote does on the way to its answer."""

    action: str
    """`tool_call`, `delegate`, another word of the remote's, or `status`: words about how it goes."""

    target: str
    """The tool or the agent; of a status, the remote itself."""

    detail: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """All that the remote said about it; of a status, its `text`."""


@dataclass(frozen=True, kw_only=True)
class RemoteUsage:
    """What the remote says that its run took; zeros where it says nothing."""

    input_tokens: int = 0
    output_tokens: int = 0
    requests: int = 0
    details: Mapping[str, int] = field(default_factory=dict[str, int])


@dataclass(frozen=True, kw_only=True)
class RemoteAnswer:
    """What a remote agent answered; always the last that a stream yields."""

    text: str
    protocol: RemoteProtocol
    session_id: str | None = None
    """The session there, to go on in."""

    task_id: str | None = None
    """The A2A task; None over chat completions."""

    usage: RemoteUsage = field(default_factory=RemoteUsage)


RemoteEvent: TypeAlias = RemoteText | RemoteProgress | RemoteAnswer
