"""What is known of one call of A2A, as it travels through a2a-sdk."""

from __future__ import annotations

from typing import Literal, TypeAlias, cast

from a2a.server.context import ServerCallContext
from a2a.types.a2a_pb2 import Message

from ...runtime import RunOptions
from .owner import SCOPE
from .parts import Question

_OPTIONS, _QUESTION, _MESSAGE, _AWAITS = (f"pais_sdk.{key}" for key in ("options", "question", "message", "awaits"))

Awaits: TypeAlias = Literal["task", "events", "end"]
"""What a client waits for: that there is a task, all that is told of it, or its end."""


def call_of(scope: str | None, options: RunOptions) -> ServerCallContext:
    """Return the context of a call.

    Args:
        scope: The caller's.
        options: For the run that it may begin.
    """
    return ServerCallContext(state={SCOPE: scope, _OPTIONS: options})


def ask(call: ServerCallContext, question: Question, message: Message, awaits: Awaits) -> None:
    """Attach what a call asks, once it is checked, and the message as its task keeps it."""
    call.state.update({_QUESTION: question, _MESSAGE: message, _AWAITS: awaits})


def question_of(call: ServerCallContext) -> Question:
    """Return what a call asks."""
    return call.state[_QUESTION]


def message_of(call: ServerCallContext) -> Message:
    """Return the message of a call as its task keeps it."""
    return call.state[_MESSAGE]


def awaits_of(call: ServerCallContext) -> Awaits:
    """Return what the client of a call waits for."""
    return call.state[_AWAITS]


def options_of(call: ServerCallContext) -> RunOptions:
    """Return the options for the run of a call."""
    options = cast("RunOptions", call.state[_OPTIONS])
    question = question_of(call)
    return {**options, "scope": call.state[SCOPE], "instructions": question.instructions, "store": question.store}
