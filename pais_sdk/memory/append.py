"""How a session's record looks after a run was added to it; the same for every backend."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic_ai.conversation_store import ConversationEntry, ConversationRecord
from pydantic_ai.messages import ModelMessage
from pydantic_ai.usage import RunUsage

from .session_id import scope_of


def new_record(session_id: str) -> ConversationRecord:
    """Return the record of a session that nothing is stored for yet; the id is the store's own."""
    return ConversationRecord(conversation_id=session_id, head_id=None, scope=scope_of(session_id))


def appended(
    session_id: str, record: ConversationRecord | None, messages: Sequence[ModelMessage], usage: RunUsage | None
) -> tuple[ConversationRecord, list[ConversationEntry]]:
    """Return a session's record after more messages, with a new revision, and the entries of those messages.

    Args:
        session_id: The store's own id.
        record: What is stored; None where nothing is.
        messages: In order.
        usage: Added to the session's own.
    """
    updated = new_record(session_id)
    if usage is not None:
        updated.usage.incr(usage)
    if record is not None:
        updated.head_id, updated.scope = record.head_id, record.scope
        updated.usage.incr(record.usage)
        updated.branches = list(record.branches)
        updated.forked_from, updated.forked_at = record.forked_from, record.forked_at
    entries: list[ConversationEntry] = []
    for index, message in enumerate(messages):
        # The revision is new and unique, and so are ids made of it.
        entry = ConversationEntry(id=f"{updated.revision}-{index}", parent_id=updated.head_id, message=message)
        entries.append(entry)
        updated.head_id = entry.id
    return updated, entries
