"""Operations at random on two stores of conversations, which must answer alike."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic_ai.conversation import Conversation
from pydantic_ai.conversation_store import ConversationEntry, ConversationStore, InMemoryConversationStore
from pydantic_ai.exceptions import UserError
from pydantic_ai.messages import ModelMessage
from pydantic_ai.usage import RunUsage

from .exchanges import exchange

_IDS = ("a", "b", "c", "d", "e")


async def compare_with_pydantic_ai(
    store: ConversationStore, *, seed: int, operations: int, scopes: Sequence[str | None] = (None,)
) -> None:
    """Do the same at random with `store` and with Pydantic AI's own, and compare all that can be seen.

    Args:
        store: An empty one.
        seed: Of what is done.
        operations: How many.
        scopes: What `scope=` is chosen from.
    """
    pair = [_Side(store), _Side(InMemoryConversationStore())]
    choose = random.Random(seed)  # noqa: S311 - to be the same each time is what it is for
    for number in range(operations):
        chosen = _choose(choose, number, scopes)
        answers = [await side.do(chosen) for side in pair]
        assert answers[0] == answers[1], f"{chosen.what}, operation {number} of seed {seed}"
    seen = [await side.see() for side in pair]
    assert seen[0] == seen[1], f"after {operations} operations of seed {seed}"


@dataclass(frozen=True)
class _Chosen:
    """What is done, with everything about it chosen."""

    what: str
    conversation_id: str
    other_id: str
    scope: str | None
    place: float
    limit: int | None
    messages: list[ModelMessage]
    input_tokens: int


_OFTEN = {"extend": 8, "save_again": 3, "rewrite": 3, "fork": 4, "branch": 4, "go_elsewhere": 4, "delete": 2, "look": 3}


def _choose(choose: random.Random, number: int, scopes: Sequence[str | None]) -> _Chosen:
    [what] = choose.choices(list(_OFTEN), list(_OFTEN.values()))
    messages = exchange(f"m{number}", minute=number, tools=choose.choice([0, 0, 1, 3]))
    return _Chosen(
        what=what,
        conversation_id=choose.choice(_IDS),
        other_id=choose.choice(_IDS),
        scope=choose.choice(scopes),
        place=choose.random(),
        limit=choose.choice([None, 0, 1, 3, 50]),
        messages=messages[:1] if choose.random() < 0.2 else messages,
        input_tokens=number,
    )


@dataclass
class _Side:
    """One of the two, with what its callers still have in hand, and every entry that it ever stored, in order."""

    store: ConversationStore
    in_hand: dict[str, Conversation] = field(default_factory=dict[str, Conversation])
    stored: list[ConversationEntry] = field(default_factory=list[ConversationEntry])

    async def do(self, chosen: _Chosen) -> Any:
        """Do it and return what it gives, or the kind of its error."""
        try:
            given = await getattr(self, chosen.what)(chosen)
        except (UserError, LookupError) as error:
            return type(error)
        return given

    async def extend(self, chosen: _Chosen) -> Any:
        found = await self.store.load(chosen.conversation_id, limit=chosen.limit, scope=chosen.scope)
        conversation = found or Conversation(conversation_id=chosen.conversation_id)
        conversation.messages.extend(chosen.messages)
        conversation.usage.incr(RunUsage(requests=1, input_tokens=chosen.input_tokens))
        return await self._save(conversation, chosen.scope)

    async def save_again(self, chosen: _Chosen) -> Any:
        """Save what was saved or refused before, and may be stale."""
        conversation = self.in_hand.get(chosen.conversation_id)
        if conversation is None:
            return None
        conversation.messages.extend(chosen.messages)
        return await self._save(conversation, chosen.scope)

    async def rewrite(self, chosen: _Chosen) -> Any:
        found = await self.store.load(chosen.conversation_id)
        if found is None:
            return None
        kept = found.messages[: int(chosen.place * (len(found.messages) + 1))]
        rewritten = Conversation(
            conversation_id=chosen.conversation_id,
            messages=[*kept, *chosen.messages],
            usage=found.usage,
            revision=found.revision,
        )
        return await self._save(rewritten, chosen.scope)

    async def fork(self, chosen: _Chosen) -> Any:
        at = None if chosen.place > 0.8 else int(chosen.place * 12)
        forked = await self.store.fork(
            chosen.conversation_id,
            at=at,
            new_conversation_id=chosen.other_id,
            scope=chosen.scope,
            source_scope=chosen.scope,
        )
        return _shown(forked)

    async def branch(self, chosen: _Chosen) -> Any:
        revision = await self._revision(chosen)
        at = int(chosen.place * 12)
        branched = await self.store.branch(
            chosen.conversation_id, at=at, expected_revision=revision, scope=chosen.scope
        )
        return _shown(branched)

    async def go_elsewhere(self, chosen: _Chosen) -> Any:
        """Fork from, or branch back to, any entry that was ever stored."""
        if not self.stored:
            return None
        entry_id = self.stored[int(chosen.place * len(self.stored))].id
        if chosen.limit is None:
            forked = await self.store.fork(
                chosen.conversation_id, from_entry=entry_id, new_conversation_id=chosen.other_id
            )
            return _shown(forked)
        revision = await self._revision(chosen)
        branched = await self.store.branch(chosen.conversation_id, from_entry=entry_id, expected_revision=revision)
        return _shown(branched)

    async def delete(self, chosen: _Chosen) -> Any:
        await self.store.delete(chosen.conversation_id, scope=chosen.scope)
        return [await self._stored_message(entry) for entry in self.stored]

    async def look(self, chosen: _Chosen) -> Any:
        limit, scope = chosen.limit, chosen.scope
        conversation = await self.store.load(chosen.conversation_id, limit=limit, scope=scope)
        entries = await self.store.load_entries(chosen.conversation_id, limit=limit, scope=scope)
        records = await self.store.list_conversations(scope=scope, limit=limit)
        return (
            None if conversation is None else _shown(conversation),
            None if entries is None else [entry.message for entry in entries],
            [record.conversation_id for record in records],
        )

    async def see(self) -> list[Any]:
        """Return all that is there: records, in order, with their histories and branches, and entries ever stored."""
        seen: list[Any] = []
        for record in await self.store.list_conversations():
            tips = [record.head_id, *record.branches]
            histories = [[entry.message for entry in await self.store.read_history(tip)] for tip in tips]
            forked_at = next((index for index, entry in enumerate(self.stored) if entry.id == record.forked_at), None)
            seen.append((record.conversation_id, record.usage, record.forked_from, forked_at, histories))
        return [*seen, *[await self._stored_message(entry) for entry in self.stored]]

    async def _save(self, conversation: Conversation, scope: str | None) -> Any:
        self.in_hand[conversation.conversation_id] = conversation
        self.stored.extend(await self.store.save(conversation, scope=scope))
        return _shown(conversation)

    async def _revision(self, chosen: _Chosen) -> str | None:
        found = await self.store.load(chosen.conversation_id)
        return None if found is None else found.revision

    async def _stored_message(self, entry: ConversationEntry) -> ModelMessage | None:
        try:
            return (await self.store.read_entry(entry.id)).message
        except LookupError:
            return None


def _shown(conversation: Conversation) -> Any:
    return conversation.conversation_id, conversation.messages, conversation.usage
