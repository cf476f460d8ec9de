"""What Pydantic AI promises of a store of conversations."""

from __future__ import annotations

from dataclasses import replace

import pytest
from pydantic_ai import DeferredToolRequests, ModelMessagesTypeAdapter
from pydantic_ai.conversation import Conversation
from pydantic_ai.conversation_store import (
    ConversationConflict,
    ConversationEntry,
    ConversationRecord,
    ConversationStore,
)
from pydantic_ai.exceptions import UserError
from pydantic_ai.messages import ModelMessage, ToolCallPart
from pydantic_ai.usage import RunUsage

from .every_part import every_part
from .exchanges import START, echo_agent, exchange, save, user_texts


async def loaded(store: ConversationStore, conversation_id: str) -> Conversation:
    """Return a conversation that is there."""
    conversation = await store.load(conversation_id)
    assert conversation is not None
    return conversation


async def recorded(store: ConversationStore, conversation_id: str) -> ConversationRecord:
    """Return a record that is there."""
    record = await store.read_record(conversation_id)
    assert record is not None
    return record


class Conversations:
    """A store keeps conversations, forks and branches them, and notices who comes too late."""

    async def test_what_nobody_saved_is_not_there(self, store: ConversationStore) -> None:
        assert await store.load("nobody") is None
        assert await store.load_entries("nobody") is None
        assert await store.read_record("nobody") is None
        assert await store.list_conversations() == []
        assert await store.read_history(None) == []
        await store.delete("nobody")
        with pytest.raises(LookupError):
            await store.read_entry("nothing")
        with pytest.raises(LookupError):
            await store.read_history("nothing")

    async def test_a_conversation_goes_on_where_it_was_left(self, store: ConversationStore) -> None:
        agent = echo_agent()
        answers: list[str] = []
        for text in ("one", "two", "three"):
            conversation = await store.load("c") or Conversation(conversation_id="c")
            result = await agent.run(text, conversation=conversation)
            await store.save(result)
            answers.append(result.output)
        assert answers == ["one (1)", "two (3)", "three (5)"]
        conversation = await loaded(store, "c")
        assert user_texts(conversation.messages) == ["one", "two", "three"]
        assert conversation.usage.requests == 3

    async def test_a_save_stores_what_is_new_and_says_where(self, store: ConversationStore) -> None:
        conversation = Conversation(conversation_id="c", messages=exchange("one"))
        first = await store.save(conversation)
        conversation.messages.extend(exchange("two"))
        second = await store.save(conversation)
        assert await store.save(conversation) == []
        entries = [*first, *second]
        assert await store.load_entries("c") == entries
        assert [entry.parent_id for entry in entries] == [None, *(entry.id for entry in entries[:-1])]
        assert [await store.read_entry(entry.id) for entry in entries] == entries

    @pytest.mark.parametrize(("limit", "count"), [(0, 0), (1, 1), (3, 3), (4, 4), (99, 4), (None, 4)])
    async def test_a_part_of_a_history_is_its_newest_messages(
        self, store: ConversationStore, limit: int | None, count: int
    ) -> None:
        await save(store, "c", "one", "two")
        entries = await store.load_entries("c")
        assert entries is not None
        newest = entries[len(entries) - count :]
        conversation = await store.load("c", limit=limit)
        assert conversation is not None
        assert conversation.messages == [entry.message for entry in newest]
        assert await store.load_entries("c", limit=limit) == newest
        assert await store.read_history(entries[-1].id, limit=limit) == newest

    async def test_a_history_can_be_read_up_to_any_of_its_messages(self, store: ConversationStore) -> None:
        await save(store, "c", "one", "two")
        entries = await store.load_entries("c")
        assert entries is not None
        assert await store.read_history(entries[2].id) == entries[:3]
        assert await store.read_history(entries[2].id, limit=2) == entries[1:3]

    async def test_one_who_loaded_a_part_adds_to_the_whole(self, store: ConversationStore) -> None:
        await save(store, "c", "one", "two")
        conversation = await store.load("c", limit=1)
        assert conversation is not None
        await store.save(await echo_agent().run("three", conversation=conversation))
        assert user_texts((await loaded(store, "c")).messages) == ["one", "two", "three"]

    async def test_a_history_that_was_rewritten_leaves_a_branch(self, store: ConversationStore) -> None:
        await save(store, "c", "one", "two")
        [*_, left] = await store.load_entries("c") or []
        conversation = await loaded(store, "c")
        rewritten = Conversation(
            conversation_id="c", messages=[*exchange("one"), *exchange("other")], revision=conversation.revision
        )
        await store.save(rewritten)
        assert user_texts((await loaded(store, "c")).messages) == ["one", "other"]
        record = await recorded(store, "c")
        assert record.branches == [left.id]
        back = await store.branch("c", from_entry=left.id, expected_revision=record.revision)
        assert user_texts(back.messages) == ["one", "two"]

    async def test_who_comes_too_late_is_told(self, store: ConversationStore) -> None:
        await save(store, "c", "one")
        early, late = await loaded(store, "c"), await loaded(store, "c")
        early.messages.extend(exchange("early"))
        late.messages.extend(exchange("late"))
        await store.save(early)
        with pytest.raises(ConversationConflict):
            await store.save(late)
        with pytest.raises(ConversationConflict):
            await store.branch("c", at=1, expected_revision=late.revision)
        with pytest.raises(ConversationConflict):
            await store.save(Conversation(conversation_id="c", messages=exchange("again")))
        await store.delete("c")
        with pytest.raises(ConversationConflict):
            await store.save(early)
        await save(store, "c", "anew")
        with pytest.raises(ConversationConflict):
            await store.save(early)
        assert user_texts((await loaded(store, "c")).messages) == ["anew"]

    async def test_a_conflict_leaves_nothing_behind(self, store: ConversationStore) -> None:
        await save(store, "c", "one")
        record = await recorded(store, "c")
        entry = ConversationEntry(id="new-entry", parent_id=record.head_id, message=exchange("late")[0])
        moved = replace(record, head_id=entry.id, revision="new-revision")
        unknown = replace(record, conversation_id="d", head_id="not-there", revision="new-revision")
        with pytest.raises(ConversationConflict):
            await store.write_record(moved, new_entries=[entry], expected_revision="another")
        with pytest.raises(ConversationConflict):
            await store.write_record(moved, new_entries=[entry], expected_revision=None)
        with pytest.raises(ConversationConflict):
            await store.write_record(replace(moved, conversation_id="d"), new_entries=[entry], expected_revision="any")
        with pytest.raises(ConversationConflict):
            await store.write_record(unknown, expected_revision=None)
        with pytest.raises(ConversationConflict):
            await store.write_record(replace(moved, head_id="not-there"), expected_revision=record.revision)
        with pytest.raises(ConversationConflict):
            await store.delete_record("c", expected_revision="another")
        with pytest.raises(ConversationConflict):
            await store.delete_record("d", expected_revision=record.revision)
        with pytest.raises(LookupError):
            await store.read_entry("new-entry")
        assert await store.read_record("c") == record
        assert await store.read_record("d") is None
        assert await store.list_conversations() == [record]

    async def test_a_fork_shares_what_came_before_it_and_nothing_after(self, store: ConversationStore) -> None:
        await save(store, "c", "one", "two")
        fork = await store.fork("c", at=2, new_conversation_id="f")
        assert fork.usage == RunUsage()
        fork.messages.extend(exchange("forked"))
        await store.save(fork)
        await save(store, "c", "three")
        assert user_texts((await loaded(store, "f")).messages) == ["one", "forked"]
        assert user_texts((await loaded(store, "c")).messages) == ["one", "two", "three"]
        shared, own = await store.load_entries("f") or [], await store.load_entries("c") or []
        assert shared[:2] == own[:2]
        record = await recorded(store, "f")
        assert (record.forked_from, record.forked_at) == ("c", own[1].id)
        with pytest.raises(ConversationConflict):
            await store.fork("c", new_conversation_id="f")
        with pytest.raises(UserError):
            await store.fork("c", at=99)
        with pytest.raises(UserError):
            await store.fork("nobody")

    async def test_a_fork_of_a_fork_outlives_both(self, store: ConversationStore) -> None:
        await save(store, "c", "one", "two")
        await store.fork("c", at=3, new_conversation_id="f")
        await store.fork("f", new_conversation_id="g")
        await store.delete("c")
        await store.delete("f")
        assert len((await loaded(store, "g")).messages) == 3
        await store.delete("g")
        assert await store.list_conversations() == []

    async def test_what_no_conversation_reaches_goes(self, store: ConversationStore) -> None:
        await save(store, "c", "one", "two")
        entries = await store.load_entries("c") or []
        await store.fork("c", at=2, new_conversation_id="f")
        await store.delete("c")
        assert [await store.read_entry(entry.id) for entry in entries[:2]] == entries[:2]
        for entry in entries[2:]:
            with pytest.raises(LookupError):
                await store.read_entry(entry.id)
        await store.delete("f")
        for entry in entries:
            with pytest.raises(LookupError):
                await store.read_entry(entry.id)

    async def test_a_branch_is_kept_until_the_conversation_goes(self, store: ConversationStore) -> None:
        conversation = await save(store, "c", "one", "two")
        entries = await store.load_entries("c") or []
        branched = await store.branch("c", at=2, expected_revision=conversation.revision)
        assert user_texts(branched.messages) == ["one"]
        branched.messages.extend(exchange("other"))
        await store.save(branched)
        assert (await recorded(store, "c")).branches == [entries[-1].id]
        assert await store.read_history(entries[-1].id) == entries
        back = await store.branch("c", from_entry=entries[-1].id, expected_revision=branched.revision)
        assert user_texts(back.messages) == ["one", "two"]
        empty = await store.branch("c", at=0, expected_revision=back.revision)
        assert empty.messages == []
        assert (await recorded(store, "c")).head_id is None
        await store.delete("c")
        for entry in entries:
            with pytest.raises(LookupError):
                await store.read_entry(entry.id)

    async def test_everything_in_a_record_comes_back(self, store: ConversationStore) -> None:
        waiting = DeferredToolRequests(
            calls=[ToolCallPart("ask", {"x": [1, None]}, "call-1")],
            approvals=[ToolCallPart("buy", '{"y": 2}', "call-2")],
            metadata={"call-1": {"why": "grüße 🦉"}},
        )
        usage = RunUsage(requests=2, input_tokens=10**12, output_tokens=3, tool_calls=4, details={"reasoning": 5})
        conversation = Conversation(
            conversation_id="c", messages=exchange("one"), usage=usage, deferred_tool_requests=waiting
        )
        await store.save(conversation)
        again = await loaded(store, "c")
        assert again.usage == usage
        assert again.deferred_tool_requests == waiting
        assert again.revision == conversation.revision
        record = await recorded(store, "c")
        full = replace(
            record,
            forked_from="other",
            forked_at=record.head_id,
            updated_at=START,
            revision="revision",
            branches=[str(record.head_id)],
        )
        await store.write_record(full, expected_revision=record.revision)
        assert await recorded(store, "c") == full
        assert await store.list_conversations() == [full]

    async def test_what_is_given_and_given_back_is_the_callers(self, store: ConversationStore) -> None:
        waiting = DeferredToolRequests(calls=[ToolCallPart("ask", {"x": 1}, "call-1")])
        usage = RunUsage(details={"a": 1})
        conversation = Conversation(
            conversation_id="c", messages=exchange("one"), usage=usage, deferred_tool_requests=waiting
        )
        await store.save(conversation)
        conversation.messages.clear()
        usage.details["a"] = 9
        waiting.calls.clear()
        record = await recorded(store, "c")
        record.branches.append("x")
        record.usage.details["a"] = 8
        assert record.deferred_tool_requests is not None
        record.deferred_tool_requests.calls[0].args = {"x": 2}
        again = await loaded(store, "c")
        again.messages.clear()
        again.usage.requests = 99
        again = await loaded(store, "c")
        assert user_texts(again.messages) == ["one"]
        assert again.usage == RunUsage(details={"a": 1})
        assert again.deferred_tool_requests == DeferredToolRequests(calls=[ToolCallPart("ask", {"x": 1}, "call-1")])
        assert (await recorded(store, "c")).branches == []

    async def test_the_last_saved_conversation_is_listed_first(self, store: ConversationStore) -> None:
        for number in range(4):
            await save(store, f"c{number}", "one")
        await save(store, "c1", "two")
        await store.delete("c2")
        assert [record.conversation_id for record in await store.list_conversations()] == ["c1", "c3", "c0"]
        assert [record.conversation_id for record in await store.list_conversations(limit=2)] == ["c1", "c3"]
        assert await store.list_conversations(limit=0) == []
        with pytest.raises(UserError):
            await store.list_conversations(limit=-1)

    @pytest.mark.parametrize("name", every_part())
    async def test_every_message_comes_back_as_it_was(self, store: ConversationStore, name: str) -> None:
        messages: list[ModelMessage] = [every_part()[name]]
        await store.save(Conversation(conversation_id="c", messages=messages))
        again = (await loaded(store, "c")).messages
        assert again == messages
        assert ModelMessagesTypeAdapter.dump_json(again) == ModelMessagesTypeAdapter.dump_json(messages)
