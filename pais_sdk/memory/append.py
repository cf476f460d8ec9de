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
    record: ConversationRecord, messages: Sequence[ModelMessage], usage: RunUsage | None
) -> tuple[ConversationRecord, list[ConversationEntry]]:
    """Return a record after more messages, with a new revision, and the entries of those messages."""
    entries: list[ConversationEntry] = []
    head_id = record.head_id
    for message in messages:
        entries.append(ConversationEntry(parent_id=head_id, message=message))
        head_id = entries[-1].id
    updated = ConversationRecord(
        conversation_id=record.conversation_id,
        head_id=head_id,
        usage=record.usage if usage is None else record.usage + usage,
        scope=record.scope,
        branches=record.branches,
        forked_from=record.forked_from,
        forked_at=record.forked_at,
    )
    return updated, entries
