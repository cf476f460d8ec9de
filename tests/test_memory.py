"""LocalMemory: what is particular to it. What it shares with every memory is in the contracts."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from pydantic_ai.conversation_store import ConversationEntry, ConversationRecord
from pydantic_ai.messages import ModelRequest, UserPromptPart

from pais_sdk import LocalMemory
from pais_sdk.memory.contract.exchanges import append, exchange, history, said, save
from pais_sdk.memory.recency import Recency

pytestmark = pytest.mark.anyio


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time that passes in a memory, in seconds; the test moves it."""
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    monkeypatch.setattr(time, "time_ns", lambda: int(now[0] * 1e9))
    return now


class TestWhatIsLeft:
    """A process that runs for months keeps what its limits say, and nothing else."""

    async def test_nothing_is_left_of_what_is_deleted(self) -> None:
        memory = LocalMemory()
        await append(memory, "s", exchange("x", tools=3))
        await memory.fork("s", at=2, new_conversation_id="f")
        conversation = await save(memory, "f", "y")
        await memory.branch("f", at=1, expected_revision=conversation.revision)
        await save(memory, "f", "z")
        await memory.delete_session("s")
        await memory.delete_session("f")
        assert (len(memory._shelf), len(memory._shelf.chains)) == (0, 0)
        assert not memory._shelf._orders
        assert not memory._locks._held

    async def test_nothing_is_left_of_messages_that_no_session_reaches(self) -> None:
        memory = LocalMemory()
        entries = [ConversationEntry(id=f"e{number}", parent_id=None, message=exchange("x")[0]) for number in range(3)]
        record = ConversationRecord(conversation_id="s", head_id="e0")
        await memory.write_record(record, new_entries=entries, expected_revision=None)
        assert len(memory._shelf.chains) == 1
        with pytest.raises(LookupError):
            await memory.read_entry("e1")

    async def test_messages_that_come_twice_are_stored_once(self) -> None:
        memory = LocalMemory()
        entry = ConversationEntry(id="e", parent_id=None, message=exchange("x")[0])
        for name in ("s", "t"):
            record = ConversationRecord(conversation_id=name, head_id="e")
            await memory.write_record(record, new_entries=[entry], expected_revision=None)
        await memory.delete("s")
        assert len(await history(memory, "t")) == 1
        await memory.delete("t")
        assert len(memory._shelf.chains) == 0

    async def test_nothing_is_left_of_ten_thousand_sessions_that_came_and_went(self) -> None:
        memory = LocalMemory(max_sessions=10, max_session_messages=10)
        for number in range(10_000):
            await memory.scoped(f"user{number % 300}").add_event(f"s{number % 7000}", "note", "x")
        assert len(memory._shelf) == 10
        orders = memory._shelf._orders.values()
        assert sum(len(order) for order in orders) == 10
        assert sum(len(order._log) for order in orders) <= 10 * (2 + 64)

    async def test_sessions_that_expired_go_without_being_asked_for(self, clock: list[float]) -> None:
        memory = LocalMemory(ttl_s=10)
        await append(memory, "kept", exchange("x"))
        await append(memory, "stateless", exchange("x"), ttl_s=5)
        clock[0] += 6
        await append(memory, "kept", exchange("y"))
        assert list(await memory.list_sessions()) == ["kept"]
        clock[0] += 11
        await append(memory, "new", exchange("z"))
        assert list(memory._shelf._sessions) == ["new"]
        assert len(memory._shelf.chains) == 2

    async def test_a_session_that_was_held_longer_than_it_is_kept_goes_when_it_is_free(
        self, clock: list[float]
    ) -> None:
        memory = LocalMemory(ttl_s=10)
        await append(memory, "s", exchange("x"))
        async with memory.open_session("s"):
            clock[0] += 60
            assert await said_without_holding(memory, "s") == ["x"]
        assert await memory.load("s") is None
        assert len(memory._shelf) == 0


