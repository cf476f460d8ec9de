"""What a memory promises of how much it keeps, and how long."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from ...errors import ConfigurationError
from ..base import Memory
from .conversations import loaded
from .events import check_pages, contents, note
from .exchanges import append, eventually, exchange, history, said, save, user_texts

TTL_S = 0.4

CreateMemory = Callable[..., Memory]


async def append_each(memory: Memory, session_ids: Sequence[str]) -> None:
    """Store a run in one session after another."""
    for session_id in session_ids:
        await append(memory, session_id, exchange("x"))


class Limits:
    """The least recently used sessions and the oldest messages go first, never what is in use or shared."""

    async def test_the_least_recently_used_session_goes_first(self, create_memory: CreateMemory) -> None:
        memory = create_memory(max_sessions=3)
        await append_each(memory, "abc")
        await memory.add_event("a", "note", "x")
        await memory.create_session("d")
        assert await memory.list_sessions() == ["d", "a", "c"]
        await save(memory, "c", "y")
        await memory.fork("c", new_conversation_id="e")
        assert await memory.list_sessions() == ["e", "c", "d"]
        assert await memory.load("a") is None
        assert await memory.get_events("b") == []
        assert await said(memory, "e") == ["x", "y"]

    async def test_a_session_that_is_held_stays(self, create_memory: CreateMemory) -> None:
        memory = create_memory(max_sessions=2)
        await append_each(memory, ["held"])
        async with memory.open_session("held"):
            await append_each(memory, "abc")
            assert set(await memory.list_sessions()) == {"held", "c"}
            assert (await loaded(memory, "held")).messages
        await append_each(memory, "d")
        assert await memory.list_sessions() == ["d", "c"]

    async def test_no_scope_pushes_out_the_sessions_of_one_that_has_fewer(self, create_memory: CreateMemory) -> None:
        memory = create_memory(max_sessions=5)
        few, many = memory.scoped("few"), memory.scoped("many")
        await append_each(few, "ab")
        await append_each(many, "cdefghi")
        assert await few.list_sessions() == ["b", "a"]
        assert await many.list_sessions() == ["i", "h", "g"]
        await append_each(few, "j")  # now both have three, and the older of the two oldest goes
        assert await few.list_sessions() == ["j", "b"]
        assert await many.list_sessions() == ["i", "h", "g"]
        await few.delete_session("b")
        await append_each(many, "kl")
        assert await few.list_sessions() == ["j"]
        assert await many.list_sessions() == ["l", "k", "i", "h"]

    async def test_a_fork_outlives_what_it_came_from(self, create_memory: CreateMemory) -> None:
        memory = create_memory(max_sessions=2)
        await append_each(memory, "a")
        await memory.fork("a", new_conversation_id="f")
        await append_each(memory, "b")
        assert await memory.list_sessions() == ["b", "f"]
        assert await said(memory, "f") == ["x"]
        await append(memory, "f", exchange("y"))
        assert await said(memory, "f") == ["x", "y"]

    async def test_old_messages_go_in_whole_runs_with_what_was_added_among_them(
        self, create_memory: CreateMemory
    ) -> None:
        memory = create_memory(max_session_messages=16)
        for number in range(30):
            await memory.annotate("s", [note(f"n{number}", minute=number - 0.5)])
            await append(memory, "s", exchange(f"m{number}", minute=number, tools=1))
            kept = await history(memory, "s")
            assert len(kept) <= 18 + 4
            assert user_texts(kept)[-1] == f"m{number}"
            assert len(kept) == 4 * len(user_texts(kept))
        kept_texts = await said(memory, "s")
        first = 30 - len(kept_texts)
        assert kept_texts == [f"m{number}" for number in range(first, 30)]
        assert len(kept_texts) >= 4
        everything = await check_pages(memory, "s", random.Random(1))  # noqa: S311 - to be the same each time
        seen = [event.content for event in everything if event.event_type in ("user_message", "note")]
        # What was added just before the first run that is kept is not older than it.
        assert seen == [content for number in range(first, 30) for content in (f"n{number}", f"m{number}")]
        log = await memory.read_log("s")
        assert log is not None
        assert (log.start, log.complete) == (4 * first, True)

    async def test_a_trimmed_session_goes_on(self, create_memory: CreateMemory) -> None:
        memory = create_memory(max_session_messages=4)
        for number in range(6):
            await append(memory, "s", exchange(f"m{number}"))
        await save(memory, "s", "saved")
        kept = await history(memory, "s")
        assert user_texts(kept)[-2:] == ["m5", "saved"]
        fork = await memory.fork("s", at=2, new_conversation_id="f")
        assert fork.messages == kept[:2]
        assert user_texts(await history(memory, "s", 1)) == ["saved"]
        await memory.delete_session("s")
        assert len(await history(memory, "f")) == 2

    async def test_one_run_that_is_too_long_is_kept_whole(self, create_memory: CreateMemory) -> None:
        memory = create_memory(max_session_messages=4)
        await append(memory, "s", exchange("old"))
        await append(memory, "s", exchange("long", tools=10))
        assert await said(memory, "s") == ["long"]
        assert len(await history(memory, "s")) == 22
        await append(memory, "s", [*exchange("x"), *exchange("y")])
        assert await said(memory, "s") == ["x", "y"]

    async def test_messages_of_no_run_go_too(self, create_memory: CreateMemory) -> None:
        memory = create_memory(max_session_messages=8)
        for number in range(40):
            await append(memory, "s", [replace(exchange(f"{number}")[0], run_id=None)])
        assert len(await history(memory, "s")) <= 9

    async def test_what_a_fork_shares_is_kept(self, create_memory: CreateMemory) -> None:
        memory = create_memory(max_session_messages=4)
        await append(memory, "s", [*exchange("one"), *exchange("two")])
        await memory.fork("s", new_conversation_id="f")
        for number in range(10):
            await append(memory, "s", exchange(f"m{number}"))
            assert user_texts((await loaded(memory, "f")).messages) == ["one", "two"]
        assert (await said(memory, "s"))[-2:] == ["m8", "m9"]
        await memory.delete_session("s")
        assert user_texts((await loaded(memory, "f")).messages) == ["one", "two"]
        conversation = await save(memory, "f", "three")
        assert user_texts(conversation.messages)[-1] == "three"

    async def test_added_events_are_bounded_too(self, create_memory: CreateMemory) -> None:
        memory = create_memory(max_session_messages=8)
        for number in range(30):
            await memory.annotate("s", [note(f"n{number}-{index}") for index in range(3)])
        notes = await contents(memory, "s")
        assert len(notes) <= 8
        assert notes[-3:] == ["n29-0", "n29-1", "n29-2"]

    @pytest.mark.parametrize("limit", ["max_sessions", "max_session_messages", "ttl_s"])
    async def test_a_limit_that_keeps_nothing_is_refused(self, create_memory: CreateMemory, limit: str) -> None:
        with pytest.raises(ConfigurationError, match=limit):
            create_memory(**{limit: 0})

    async def test_a_session_is_forgotten_when_its_time_is_over(self, create_memory: CreateMemory) -> None:
        memory = create_memory(ttl_s=TTL_S)
        await append(memory, "asked-for-more", exchange("x"), ttl_s=1000)
        await memory.create_session("created")
        await save(memory, "saved", "x")
        await append(memory, "s", exchange("old"), annotations=[note("old")])
        await eventually(lambda: _is_unknown(memory, "s"))
        assert await memory.list_sessions() == []
        assert await memory.list_conversations() == []
        assert await memory.get_events() == []
        for name in ("asked-for-more", "created", "saved", "s"):
            assert await _is_unknown(memory, name)
        assert not await memory.delete_session("saved")
        async with memory.open_session("s") as session:
            assert (session.exists, session.history) == (False, [])
            await memory.add_event("s", "note", "new")
            assert await contents(memory, "s") == ["new"]

    async def test_every_write_renews_the_time_of_a_session_and_a_run_keeps_it(
        self, create_memory: CreateMemory
    ) -> None:
        memory = create_memory(ttl_s=TTL_S)
        async with asyncio.timeout(60):
            while not await _stays_while_used(memory):  # the machine was too slow to tell
                pass

    async def test_sessions_of_callers_who_sent_no_id_go_sooner(self, create_memory: CreateMemory) -> None:
        memory = create_memory(ttl_s=None, stateless_ttl_s=5)
        assert memory.stateless_ttl_s == 5
        assert create_memory(stateless_ttl_s=None).stateless_ttl_s is None
        await append(memory, "kept", exchange("x"), ttl_s=TTL_S)
        await append(memory, "kept", exchange("y"))  # the time of the last write counts
        await append(memory, "for-good", exchange("x"))
        await append(memory, "stateless", exchange("x"), ttl_s=TTL_S)
        await eventually(lambda: _is_unknown(memory, "stateless"))
        assert await memory.list_sessions() == ["for-good", "kept"]


async def _is_unknown(memory: Memory, session_id: str) -> bool:
    gone = await memory.read_log(session_id) is None
    if gone:
        assert await memory.load(session_id) is None
        assert await memory.get_events(session_id) == []
        assert session_id not in await memory.list_sessions()
    return gone


async def _stays_while_used(memory: Memory) -> bool:
    """Use some sessions until another has expired; return False where so much time went by that they may have, too."""
    names = ["annotated", "appended", "held"]
    longest, last = 0.0, time.monotonic()
    await append_each(memory, [*names, "idle"])
    async with memory.open_session("held") as session:
        longest, last = time.monotonic() - last, time.monotonic()
        while await memory.read_log("idle") is not None:
            await memory.add_event("annotated", "note", "x")
            await append(memory, "appended", exchange("y"))
            longest, last = max(longest, time.monotonic() - last), time.monotonic()
            await asyncio.sleep(0.02)
        if longest > TTL_S / 2:
            return False
        assert await memory.read_log("held") is not None
        assert "held" in await memory.list_sessions()
        await session.append(exchange("z"))
    seen = [(await said(memory, name))[:1] for name in names]
    if time.monotonic() - last > TTL_S / 2:
        return False
    assert seen == [["x"]] * 3
    return True
