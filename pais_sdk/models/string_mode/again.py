"""The second request after what was meant as a call and is none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from opentelemetry.trace import Span
from pydantic_ai.messages import ModelMessage, ModelRequest, ModelResponse, TextPart, UserPromptPart
from pydantic_ai.usage import RequestUsage

from .calls import Malformed
from .offer import Offer
from .prompt import correction

COUNT = "malformed_tool_calls"
"""The key in a usage's `details`: answers in which a call was meant, and none was made."""


def asked_again(messages: Sequence[ModelMessage], said: str, malformed: Malformed, offer: Offer) -> list[ModelMessage]:
    """Return the messages with what the model said, and with what is wrong with it."""
    last = messages[-1]
    response = ModelResponse([TextPart(said)], run_id=last.run_id, conversation_id=last.conversation_id)
    request = ModelRequest(
        [UserPromptPart(correction(malformed, offer))], run_id=last.run_id, conversation_id=last.conversation_id
    )
    return [*messages, response, request]


def counted(usage: RequestUsage, times: int) -> RequestUsage:
    """Return a usage that says how often a call was malformed."""
    return replace(usage, details={**usage.details, COUNT: times}) if times else usage


def note(span: Span, malformed: Malformed, *, times: int) -> None:
    """Say on the span what happened: the first time the model is asked again, the second time it is text."""
    span.set_attribute("pais.string_mode.malformed_tool_calls", times)
    span.add_event(
        "pais.string_mode.malformed_tool_call",
        {"problem": malformed.problem, "then": "asked_again" if times == 1 else "text"},
    )


def gap(before: str) -> str:
    """Return what separates text that was told before the second answer from text in it."""
    return "\n\n" if before and not before.endswith("\n") else ""
