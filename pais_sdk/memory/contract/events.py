"""What a memory promises of the events of a session: that they come in true order, all of them, and once."""

from __future__ import annotations

import asyncio
import random
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydantic_ai.messages import (
    ModelMessage,
    ModelRequest,
    ModelResponse,
    TextPart,
    ToolCallPart,
    ToolReturnPart,
    UserPromptPart,
)

from ...errors import InvalidRequestError
from ...events import DELEGATION
from ..base import Memory
from ..events import MemoryEvent
from .conversations import loaded, recorded
from .exchanges import START, append, exchange, history, save

_ASKED = {"agent": "worker-a", "run_id": "r"}


def note(text: str, *, minute: float | None = None) -> MemoryEvent:
    """Return an event that is no message, of now or of a minute after `START`."""
    if minute is None:
        return MemoryEvent(event_type="note", content=text)
    return MemoryEvent(event_type="note", content=text, timestamp=START + timedelta(minutes=minute))


async def contents(memory: Memory, session_id: str | None = None, **options: Any) -> list[Any]:
    """Return the contents of events; of tools, the type."""
    events = await memory.get_events(session_id, **options)
    return [event.content if isinstance(event.content, str) else event.event_type for event in events]


async def check_pages(memory: Memory, session_id: str | None, choose: random.Random) -> list[MemoryEvent]:
    """Return all events, when every way to read a part of them gives just that part."""
    everything = await memory.get_events(session_id)
    ids = [event.event_id for event in everything]
    assert len(set(ids)) == len(ids)
    for limit in {1, 2, 3, len(ids), len(ids) + 1, choose.randint(1, len(ids) + 1)}:
        assert await memory.get_events(session_id, limit=limit) == everything[-limit:]
    notes = [event for event in everything if event.event_type == "note"]
    spoken = [event for event in everything if event.event_type in ("user_message", "agent_response")]
    for limit in (1, 4, None):
        newest = slice(None) if limit is None else slice(-limit, None)
        assert await memory.get_events(session_id, types=["note"], limit=limit) == notes[newest]
        types = {"user_message", "agent_response"}
        assert await memory.get_events(session_id, types=types, limit=limit) == spoken[newest]
        assert await memory.get_events(session_id, types=[], limit=limit) == []
    for by_cursor in (True, False):
        walked: list[MemoryEvent] = []
        before: str | None = None
        while page := await memory.get_events(session_id, before=before, limit=choose.randint(2, 12)):
            walked[:0] = page
            before = page.next if by_cursor else page[0].event_id
            if before is None:
                break
        assert walked == everything
    return everything


