"""What a memory promises of the list of its sessions."""

from __future__ import annotations

import random

import pytest

from ...errors import InvalidRequestError
from ..base import Memory
from .conversations import loaded
from .exchanges import append, exchange, save


class Lists:
    """Sessions are listed by their last use, in pages that stay right while sessions come and go."""

    async def test_sessions_are_listed_by_their_last_use_and_in_pages(self, memory: Memory) -> None:
        for number in range(5):
            await append(memory, f"s{number}", exchange("m"))
        await append(memory, "s0", exchange("again"))
        first = await memory.list_sessions(limit=2)
        second = await memory.list_sessions(limit=2, cursor=first.next)
        third = await memory.list_sessions(limit=2, cursor=second.next)
        assert [*first, *second, *third] == ["s0", "s4", "s3", "s2", "s1"]
        assert third.next is None
        whole = await memory.list_sessions(limit=5)
        assert whole == [*first, *second, *third]
        assert whole.next is None

    async def test_every_write_is_a_use_and_no_read_is_one(self, memory: Memory) -> None:
        for name in "abcd":
            await memory.create_session(name)
        assert await memory.list_sessions() == ["d", "c", "b", "a"]
        await memory.add_event("a", "note", "x")
        await save(memory, "b", "x")
        await append(memory, "c", exchange("x"))
        await memory.branch("b", at=0, expected_revision=(await loaded(memory, "b")).revision)
        expected = ["b", "c", "a", "d"]
        assert await memory.list_sessions() == expected
        for name in "abcd":
            await memory.load(name)
            await memory.get_events(name)
            async with memory.open_session(name, limit=1):
                pass
        assert await memory.list_sessions() == expected

    async def test_a_page_says_when_its_sessions_were_used(self, memory: Memory) -> None:
        for name in "abc":
            await append(memory, name, exchange("m"))
        page = await memory.list_sessions(limit=2)
        if page.used:
            assert len(page.used) == 2
            assert page.used[0] >= page.used[1]
            assert all(used.tzinfo is not None for used in page.used)

    @pytest.mark.parametrize("seed", [1, 2, 3])
    async def test_a_walk_loses_no_session_while_others_are_used(self, memory: Memory, seed: int) -> None:
        choose = random.Random(seed)  # noqa: S311 - to be the same each time is what it is for
        names = [f"s{number}" for number in range(12)]
        for name in names:
            await append(memory, name, exchange("m"))
        touched: set[str] = set()
        deleted: set[str] = set()
        walked: list[str] = []
        cursor: str | None = None
        while True:
            page = await memory.list_sessions(limit=choose.randint(1, 4), cursor=cursor)
            assert not deleted & set(page)
            walked += page
            cursor = page.next
            if cursor is None:
                break
            name = choose.choice([*names, page[-1]])
            match choose.choice(["use", "delete", "create"]):
                case "use" if name not in deleted:
                    await append(memory, name, exchange("again"))
                    touched.add(name)
                case "delete":
                    await memory.delete_session(name)
                    deleted.add(name)
                case _:
                    await memory.create_session(f"new{len(walked)}")
        assert len(set(walked)) == len(walked)
        assert [name for name in walked if name not in touched | deleted] == [
            name for name in reversed(names) if name not in touched | deleted
        ] or deleted & set(walked)
        assert set(names) - touched - deleted <= set(walked)

    @pytest.mark.parametrize("cursor", ["made up", "", "1", "1~", "~s", "x~s", "1~no/slash", "1~s~t", "-1~s", "9" * 40])
    async def test_a_made_up_cursor_is_refused(self, memory: Memory, cursor: str) -> None:
        await memory.create_session("s")
        with pytest.raises(InvalidRequestError, match="cursor"):
            await memory.list_sessions(cursor=cursor)

    async def test_a_cursor_outlives_its_session(self, memory: Memory) -> None:
        for name in "abc":
            await memory.create_session(name)
        page = await memory.list_sessions(limit=1)
        await memory.delete_session("c")
        assert await memory.list_sessions(cursor=page.next) == ["b", "a"]
        assert await memory.scoped("other").list_sessions(cursor=page.next) == []
