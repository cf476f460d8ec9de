"""Memory: what every memory promises, what one that stores promises, and LocalMemory's own limits."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from anyio import fail_after
from pydantic_ai import Agent, BinaryImage
from pydantic_ai.conversation import Conversation
from pydantic_ai.conversation_store import ConversationConflict
from pydantic_ai.messages import (
    ModelMessage,
    ModelRequest,
    ModelResponse,
    TextPart,
    ThinkingPart,
    ToolCallPart,
    ToolReturnPart,
    UserPromptPart,
)
from pydantic_ai.usage import RunUsage

from pais_sdk import (
    ConfigurationError,
    InvalidRequestError,
    InvalidSessionIdError,
    LocalMemory,
    NullMemory,
)
from pais_sdk import Memory as MemoryBase
from pais_sdk.errors import SessionBusyError
from pais_sdk.memory.local import LocalMemory as Local

from .agents import echo_model, user_texts

pytestmark = pytest.mark.anyio

START = datetime(2026, 1, 1, tzinfo=UTC)


def exchange(text: str, run_id: str, *, minute: int = 0, tools: int = 0) -> list[ModelMessage]:
    """Return the messages of one run, with as many tool rounds as asked for."""
    at = START + timedelta(minutes=minute)
    messages: list[ModelMessage] = [ModelRequest([UserPromptPart(text, timestamp=at)], run_id=run_id)]
    for number in range(tools):
        call_id = f"{run_id}-{number}"
        messages.append(ModelResponse([ToolCallPart("t", {"n": number}, call_id)], run_id=run_id, timestamp=at))
        messages.append(ModelRequest([ToolReturnPart("t", number, call_id, timestamp=at)], run_id=run_id))
    messages.append(ModelResponse([TextPart(f"re: {text}")], run_id=run_id, timestamp=at))
    return messages


async def append(memory: MemoryBase, session_id: str, messages: Sequence[ModelMessage], **options: Any) -> None:
    async with memory.open_session(session_id, limit=0) as session:
        await session.append(messages, **options)


async def window(memory: MemoryBase, session_id: str, limit: int | None) -> list[ModelMessage]:
    async with memory.open_session(session_id, limit=limit) as session:
        return session.history


@pytest.fixture(params=[LocalMemory, NullMemory, lambda: LocalMemory().scoped("a")], ids=["local", "null", "scoped"])
def memory(request: pytest.FixtureRequest) -> MemoryBase:
    return request.param()


@pytest.fixture(params=[LocalMemory, lambda: LocalMemory().scoped("alice")], ids=["local", "scoped"])
def storing(request: pytest.FixtureRequest) -> MemoryBase:
    return request.param()


class TestEveryMemory:
    """Calls that work on every memory, whether it keeps anything or not."""

    async def test_every_call_works(self, memory: MemoryBase) -> None:
        async with memory:
            assert memory
            await memory.check()
            session_id = await memory.create_session()
            await append(memory, session_id, exchange("hi", "r"), usage=RunUsage(requests=1))
            event = await memory.add_event(session_id, "note", {"a": 1}, {"by": "me"})
            await memory.store_event(session_id, memory.create_event("note", "b"))
            assert event.to_dict()["event_type"] == "note"
            assert isinstance(await memory.get_events(session_id), list)
            assert isinstance(await memory.get_events(), list)
            assert isinstance(await memory.list_sessions(), list)
            assert isinstance(await memory.build_conversation_context(session_id), str)
            await memory.delete_session(session_id)
            assert await memory.get_events(session_id) == []

    async def test_pydantic_ai_can_load_run_and_save(self, memory: MemoryBase) -> None:
        agent = Agent(echo_model())
        conversation = await memory.load("c") or Conversation(conversation_id="c")
        result = await agent.run("hello", conversation=conversation)
        await memory.save(result)
        assert result.output == "hello (1)"

    async def test_an_unknown_session_has_no_events(self, memory: MemoryBase) -> None:
        assert await memory.get_events("nobody") == []
        assert await memory.build_conversation_context("nobody") == ""
        assert not await memory.delete_session("nobody")

    async def test_an_invalid_session_id_is_refused(self, memory: MemoryBase) -> None:
        for call in (memory.create_session, memory.delete_session):
            with pytest.raises(InvalidSessionIdError):
                await call("no/slash")


class TestStoring:
    """What a memory that keeps sessions promises."""

    async def test_messages_come_back_as_they_were(self, storing: MemoryBase) -> None:
        messages: list[ModelMessage] = [
            ModelRequest(
                [UserPromptPart(["grüße 🦉", BinaryImage(b"\x00\xff" * 1000, media_type="image/png")])], run_id="r"
            ),
            ModelResponse([ThinkingPart("hm"), TextPart("ok"), ToolCallPart("t", '{"x": 1}', "c")], run_id="r"),
            ModelRequest([ToolReturnPart("t", {"y": [1, 2]}, "c", outcome="failed")], run_id="r"),
            ModelResponse([TextPart("x" * 1_000_000)], run_id="r", state="interrupted"),
        ]
        await append(storing, "s", messages)
        assert await window(storing, "s", None) == messages

    async def test_what_is_given_back_is_the_callers(self, storing: MemoryBase) -> None:
        messages = exchange("hi", "r")
        await append(storing, "s", messages)
        messages.clear()
        history = await window(storing, "s", None)
        assert isinstance(history[0], ModelRequest)
        history[0].parts[0].content = "changed"  # type: ignore[union-attr]
        assert user_texts(await window(storing, "s", None)) == ["hi"]

    @pytest.mark.parametrize(("limit", "texts"), [(0, ""), (1, "c"), (2, "c"), (3, "bc"), (99, "abc")])
    async def test_a_window_is_the_newest_messages_in_whole_runs(
        self, storing: MemoryBase, limit: int, texts: str
    ) -> None:
        for number, text in enumerate("abc"):
            await append(storing, "s", exchange(text, f"r{number}", minute=number))
        assert "".join(user_texts(await window(storing, "s", limit))) == texts

    async def test_a_run_with_many_tools_is_never_cut(self, storing: MemoryBase) -> None:
        await append(storing, "s", exchange("old", "r1"))
        await append(storing, "s", exchange("many", "r2", tools=20))
        history = await window(storing, "s", 2)
        assert user_texts(history) == ["many"]
        assert len(history) == 42

    async def test_events_are_in_the_order_in_which_things_happened(self, storing: MemoryBase) -> None:
        await append(storing, "s", exchange("one", "r1", tools=1))
        await storing.add_event("s", "note", "between")
        await append(storing, "s", exchange("two", "r2", minute=10**6))
        events = await storing.get_events("s")
        assert [event.event_type for event in events] == [
            "user_message",
            "tool_call",
            "tool_result",
            "agent_response",
            "note",
            "user_message",
            "agent_response",
        ]
        assert events == await storing.get_events("s")
        assert [event.content for event in await storing.get_events("s", limit=2)] == ["two", "re: two"]
        assert [event.content for event in await storing.get_events("s", types=["note"])] == ["between"]
        assert await storing.get_events("s", limit=0) == []
        before = await storing.get_events("s", before=events[3].event_id, limit=2)
        assert before == events[1:3]

    async def test_events_of_all_sessions_are_the_newest_of_all(self, storing: MemoryBase) -> None:
        for number in range(5):
            await append(storing, f"s{number}", exchange(f"m{number}", f"r{number}", minute=number))
        everything = await storing.get_events()
        assert [event.content for event in everything if event.event_type == "user_message"] == [
            f"m{number}" for number in range(5)
        ]
        assert await storing.get_events(limit=3) == everything[-3:]
        assert await storing.get_events(limit=3, before=everything[5].event_id) == everything[2:5]

    async def test_sessions_are_listed_by_their_last_use_and_in_pages(self, storing: MemoryBase) -> None:
        for number in range(5):
            await append(storing, f"s{number}", exchange("m", f"r{number}"))
        await append(storing, "s0", exchange("again", "r9"))
        first = await storing.list_sessions(limit=2)
        second = await storing.list_sessions(limit=2, cursor=first.next)
        third = await storing.list_sessions(limit=2, cursor=second.next)
        assert [*first, *second, *third] == ["s0", "s4", "s3", "s2", "s1"]
        assert third.next is None
        with pytest.raises(InvalidRequestError, match="cursor"):
            await storing.list_sessions(cursor="made up")

    async def test_pages_stay_in_order_while_sessions_are_used(self, storing: MemoryBase) -> None:
        for number in range(6):
            await append(storing, f"s{number}", exchange("m", f"r{number}"))
        first = await storing.list_sessions(limit=3)
        await append(storing, first[-1], exchange("again", "r9"))
        await storing.delete_session(first[0])
        second = await storing.list_sessions(limit=3, cursor=first.next)
        assert [*first, *second] == ["s5", "s4", "s3", "s2", "s1", "s0"]
        with pytest.raises(InvalidRequestError, match="limit"):
            await storing.list_sessions(limit=0)

    async def test_events_of_some_types_are_found_among_many_others(self, storing: MemoryBase) -> None:
        await storing.add_event("s", "note", "old")
        for number in range(30):
            await append(storing, "s", exchange("m", f"r{number}", minute=10**6 + number))
        assert [event.content for event in await storing.get_events(types=["note"], limit=1)] == ["old"]
        assert [event.content for event in await storing.get_events("s", types=["note"], limit=1)] == ["old"]

    async def test_a_context_is_what_user_and_agent_said(self, storing: MemoryBase) -> None:
        await append(storing, "s", exchange("one", "r1", tools=1))
        await append(storing, "s", exchange("two", "r2", minute=1))
        assert await storing.build_conversation_context("s", max_events=3) == (
            "Agent: re: one\nUser: two\nAgent: re: two"
        )

    async def test_scopes_do_not_see_each_other(self, storing: MemoryBase) -> None:
        bob = storing.scoped("bob")
        await append(storing, "s", exchange("mine", "r1"))
        assert await bob.get_events("s") == []
        assert list(await bob.list_sessions()) == []
        assert not await bob.delete_session("s")
        await append(bob, "s", exchange("bobs", "r2"))
        assert user_texts(await window(storing, "s", None)) == ["mine"]
        assert list(await storing.list_sessions()) == ["s"]
        assert await bob.delete_session("s")
        assert list(await storing.list_sessions()) == ["s"]

    async def test_a_conversation_store_can_fork_branch_and_detect_conflicts(self, storing: MemoryBase) -> None:
        agent = Agent(echo_model())
        for text in ("one", "two"):
            conversation = await storing.load("c") or Conversation(conversation_id="c")
            await storing.save(await agent.run(text, conversation=conversation))
        fork = await storing.fork("c", at=2, new_conversation_id="f")
        await storing.save(await agent.run("forked", conversation=fork))
        stale = await storing.load("c")
        assert stale is not None
        branched = await storing.branch("c", at=2, expected_revision=stale.revision)
        await storing.save(await agent.run("branched", conversation=branched))
        with pytest.raises(ConversationConflict):
            await storing.save(await agent.run("late", conversation=stale))
        await storing.delete_session("c")
        forked = await storing.load("f")
        assert forked is not None
        assert user_texts(forked.messages) == ["one", "forked"]

    async def test_a_run_is_added_after_what_somebody_else_saved_meanwhile(self, storing: MemoryBase) -> None:
        async with storing.open_session("s", limit=None) as session:
            other = Conversation(conversation_id="s", messages=exchange("other", "r1"))
            await storing.save(other)
            await session.append(exchange("mine", "r2"))
        assert user_texts(await window(storing, "s", None)) == ["other", "mine"]

    async def test_usage_adds_up(self, storing: MemoryBase) -> None:
        for _ in range(2):
            await append(storing, "s", exchange("x", "r"), usage=RunUsage(requests=2, input_tokens=5))
        record = await storing.read_record("s")
        assert record is not None
        assert (record.usage.requests, record.usage.input_tokens) == (4, 10)

    async def test_annotations_are_no_messages_and_leave_the_revision_alone(self, storing: MemoryBase) -> None:
        await append(storing, "s", exchange("x", "r"))
        before = await storing.read_record("s")
        await storing.add_event("s", "note", "y")
        assert await storing.read_record("s") == before
        assert len(await window(storing, "s", None)) == 2

    async def test_one_holds_a_session_and_others_wait_in_order(self, storing: MemoryBase) -> None:
        order: list[str] = []

        async def hold(name: str) -> None:
            async with storing.open_session("s") as session:
                order.append(name)
                await session.append(exchange(name, name))

        with fail_after(5):
            async with storing.open_session("s"):
                with pytest.raises(SessionBusyError):
                    async with storing.open_session("s", on_busy="reject"):
                        pass
                with pytest.raises(SessionBusyError):
                    async with storing.open_session("s", wait_s=0.01):
                        pass
                waiting = [asyncio.create_task(hold(name)) for name in "abc"]
                await asyncio.sleep(0)
                waiting[1].cancel()
            await asyncio.gather(*waiting, return_exceptions=True)
        assert order == ["a", "c"]

    async def test_deleting_asks_the_holder_to_stop(self, storing: MemoryBase) -> None:
        asked = asyncio.Event()
        await storing.create_session("s")
        with fail_after(5):
            async with storing.open_session("s") as session:
                session.on_interrupt = asked.set
                deleting = asyncio.create_task(storing.delete_session("s"))
                await asked.wait()
                await session.append(exchange("last words", "r"))
            assert await deleting
        assert await storing.get_events("s") == []


class TestLocalLimits:
    """LocalMemory is bounded."""

    async def test_the_least_recently_used_session_goes_first_and_never_one_in_use(self) -> None:
        memory = Local(max_sessions=2)
        await append(memory, "held", exchange("x", "r"))
        async with memory.open_session("held"):
            for name in ("a", "b", "c"):
                await append(memory, name, exchange("x", "r"))
            assert set(await memory.list_sessions()) == {"held", "c"}

    async def test_sessions_that_were_held_go_when_they_are_free(self) -> None:
        memory = Local(max_sessions=2)
        async with contextlib.AsyncExitStack() as stack:
            for number in range(10):
                session = await stack.enter_async_context(memory.open_session(f"s{number}"))
                await memory.add_event(session.session_id, "note", "x")
        await append(memory, "last", exchange("x", "r"))
        assert list(await memory.list_sessions()) == ["last", "s9"]

    async def test_messages_without_a_run_are_trimmed_too(self) -> None:
        memory = Local(max_session_messages=10)
        for number in range(50):
            messages: list[ModelMessage] = [ModelRequest([UserPromptPart(f"{number}")])]
            await append(memory, "s", messages)
        assert len(await window(memory, "s", None)) <= 12

    async def test_old_messages_go_in_whole_runs(self) -> None:
        memory = Local(max_session_messages=8)
        for number in range(20):
            await append(memory, "s", exchange(f"m{number}", f"r{number}", tools=1))
        texts = user_texts(await window(memory, "s", None))
        assert texts == ["m18", "m19"]  # each run has four messages

    async def test_what_a_fork_shares_is_kept(self) -> None:
        memory = Local(max_session_messages=4)
        await append(memory, "s", [message for n in range(2) for message in exchange(f"m{n}", f"r{n}")])
        await memory.fork("s", new_conversation_id="f")
        for number in range(2, 10):
            await append(memory, "s", exchange(f"m{number}", f"r{number}"))
        fork = await memory.load("f")
        assert fork is not None
        assert user_texts(fork.messages) == ["m0", "m1"]
        await memory.delete_session("s")
        fork = await memory.load("f")
        assert fork is not None
        assert user_texts(fork.messages) == ["m0", "m1"]

    async def test_nothing_is_left_of_what_is_deleted(self) -> None:
        memory = Local()
        await append(memory, "s", exchange("x", "r", tools=3))
        await memory.fork("s", at=2, new_conversation_id="f")
        await memory.delete_session("s")
        await memory.delete_session("f")
        assert not memory._chains._links
        assert not memory._locks._held

    async def test_sessions_expire(self, monkeypatch: pytest.MonkeyPatch) -> None:
        now = [0.0]
        monkeypatch.setattr("pais_sdk.memory.local.time.monotonic", lambda: now[0])
        memory = Local(ttl_s=10)
        await append(memory, "kept", exchange("x", "r"))
        await append(memory, "stateless", exchange("x", "r"), ttl_s=5)
        now[0] = 6
        await append(memory, "kept", exchange("y", "r2"))
        assert list(await memory.list_sessions()) == ["kept"]
        now[0] = 17
        assert await window(memory, "kept", None) == []
        await append(memory, "new", exchange("z", "r3"))
        assert list(memory._sessions) == ["new"]

    @pytest.mark.parametrize("name", ["max_sessions", "max_session_messages"])
    def test_a_limit_that_keeps_nothing_is_refused(self, name: str) -> None:
        limits: dict[str, Any] = {name: 0}
        with pytest.raises(ConfigurationError, match=name):
            LocalMemory(**limits)

    async def test_half_a_character_is_stored_as_one_that_can_be_written(self) -> None:
        memory = Local()
        part = ToolReturnPart("list", {"files": ["caf\udce9", "\ud83d\ude00"]}, "c")
        await append(memory, "s", [ModelRequest([part], run_id="r")])
        events = await memory.get_events("s")
        assert events[0].content == {"tool": "list", "result": {"files": ["caf\ufffd", "😀"]}}
        assert len(await window(memory, "s", None)) == 1

    async def test_what_a_tool_returned_is_stored_as_text_where_it_is_no_json(self) -> None:
        class Thing:
            def __str__(self) -> str:
                return "a thing"

        memory = Local()
        await append(memory, "s", [ModelRequest([ToolReturnPart("t", Thing(), "c")], run_id="r")])
        events = await memory.get_events("s")
        assert events[0].content == {"tool": "t", "result": "a thing"}


async def test_a_run_leaves_the_scope_of_a_record_that_somebody_saved_as_it_is() -> None:
    memory = LocalMemory()
    conversation = Conversation(messages=exchange("hi", "r1"), conversation_id="s1")
    await memory.save(conversation, scope="team")
    await append(memory, "s1", exchange("again", "r2"))
    record = await memory.read_record("s1")
    assert record is not None
    assert record.scope == "team"