class Events:
    """Events are a view of the messages, with what was added beside them where it was added."""

    async def test_events_are_in_the_order_in_which_things_happened(self, memory: Memory) -> None:
        await append(memory, "s", exchange("one", tools=1))
        await memory.add_event("s", "note", "between")
        await append(memory, "s", exchange("two", minute=10), annotations=[note("after")])
        events = await memory.get_events("s")
        assert [event.event_type for event in events] == [
            *("user_message", "tool_call", "tool_result", "agent_response"),
            *("user_message", "agent_response", "note", "note"),
        ]
        assert events == await memory.get_events("s")
        assert [event.content for event in await memory.get_events("s", types=["note"])] == ["between", "after"]
        assert await memory.get_events("s", limit=0) == []
        assert await memory.get_events("s", before=events[3].event_id, limit=2) == events[1:3]
        assert await memory.get_events("s", before=events[0].event_id) == []
        with pytest.raises(InvalidRequestError, match="begin"):
            await memory.get_events("s", before="no such event", limit=1)

    async def test_what_was_asked_of_another_agent_is_told_from_calls_of_tools(self, memory: Memory) -> None:
        kind = f"{DELEGATION}.worker-a"
        asked = [
            ToolCallPart("delegate_to_worker_a", {"task": "x"}, "1", tool_kind=kind),
            ToolCallPart("delegate_to_worker_a", {"task": "y"}, "2", tool_kind=kind),
            ToolCallPart("delegate_to_nobody", {"task": "z"}, "3"),
        ]
        told = {"agent": "worker-a", "protocol": "local", "session_id": "w", "other": {"kept": "in the messages"}}
        answered = [
            ToolReturnPart("delegate_to_worker_a", "done", "1", tool_kind=kind, metadata={"delegation": told}),
            ToolReturnPart("delegate_to_worker_a", "late", "2", tool_kind=kind, outcome="failed"),
            ToolReturnPart("delegate_to_nobody", "z", "3", metadata={"delegation": told}),
        ]
        await append(memory, "s", [ModelResponse(asked, run_id="r"), ModelRequest(answered, run_id="r")])
        types = {"delegation_request", "delegation_response"}
        events = await memory.get_events("s", types=types)
        assert [(event.event_type, event.content, event.metadata) for event in events] == [
            ("delegation_request", {"tool": "delegate_to_worker_a", "arguments": {"task": "x"}}, _ASKED),
            ("delegation_request", {"tool": "delegate_to_worker_a", "arguments": {"task": "y"}}, _ASKED),
            (
                "delegation_response",
                {"tool": "delegate_to_worker_a", "result": "done"},
                {**_ASKED, "outcome": "success", "protocol": "local", "session_id": "w"},
            ),
            (
                "delegation_response",
                {"tool": "delegate_to_worker_a", "result": "late"},
                {**_ASKED, "outcome": "failed"},
            ),
        ]
        others = [event for event in await memory.get_events("s") if event.event_type not in types]
        assert [event.event_type for event in others] == ["tool_call", "tool_result"]

    async def test_what_was_added_before_a_run_is_before_it(self, memory: Memory) -> None:
        await memory.annotate("s", [note("first", minute=0)])
        await append(memory, "s", exchange("one", minute=1))
        await memory.annotate("s", [note("second", minute=2), note("third", minute=2)])
        await append(memory, "s", exchange("two", minute=3))
        assert await contents(memory, "s") == ["first", "one", "re: one", "second", "third", "two", "re: two"]

    async def test_what_was_added_during_a_run_is_among_its_events(self, memory: Memory) -> None:
        async with memory.open_session("s") as session:
            await memory.annotate("s", [note("asked", minute=1)])
            await memory.annotate("s", [note("done", minute=9)])
            request, *_, answer = exchange("one", minute=0)
            answer = ModelResponse([TextPart("re: one")], run_id="run-one", timestamp=START + timedelta(minutes=5))
            await session.append([request, answer])
        await append(memory, "s", exchange("two", minute=6))
        assert await contents(memory, "s") == ["one", "asked", "re: one", "done", "two", "re: two"]

    async def test_a_clock_that_ran_backwards_puts_no_run_before_an_earlier_one(self, memory: Memory) -> None:
        await append(memory, "s", exchange("one", minute=50, tools=1))
        await append(memory, "s", exchange("two", minute=40))
        await memory.annotate("s", [note("note", minute=30)])
        await append(memory, "s", exchange("three", minute=20))
        await memory.annotate("s", [note("last", minute=0)])
        assert await contents(memory, "s") == [
            *("one", "tool_call", "tool_result", "re: one"),
            *("two", "re: two"),
            *("three", "re: three", "note", "last"),
        ]

    async def test_events_of_the_same_time_keep_their_order(self, memory: Memory) -> None:
        for text in "abc":
            await append(memory, "s", exchange(text), [note(f"{text}{number}", minute=0) for number in "123"])
        expected = [[text, f"re: {text}", f"{text}1", f"{text}2", f"{text}3"] for text in "abc"]
        events = await memory.get_events("s")
        spoken = [event.content for event in events if event.event_type != "note"]
        assert spoken == [content for texts in expected for content in texts[:2]]
        notes = [event.content for event in events if event.event_type == "note"]
        assert notes == [content for texts in expected for content in texts[2:]]

    @pytest.mark.parametrize("seed", [1, 2, 3])
    async def test_no_part_of_a_log_is_lost_or_doubled(self, memory: Memory, seed: int) -> None:
        choose = random.Random(seed)  # noqa: S311 - to be the same each time is what it is for
        backwards = seed > 1
        minute = 0.0
        said: list[str] = []
        added: list[tuple[str, int]] = []  # and how many runs there were

        def later() -> float:
            nonlocal minute
            minute += choose.choice([-30, -1, 0, 1] if backwards else [0, 1])
            return minute

        async def annotate() -> None:
            notes = [note(f"n{len(added) + index}", minute=later()) for index in range(choose.choice([1, 1, 2, 9]))]
            await memory.annotate("s", notes)
            added.extend((event.content, len(said)) for event in notes)

        for number in range(12):
            for _ in range(choose.choice([0, 0, 1, 3])):
                await annotate()
            async with memory.open_session("s", limit=1) as session:
                messages = exchange(f"m{number}", minute=later(), tools=choose.choice([0, 0, 1, 4]))
                if choose.random() < 0.3:
                    await annotate()
                errors = [note(f"e{number}", minute=later())] if choose.random() < 0.2 else []
                await session.append(messages, errors)
            said.append(f"m{number}")
            added.extend((error.content, len(said)) for error in errors)
        everything = await check_pages(memory, "s", choose)
        assert [event.content for event in everything if event.event_type == "user_message"] == said
        notes = [event.content for event in everything if event.event_type == "note"]
        assert notes == [content for content, _ in added]
        order = [event.content for event in everything]
        for content, runs in added:  # after all runs that were over then, and before all that began after the next
            earlier, later_on = said[:runs], said[runs + 1 :]
            assert all(order.index(text) < order.index(content) for text in earlier)
            assert all(order.index(text) > order.index(content) for text in later_on)

    async def test_events_of_all_sessions_are_the_newest_of_all(self, memory: Memory) -> None:
        for number in range(5):
            await append(memory, f"s{number}", exchange(f"m{number}", minute=number))
        everything = await memory.get_events()
        assert [event.content for event in everything if event.event_type == "user_message"] == [
            f"m{number}" for number in range(5)
        ]
        assert await memory.get_events(limit=3) == everything[-3:]
        assert await memory.get_events(limit=3, before=everything[5].event_id) == everything[2:5]

    @pytest.mark.parametrize("seed", [1, 2])
    async def test_no_event_of_any_session_is_lost_or_doubled(self, memory: Memory, seed: int) -> None:
        choose = random.Random(seed)  # noqa: S311 - to be the same each time is what it is for
        minute = 0.0
        for number in range(25):
            minute += choose.choice([-3, 0, 1] if seed > 1 else [0, 1])
            session_id = f"s{choose.randrange(6)}"
            if choose.random() < 0.4:
                await memory.annotate(session_id, [note(f"n{number}", minute=minute)])
            else:
                await append(memory, session_id, exchange(f"m{number}", minute=minute))
        everything = await check_pages(memory, None, choose)
        for session_id in await memory.list_sessions():
            own = await memory.get_events(session_id)
            assert [event for event in everything if event in own] == own

    async def test_what_happens_now_is_found_among_what_happened_before(self, memory: Memory) -> None:
        for number in range(6):
            at = datetime.now(UTC)
            messages: list[ModelMessage] = [ModelRequest([UserPromptPart(f"m{number}", timestamp=at)], run_id="r")]
            await append(memory, f"s{number % 3}", messages, annotations=[note(f"n{number}")])
        expected = [f"{kind}{number}" for number in range(6) for kind in "mn"]
        assert await contents(memory) == expected
        for limit in range(1, 13):
            assert await contents(memory, limit=limit) == expected[-limit:]

    async def test_events_of_some_types_are_found_among_many_others(self, memory: Memory) -> None:
        await memory.add_event("s", "note", "old")
        for number in range(40):
            await append(memory, "s", exchange(f"m{number}", minute=number))
        await append(memory, "t", exchange("other"))
        assert await contents(memory, types=["note"], limit=1) == ["old"]
        assert await contents(memory, "s", types=["note"], limit=1) == ["old"]

    async def test_a_context_is_what_user_and_agent_said(self, memory: Memory) -> None:
        await append(memory, "s", exchange("one", tools=1), annotations=[note("no matter")])
        await append(memory, "s", exchange("two", minute=1))
        assert await memory.build_conversation_context("s", max_events=3) == "Agent: re: one\nUser: two\nAgent: re: two"
        assert await memory.build_conversation_context("s", max_events=0) == ""
        assert len((await memory.build_conversation_context("s")).splitlines()) == 4

    async def test_added_events_are_no_messages_and_leave_the_record_alone(self, memory: Memory) -> None:
        conversation = await save(memory, "s", "x")
        before = await recorded(memory, "s")
        await memory.add_event("s", "note", "y")
        assert await recorded(memory, "s") == before
        assert len(await history(memory, "s")) == 2
        await memory.save(conversation)

    async def test_an_event_comes_back_as_it_was_made(self, memory: Memory) -> None:
        content = {"a": [1, 2.5, None, "grüße 🦉 \u0000 \u2028"]}
        event = memory.create_event("my own word", content, {"by": {"b": True}})
        expected = event.to_dict()
        await memory.store_event("s", event)
        content["a"].clear()
        event.metadata.clear()
        [stored] = await memory.get_events("s")
        assert stored.to_dict() == expected
        assert stored.timestamp.tzinfo is not None
        added = await memory.add_event("s", "thing", {"at": START, "set": {1}, "thing": object}, {"e": ValueError("x")})
        [_, stored] = await memory.get_events("s")
        assert stored.to_dict() == added.to_dict()
        assert stored.event_id == added.event_id

    async def test_a_session_can_begin_with_an_event_or_with_nothing(self, memory: Memory) -> None:
        assert await memory.create_session("s") == "s"
        assert (await loaded(memory, "s")).messages == []
        await memory.add_event("t", "note", "x")
        assert (await recorded(memory, "t")).head_id is None
        made = await memory.create_session()
        assert set(await memory.list_sessions()) == {"s", "t", made}
        conversation = await loaded(memory, "t")
        conversation.messages.extend(exchange("one"))
        await memory.save(conversation)
        assert await contents(memory, "t") == ["one", "re: one", "x"]

    async def test_to_create_a_session_that_exists_changes_nothing(self, memory: Memory) -> None:
        await append(memory, "s", exchange("one"))
        await append(memory, "t", exchange("one"))
        before = await recorded(memory, "s")
        await memory.create_session("s")
        await memory.annotate("s", [])
        assert await recorded(memory, "s") == before
        assert await memory.list_sessions() == ["t", "s"]

    async def test_added_events_stay_with_their_session_and_not_with_its_forks(self, memory: Memory) -> None:
        conversation = await save(memory, "s", "one", "two")
        await memory.add_event("s", "note", "x")
        await memory.fork("s", new_conversation_id="f")
        await memory.branch("s", at=2, expected_revision=conversation.revision)
        assert await contents(memory, "f", types=["note"]) == []
        assert await contents(memory, "s", types=["note"]) == ["x"]
        await append(memory, "s", exchange("three"))
        assert await contents(memory, "s", types=["user_message"]) == ["one", "three"]

    async def test_events_added_at_once_are_all_there(self, memory: Memory) -> None:
        async with asyncio.timeout(20):
            await asyncio.gather(*(memory.add_event("s", "note", f"n{number}") for number in range(40)))
        assert sorted(await contents(memory, "s")) == sorted(f"n{number}" for number in range(40))
