"""What a run says while it lasts, and what is left of it when it has ended."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeAlias, TypeVar

from .traces import RunTrace

if TYPE_CHECKING:
    from pydantic_ai.messages import ModelMessage
    from pydantic_ai.usage import RunUsage

StopReason: TypeAlias = Literal["end_turn", "max_steps", "cancelled", "timeout", "error"]
"""Why a run ended; every run ends with exactly one of these."""

OutputT = TypeVar("OutputT")

DELEGATION = "pais_sdk.delegation"
"""The namespace of the tool kinds of delegations; the rest of such a kind, after a dot, is the agent's name."""


def delegated_agent(tool_kind: str | None) -> str | None:
    """Return the agent that a tool of this kind delegates to; None where it does not delegate."""
    prefix = f"{DELEGATION}."
    return tool_kind.removeprefix(prefix) if tool_kind is not None and tool_kind.startswith(prefix) else None


@dataclass(frozen=True, kw_only=True)
class RunOutcome(Generic[OutputT]):
    """How a run ended and what it leaves."""

    session_id: str
    """The session that the run belongs to."""

    run_id: str
    """The run's own id, which its messages carry."""

    stop_reason: StopReason
    """Why it ended; only `end_turn` has an output."""

    output: OutputT | None
    """The agent's validated output; None unless `stop_reason` is `end_turn`."""

    text: str
    """All text said, pieces of different steps joined by a blank line; for structured output, its JSON."""

    usage: RunUsage
    """Tokens and requests of all model requests of this run."""

    messages: Sequence[ModelMessage]
    """The messages that this run added, oldest first."""

    error: Exception | None
    """What ended it, when `stop_reason` is `error`."""

    duration_s: float
    """Seconds from the moment the session was held to the end, waiting in queues not counted."""

    trace: RunTrace | None
    """The trace of the run; None where nothing is traced, and nobody said which trace it belongs to."""

    finish_reason: str | None = None
    """What the model gave as its reason to finish: `stop`, `length`, `content_filter`, `tool_call` or `error`."""


@dataclass(frozen=True, slots=True)
class RunStarted:
    """The session is held and the run begins; always the first event."""

    session_id: str
    run_id: str


@dataclass(frozen=True, slots=True)
class TextDelta:
    """The next piece of the answer's text."""

    text: str


@dataclass(frozen=True, slots=True)
class ThinkingDelta:
    """The next piece of the model's thinking; not part of the answer."""

    text: str


@dataclass(frozen=True, slots=True)
class ToolCalled:
    """The model calls a tool; the tool has not run yet."""

    tool_call_id: str
    tool_name: str
    arguments: dict[str, Any]
    step: int
    """1 for the first answer of the model that calls tools, 2 for the second, and so on."""

    agent: str | None = None
    """The agent that this call delegates to, by its own name; None for every other tool."""


@dataclass(frozen=True, slots=True)
class ToolReturned:
    """A tool call has its result; results of parallel calls arrive in the order in which they finish."""

    tool_call_id: str
    tool_name: str
    content: Any
    outcome: str
    """`success`, `failed`, `retried`, `denied` or `interrupted`: Pydantic AI's words."""

    agent: str | None = None
    """The agent that this call delegated to; None for every other tool."""


@dataclass(frozen=True, slots=True)
class Progress:
    """Something that a tool said about its work with `ctx.emit(...)`."""

    name: str
    """The event's name."""

    event: Any
    """The event itself: an instance of the tool's own subclass of Pydantic AI's `CustomEvent`."""

    tool_call_id: str | None = None


@dataclass(frozen=True, slots=True)
class RunEnded:
    """The run is over and stored, and its session is free; always the last event."""

    outcome: RunOutcome[Any] = field()


RunEvent: TypeAlias = RunStarted | TextDelta | ThinkingDelta | ToolCalled | ToolReturned | Progress | RunEnded
"""Everything that `AgentRuntime.stream` yields."""
