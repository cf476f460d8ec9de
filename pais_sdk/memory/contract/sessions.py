"""What a memory promises of the sessions that it keeps: their messages, and the part of them that a run sees."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from pydantic_ai import DeferredToolRequests
from pydantic_ai.conversation import Conversation
from pydantic_ai.messages import (
    ModelMessage,
    ModelRequest,
    ModelResponse,
    TextPart,
    ToolCallPart,
    ToolReturnPart,
    UserPromptPart,
)
from pydantic_ai.usage import RunUsage

from ...errors import MemoryUnavailableError
from ..base import Memory
from .conversations import loaded, recorded
from .every_part import every_part
from .exchanges import append, echo_agent, exchange, history, said, save, user_texts

CreateMemory = Callable[..., Memory]


class Sessions:
    """A run sees the newest part of its session, in whole runs, and adds to it in one write."""

    async def test_messages_come_back_as_they_were(self, memory: Memory) -> None:
        messages = list(every_part().values())
        await append(memory, "s", messages)
        assert await history(memory, "s") == messages
        log = await memory.read_log("s")
        assert log is not None
        assert [entry.message for entry in log.entries] == messages

    async def test_what_is_given_back_is_the_callers(self, memory: Memory) -> None:
        messages = exchange("hi")
        await append(memory, "s", messages)
        messages.clear()
        seen = await history(memory, "s")
        assert isinstance(seen[0], ModelRequest)
        assert isinstance(seen[0].parts[0], UserPromptPart)
        seen[0].parts[0].content = "changed"
        assert await said(memory, "s") == ["hi"]

    async def test_half_a_character_is_stored_as_one_that_can_be_written(self, memory: Memory) -> None:
        part = ToolReturnPart("list", {"files": ["caf\udce9", "\ud83d\ude00"]}, "c")
        prompt = UserPromptPart("caf\udce9")
        await append(memory, "s", [ModelRequest([part, prompt], run_id="r")], [memory.create_event("note", "\udce9")])
        [listed, spoken, note] = await memory.get_events("s")
        assert listed.content == {"tool": "list", "result": {"files": ["caf\ufffd", "😀"]}}
        assert (spoken.content, note.content) == ("caf\ufffd", "\ufffd")
        await memory.save(Conversation(conversation_id="c", messages=[ModelRequest([prompt])]))
        assert user_texts((await loaded(memory, "c")).messages) == ["caf\ufffd"]

    async def test_what_a_tool_returned_is_stored_as_text_where_it_is_no_json(self, memory: Memory) -> None:
        class Thing:
            def __str__(self) -> str:
                return "a thing"

        await append(memory, "s", [ModelRequest([ToolReturnPart("t", Thing(), "c")], run_id="r")])
        [event] = await memory.get_events("s")
        assert event.content == {"tool": "t", "result": "a thing"}

    async def test_what_cannot_be_written_leaves_nothing_and_the_session_free(self, memory: Memory) -> None:
        endless: list[object] = []
        endless.append(endless)
        bad = ModelRequest([ToolReturnPart("t", endless, "c")], run_id="r")
        with pytest.raises(MemoryUnavailableError):
            await append(memory, "s", [*exchange("hi"), bad])
        with pytest.raises(MemoryUnavailableError):
            await append(memory, "s", exchange("hi"), annotations=[memory.create_event("note", endless)])
        with pytest.raises(MemoryUnavailableError):
            await memory.annotate("s", [memory.create_event("note", "x"), memory.create_event("note", endless)])
        with pytest.raises(MemoryUnavailableError):
            await memory.save(Conversation(conversation_id="s", messages=[*exchange("hi"), bad]))
        assert await memory.read_log("s") is None
        assert await memory.list_sessions() == []
        await append(memory, "s", exchange("again"))
        assert await said(memory, "s") == ["again"]

    @pytest.mark.parametrize(
        ("limit", "texts"),
        [(0, ""), (1, "c"), (2, "c"), (3, "bc"), (5, "abc"), (99, "abc"), (10**9, "abc"), (None, "abc")],
    )
    async def test_a_window_is_the_newest_messages_in_whole_runs(
        self, memory: Memory, limit: int | None, texts: str
    ) -> None:
        for number, text in enumerate("abc"):
            await append(memory, "s", exchange(text, minute=number))
        assert "".join(user_texts(await history(memory, "s", limit))) == texts
        log = await memory.read_log("s", limit=limit)
        assert log is not None
        assert "".join(user_texts([entry.message for entry in log.entries])) == texts
        assert log.start == 2 * (3 - len(texts))
        assert log.complete == (texts == "abc")

    @pytest.mark.parametrize("limit", [1, 2, 41, 42])
    async def test_a_run_with_many_tools_is_never_cut(self, memory: Memory, limit: int) -> None:
        await append(memory, "s", exchange("old", tools=2))
        await append(memory, "s", exchange("many", tools=20))
        seen = await history(memory, "s", limit)
        assert user_texts(seen) == ["many"]
        assert len(seen) == 42
        assert len(await history(memory, "s", 43)) == 48

    async def test_a_run_that_was_stored_in_pieces_is_one_run(self, memory: Memory) -> None:
        await append(memory, "s", exchange("old"))
        for message in exchange("new", tools=2):
            await append(memory, "s", [message])
        assert len(await history(memory, "s", 1)) == 6
        conversation = await loaded(memory, "s")
        conversation.messages.append(exchange("more", run_id="run-new")[0])
        await memory.save(conversation)
        assert len(await history(memory, "s", 1)) == 7

    async def test_messages_of_no_run_stand_alone(self, memory: Memory) -> None:
        messages: list[ModelMessage] = [ModelRequest([UserPromptPart(text)]) for text in "abc"]
        await append(memory, "s", messages)
        assert user_texts(await history(memory, "s", 2)) == ["b", "c"]

    async def test_a_window_follows_a_branch_and_a_fork(self, memory: Memory) -> None:
        await append(memory, "s", [*exchange("one"), *exchange("two", tools=1)])
        await memory.fork("s", at=4, new_conversation_id="f")  # in the middle of the second run
        await append(memory, "f", exchange("forked"))
        assert user_texts(await history(memory, "f", 3)) == ["two", "forked"]
        assert len(await history(memory, "f", 3)) == 4
        record = await recorded(memory, "s")
        await memory.branch("s", at=2, expected_revision=record.revision)
        await append(memory, "s", exchange("other"))
        assert await said(memory, "s") == ["one", "other"]
        assert user_texts(await history(memory, "s", 1)) == ["other"]

    async def test_a_long_session_comes_back_whole(self, create_memory: CreateMemory) -> None:
        memory = create_memory(max_session_messages=None)
        messages = [message for number in range(1100) for message in exchange(f"m{number}")]
        await append(memory, "s", messages)
        assert await history(memory, "s") == messages
        entries = await memory.load_entries("s")
        assert entries is not None
        assert [entry.message for entry in entries] == messages
        assert len(await memory.get_events("s")) == 2200
        await append(memory, "s", exchange("last"))
        assert user_texts(await history(memory, "s", 3)) == ["m1099", "last"]
        assert await memory.delete_session("s")
        with pytest.raises(LookupError):
            await memory.read_entry(entries[0].id)

    async def test_a_session_exists_when_something_was_stored(self, memory: Memory) -> None:
        async with memory.open_session("s") as session:
            assert not session.exists
        async with memory.open_session("s") as session:
            assert not session.exists
            await session.append([])
        async with memory.open_session("s") as session:
            assert session.exists
            assert session.history == []
        assert list(await memory.list_sessions()) == ["s"]

    async def test_runs_and_saves_add_to_the_same_session(self, memory: Memory) -> None:
        await append(memory, "s", exchange("one"), usage=RunUsage(requests=1))
        await memory.save(await echo_agent().run("two", conversation=await loaded(memory, "s")))
        await append(memory, "s", exchange("three"), usage=RunUsage(requests=1))
        conversation = await loaded(memory, "s")
        assert user_texts(conversation.messages) == ["one", "two", "three"]
        assert conversation.usage.requests == 3
        assert await said(memory, "s") == ["one", "two", "three"]

    async def test_a_run_is_added_after_what_somebody_else_saved_meanwhile(self, memory: Memory) -> None:
        async with memory.open_session("s") as session:
            await memory.save(Conversation(conversation_id="s", messages=exchange("other")))
            await session.append(exchange("mine"))
        assert await said(memory, "s") == ["other", "mine"]
        async with memory.open_session("s") as session:
            await memory.delete("s")
            await session.append(exchange("anew"))
        assert await said(memory, "s") == ["anew"]

    async def test_a_run_makes_what_was_loaded_before_it_stale(self, memory: Memory) -> None:
        conversation = await save(memory, "s", "one")
        await append(memory, "s", exchange("two"))
        record = await recorded(memory, "s")
        assert record.revision != conversation.revision
        assert record.updated_at.tzinfo is not None

    async def test_usage_adds_up(self, memory: Memory) -> None:
        for _ in range(2):
            usage = RunUsage(requests=2, input_tokens=5, details={"reasoning": 7})
            await append(memory, "s", exchange("x"), usage=usage)
        await append(memory, "s", exchange("y"))
        record = await recorded(memory, "s")
        assert record.usage == RunUsage(requests=4, input_tokens=10, details={"reasoning": 14})

    async def test_a_run_leaves_all_else_of_a_record_as_it_is(self, memory: Memory) -> None:
        waiting = DeferredToolRequests(approvals=[ToolCallPart("buy", {}, "call-1")])
        answer = ModelResponse([TextPart("may I?"), *waiting.approvals], run_id="r")
        original = Conversation(
            conversation_id="s", messages=[*exchange("one"), answer], deferred_tool_requests=waiting
        )
        await memory.save(original)
        await memory.fork("s", new_conversation_id="f")
        fork = await recorded(memory, "f")
        assert fork.deferred_tool_requests == waiting
        branched = await memory.branch("f", at=2, expected_revision=fork.revision)
        branched.deferred_tool_requests = waiting
        await memory.save(branched)
        before = await recorded(memory, "f")
        assert before.deferred_tool_requests == waiting
        assert len(before.branches) == 1
        await append(memory, "f", exchange("two"))
        after = await recorded(memory, "f")
        assert after.deferred_tool_requests is None  # the run has dealt with them
        assert (after.branches, after.scope) == (before.branches, before.scope)
        assert (after.forked_from, after.forked_at) == ("s", fork.forked_at)
        assert (await recorded(memory, "s")).deferred_tool_requests == waiting

    async def test_what_is_deleted_is_gone(self, memory: Memory) -> None:
        await append(memory, "s", exchange("one", tools=3), [memory.create_event("note", "x")], ttl_s=1000)
        entries = await memory.load_entries("s") or []
        await memory.fork("s", at=2, new_conversation_id="f")
        assert await memory.delete_session("s")
        assert not await memory.delete_session("s")
        assert await memory.load("s") is None
        assert list(await memory.list_sessions()) == ["f"]
        assert len(await history(memory, "f")) == 2
        assert await memory.delete_session("f")
        for entry in entries:
            with pytest.raises(LookupError):
                await memory.read_entry(entry.id)
        await append(memory, "s", exchange("anew"))
        assert [event.event_type for event in await memory.get_events("s")] == ["user_message", "agent_response"]

    async def test_scopes_do_not_see_each_other(self, memory: Memory) -> None:
        bob = memory.scoped("bob")
        await append(memory, "s", exchange("mine"))
        await memory.add_event("s", "note", "x")
        assert await bob.get_events("s") == []
        assert await bob.get_events() == []
        assert await bob.load("s") is None
        assert await history(bob, "s") == []
        assert await bob.list_sessions() == []
        assert await bob.list_conversations() == []
        assert not await bob.delete_session("s")
        await append(bob, "s", exchange("bobs"))
        async with memory.open_session("s"), bob.open_session("s", on_busy="reject"):
            pass
        assert await said(memory, "s") == ["mine"]
        assert await said(bob, "s") == ["bobs"]
        assert [record.conversation_id for record in await bob.list_conversations()] == ["s"]
        assert await memory.list_sessions() == ["s"]
        await bob.fork("s", new_conversation_id="f")
        assert (await recorded(bob, "f")).forked_from == "s"
        assert await memory.list_sessions() == ["s"]
        assert await bob.delete_session("s")
        assert await bob.list_sessions() == ["f"]
        assert await memory.list_sessions() == ["s"]
        nested = memory.scoped("a/b")
        await append(nested, "s", exchange("nested"))
        assert await nested.list_sessions() == ["s"]
        assert await memory.scoped("a").list_sessions() == []
