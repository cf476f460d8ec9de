"""What Pydantic AI's `scope=` means: whose a conversation is."""

from __future__ import annotations

import pytest
from pydantic_ai.conversation import Conversation
from pydantic_ai.conversation_store import ConversationConflict, ConversationStore
from pydantic_ai.exceptions import UserError

from .conversations import loaded, recorded
from .exchanges import exchange, save, user_texts
from .random_operations import compare_with_pydantic_ai


class ConversationScopes:
    """A conversation that was saved with another scope is treated as one that is not there."""

    async def test_a_scope_keeps_others_out(self, store: ConversationStore) -> None:
        await save(store, "c", "one", scope="alice")
        assert await store.load("c", scope="bob") is None
        assert await store.load_entries("c", scope="bob") is None
        for scope in ("alice", None):
            conversation = await store.load("c", scope=scope)
            assert conversation is not None
            assert user_texts(conversation.messages) == ["one"]
        await store.delete("c", scope="bob")
        conversation = await loaded(store, "c")
        with pytest.raises(ConversationConflict):
            await store.save(conversation, scope="bob")
        with pytest.raises(UserError):
            await store.branch("c", at=1, expected_revision=conversation.revision, scope="bob")
        with pytest.raises(UserError):
            await store.fork("c", source_scope="bob")
        with pytest.raises(ConversationConflict):
            await store.save(Conversation(conversation_id="c", messages=exchange("mine")), scope="bob")
        assert await loaded(store, "c") == conversation
        await store.delete("c", scope="alice")
        assert await store.load("c") is None

    async def test_a_scope_stays_with_its_conversation(self, store: ConversationStore) -> None:
        conversation = await save(store, "c", "one", scope="alice")
        await save(store, "c", "two")
        conversation = await store.branch("c", at=2, expected_revision=(await loaded(store, "c")).revision)
        await store.save(conversation)
        await store.fork("c", new_conversation_id="f")
        await store.fork("c", new_conversation_id="g", scope="bob", source_scope="alice")
        scopes = {name: (await recorded(store, name)).scope for name in "cfg"}
        assert scopes == {"c": "alice", "f": "alice", "g": "bob"}

    async def test_conversations_are_listed_by_scope(self, store: ConversationStore) -> None:
        for number, scope in enumerate(["alice", "bob", None, "alice", None, "a"]):
            await save(store, f"c{number}", "one", scope=scope)
        await save(store, "c0", "two")
        listed = {
            scope: [record.conversation_id for record in await store.list_conversations(scope=scope)]
            for scope in ("alice", "bob", "a", "nobody", None)
        }
        assert listed == {
            "alice": ["c0", "c3"],
            "bob": ["c1"],
            "a": ["c5"],
            "nobody": [],
            None: ["c0", "c5", "c4", "c3", "c2", "c1"],
        }
        assert [record.conversation_id for record in await store.list_conversations(scope="alice", limit=1)] == ["c0"]

    async def test_a_scope_may_be_any_text(self, store: ConversationStore) -> None:
        scopes = ["", "a/b", "a b", "grüße 🦉", "'; --", "*", "%", "{x}", "x" * 300]
        for number, scope in enumerate(scopes):
            await save(store, f"c{number}", "one", scope=scope)
        for number, scope in enumerate(scopes):
            assert [record.conversation_id for record in await store.list_conversations(scope=scope)] == [f"c{number}"]

    @pytest.mark.parametrize("seed", [1, 2])
    async def test_anything_done_with_scopes_is_as_in_pydantic_ai(self, store: ConversationStore, seed: int) -> None:
        await compare_with_pydantic_ai(store, seed=seed, operations=80, scopes=(None, "alice", "bob"))
