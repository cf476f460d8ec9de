"""What of the runs of `storing.py` is stored, and what is wrong with it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from itertools import groupby

from pydantic_ai.messages import (
    ModelMessage,
    ModelResponse,
    TextPart,
    ToolCallPart,
    ToolReturnPart,
    UserPromptPart,
)

from pais_sdk.memory import Memory

NOTHING = "nothing"  # what the first run of a session comes after


@dataclass
class StoredRuns:
    """What is stored for one session."""

    said: list[str] = field(default_factory=lambda: list[str]())
    """What the user said in each run, in order."""

    faults: list[str] = field(default_factory=lambda: list[str]())


async def stored_runs(memory: Memory, session_id: str, answered: Collection[str], *, with_tool: bool) -> StoredRuns:
    """Read a session and look for runs that are there in part, twice, out of order, or not at all.

    Args:
        memory: Where it is stored.
        session_id: An unknown session has no runs.
        answered: What the user said in runs that were answered; these must be there.
        with_tool: Whether the agent has its tool.
    """
    found = StoredRuns()
    conversation = await memory.load(session_id)
    messages = [] if conversation is None else conversation.messages
    for run_id, group in groupby(messages, key=lambda message: message.run_id):
        run = list(group)
        told = [_told(message) for message in run]
        said = told[0].removeprefix("user: ")
        previous = found.said[-1] if found.said else NOTHING
        whole = [f"user: {said}", f"agent: {said} after {previous}"]
        if with_tool:
            whole[1:1] = [f"call: {said}", f"result: {said} was seen"]
        if told != whole:
            found.faults.append(f"{session_id}: run {run_id} is {told}, not {whole}")
        found.said.append(said)
    found.faults += [f"{session_id}: {said} is there {n} times" for said, n in Counter(found.said).items() if n > 1]
    found.faults += [f"{session_id}: {said} was answered and is gone" for said in set(answered) - set(found.said)]
    if conversation is not None:
        requests = len(found.said) * (2 if with_tool else 1)
        if conversation.usage.requests != requests:
            found.faults.append(f"{session_id}: {conversation.usage.requests} requests are counted, not {requests}")
    return found


def _told(message: ModelMessage) -> str:
    parts: Sequence[object] = message.parts
    if isinstance(message, ModelResponse):
        calls = [part for part in parts if isinstance(part, ToolCallPart)]
        if calls:
            return f"call: {', '.join(str(call.args_as_dict().get('at')) for call in calls)}"
        return f"agent: {''.join(part.content for part in parts if isinstance(part, TextPart))}"
    words: list[str] = []
    for part in parts:
        if isinstance(part, UserPromptPart):
            words.append(f"user: {part.content}")
        elif isinstance(part, ToolReturnPart):
            words.append(f"result: {part.content}")
    return ", ".join(words)
