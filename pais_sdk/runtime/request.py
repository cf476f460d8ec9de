"""What a caller wants of one run, checked."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypedDict

from pydantic_ai.messages import ModelMessage, UserContent
from pydantic_ai.settings import ModelSettings

from ..errors import InvalidRequestError
from ..memory import check_session_id, new_session_id
from .efforts import Efforts

_LONGEST_SURFACE = 32

Prompt = str | Sequence[UserContent] | None


class RunOptions(TypedDict, total=False):
    """The keyword arguments that `run`, `run_sync` and `stream` share; each may be left out.

    See `AgentRuntime.run` for what they mean.
    """

    session_id: str | None
    scope: str | None
    history: Sequence[ModelMessage] | None
    instructions: str | None
    model_settings: ModelSettings | None
    effort: str | None
    tools: Collection[str] | None
    timeout_s: float | None
    metadata: Mapping[str, Any] | None
    store: bool
    owner: object
    chain: Sequence[str]
    surface: str


@dataclass(frozen=True, kw_only=True)
class RunRequest:
    """One run, as the runtime carries it out."""

    prompt: Prompt
    session_id: str
    is_anonymous: bool
    """Whether the caller sent no session id."""
    scope: str | None
    history: Sequence[ModelMessage] | None
    instructions: str | None
    model_settings: ModelSettings | None
    effort: str | None
    tools: Collection[str] | None
    timeout_s: float | None
    metadata: Mapping[str, Any] | None
    store: bool
    owner: object
    chain: tuple[str, ...]
    surface: str
    streaming: bool


def check_request(
    prompt: Prompt, options: RunOptions, *, efforts: Efforts, timeout_s: float | None, streaming: bool
) -> RunRequest:
    """Return the run that was asked for, or raise InvalidRequestError naming the argument that is wrong."""
    session_id, history = options.get("session_id"), options.get("history")
    if not isinstance(prompt, (str, list, tuple, type(None))):
        raise InvalidRequestError(f"the prompt must be text or a list of content, not {prompt!r}", param="prompt")
    if isinstance(prompt, str) and not prompt.isascii():
        try:
            prompt.encode()
        except UnicodeEncodeError:
            raise InvalidRequestError("the prompt has half a character in it (a surrogate)", param="prompt") from None
    if prompt is None and not history:
        raise InvalidRequestError("there is neither a prompt nor a history to answer", param="prompt")
    if prompt is not None and not prompt:
        raise InvalidRequestError("the prompt is empty", param="prompt")
    limit_s = options.get("timeout_s")
    if limit_s is not None and not 0 < limit_s < math.inf:
        raise InvalidRequestError("timeout_s must be more than 0, and finite", param="timeout_s")
    return RunRequest(
        prompt=prompt,
        session_id=new_session_id() if session_id is None else check_session_id(session_id),
        is_anonymous=session_id is None,
        scope=options.get("scope"),
        history=history,
        instructions=options.get("instructions"),
        model_settings=options.get("model_settings"),
        effort=efforts.check(options.get("effort")),
        tools=options.get("tools"),
        timeout_s=min((value for value in (limit_s, timeout_s) if value is not None), default=None),
        metadata=options.get("metadata"),
        store=options.get("store", True),
        owner=options.get("owner"),
        chain=tuple(options.get("chain", ())),
        surface=_surface(options.get("surface", "python")),
        streaming=streaming,
    )


def _surface(name: str) -> str:
    # It is a label of metrics, so it must not be an id, nor what a client sends.
    if len(name) > _LONGEST_SURFACE or not (name.isascii() and name.isidentifier()):
        raise InvalidRequestError(
            f"surface must be a word of at most {_LONGEST_SURFACE} letters, digits and underscores, not {name!r}",
            param="surface",
        )
    return name