class TestWhatItCosts:
    """Nothing that is done for one run grows with what is stored."""

    async def test_a_page_looks_only_at_its_own_sessions(self, monkeypatch: pytest.MonkeyPatch) -> None:
        memory = LocalMemory(max_sessions=None)
        for number in range(5000):
            await memory.create_session(f"s{number}")
        looks = counting(monkeypatch, memory._shelf, "get")
        first = await memory.list_sessions(limit=10)
        await memory.list_sessions(limit=10, cursor=first.next)
        assert len(looks) == 22

    async def test_what_a_fork_shares_is_not_looked_at_in_every_run(self, monkeypatch: pytest.MonkeyPatch) -> None:
        memory = LocalMemory(max_session_messages=80)
        await append(memory, "s", [message for number in range(41) for message in exchange(f"m{number}")])
        await memory.fork("s", new_conversation_id="f")
        tries = counting(monkeypatch, memory._shelf.chains, "trim")
        for number in range(20):
            await append(memory, "s", exchange(f"n{number}"))
        assert 2 <= len(tries) <= 5
        assert len(await history(memory, "s")) == 122

    async def test_a_session_whose_fork_is_far_behind_is_trimmed(self) -> None:
        memory = LocalMemory(max_session_messages=8)
        await append(memory, "s", [*exchange("one"), *exchange("two")])
        await memory.fork("s", new_conversation_id="f")
        for number in range(20):
            await append(memory, "s", exchange(f"n{number}"))
        assert len(await history(memory, "s")) <= 10
        assert await said(memory, "f") == ["one", "two"]
        await memory.delete_session("f")
        assert len(memory._shelf.chains) <= 10


class TestOrder:
    """Sessions are in the order of their use, whatever the clock does."""

    async def test_a_clock_that_stands_or_goes_back_changes_no_order(self, clock: list[float]) -> None:
        memory = LocalMemory()
        for name in "abc":
            await memory.create_session(name)
        clock[0] -= 500
        for name in "dae":
            await memory.add_event(name, "note", "x")
        page = await memory.list_sessions(limit=2)
        assert page == ["e", "a"]
        assert await memory.list_sessions(cursor=page.next) == ["d", "c", "b"]

    def test_a_walk_is_that_of_a_sorted_list(self) -> None:
        choose = random.Random(1)  # noqa: S311 - to be the same each time is what it is for
        order = Recency()
        expected: dict[str, int] = {}
        for used_us in range(1, 3000):
            name = f"s{choose.randrange(40)}"
            if name in expected and choose.random() < 0.3:
                order.drop(name)
                del expected[name]
            else:
                order.use(name, used_us)
                expected[name] = used_us
            if used_us % 50 == 0:
                walk = sorted(((used, name) for name, used in expected.items()), reverse=True)
                assert list(order.newest()) == walk
                assert list(order.oldest()) == walk[::-1]
                assert len(order) == len(walk)
                for place in walk:
                    assert list(order.newest(place)) == [other for other in walk if other < place]


async def test_a_message_of_a_models_own_class_is_stored_as_a_message() -> None:
    class Special(ModelRequest):
        pass

    memory = LocalMemory()
    await append(memory, "s", [Special([UserPromptPart("hi")], run_id="r")])
    assert await said(memory, "s") == ["hi"]


async def said_without_holding(memory: LocalMemory, session_id: str) -> list[Any]:
    return [event.content for event in await memory.get_events(session_id, types=["user_message"])]


def counting(monkeypatch: pytest.MonkeyPatch, owner: object, name: str) -> Sequence[object]:
    """Return a list that grows with every call of a method."""
    calls: list[object] = []
    method: Callable[..., Any] = getattr(owner, name)

    def counted(*arguments: Any) -> Any:
        calls.append(arguments)
        return method(*arguments)

    monkeypatch.setattr(owner, name, counted)
    return calls
