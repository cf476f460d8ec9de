"""RedisMemory: its keys, and what it costs Redis."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from anyio import fail_after
from pydantic_ai.conversation_store import ConversationConflict, ConversationEntry, ConversationRecord
from pydantic_ai.usage import RunUsage
from redis.asyncio import Redis

from pais_sdk import ConfigurationError, InvalidRequestError, MemoryUnavailableError, SessionBusyError
from pais_sdk.memory.contract.exchanges import append, exchange, said
from pais_sdk.memory.redis import RedisMemory

from .agents import user_texts
from .redis_server import RedisServer
from .redis_stores import family, keys
from .redis_stores import fresh_server as fresh_server
from .redis_stores import redis_client as redis_client
from .redis_stores import redis_memory as redis_memory

pytestmark = pytest.mark.anyio


class TestKeys:
    async def test_all_keys_are_in_one_slot_and_live_for_a_while_after_every_kind_of_write(
        self, server: RedisServer, memory: RedisMemory, redis: Any
    ) -> None:
        async def check() -> None:
            for key in await redis.keys("*"):
                assert key.startswith(b"{pais}:")
                assert 0 < await redis.pttl(key) <= (604_800 + 7200) * 1000, key

        await memory.create_session("empty")
        await check()
        await memory.add_event("s", "note", "x")
        await check()
        async with memory.open_session("s") as session:
            with pytest.raises(SessionBusyError):
                async with memory.open_session("s", wait_s=0.01):
                    pass
            async with RedisMemory.from_url(server.url) as other:
                with pytest.raises(SessionBusyError):
                    async with other.open_session("s", on_busy="interrupt", wait_s=0.01):
                        pass
            assert await keys(redis, "l", "r", "k") == ["{pais}:k:s", "{pais}:l:s", "{pais}:r:s"]
            await check()
            await session.append(exchange("one"), [memory.create_event("note", "y")])
        await check()
        await append(memory.scoped("alice"), "s", exchange("two"), ttl_s=1000)
        await check()
        conversation = await memory.fork("s", scope="label")
        await memory.save(conversation, scope="label")
        await check()
        await memory.branch(conversation.conversation_id, at=1, expected_revision=conversation.revision)
        await check()
        await memory.delete("s")
        await check()

    async def test_without_a_time_to_live_only_leases_and_marks_run_out(
        self, server: RedisServer, redis: Redis
    ) -> None:
        async with RedisMemory.from_url(server.url, ttl_s=None) as memory:
            await append(memory, "s", exchange("one"), ttl_s=100)  # and then it is kept for good
            await append(memory, "s", exchange("two"), annotations=[memory.create_event("note", "x")])
            assert await keys(redis) == [
                f"{{pais}}:{kind}" for kind in ("c:s", await family(redis, "s"), "i", "n:s", "q", "s")
            ]
            assert {await redis.pttl(key) for key in await keys(redis)} == {-1}

    async def test_a_time_to_live_beyond_all_sense_is_none(self, server: RedisServer, redis: Redis) -> None:
        async with RedisMemory.from_url(server.url, ttl_s=None) as memory:
            await append(memory, "s", exchange("one"), ttl_s=1e300)
            assert await redis.pttl("{pais}:c:s") == -1

    async def test_what_sessions_share_outlives_each_of_them(self, memory: RedisMemory, redis: Any) -> None:
        await append(memory, "s", exchange("one"))
        await memory.fork("s", new_conversation_id="fork")
        shared = [f"{{pais}}:{kind}" for kind in ("i", "s", "q", "x", "d", await family(redis, "s"))]
        for passed_s in (60, 1800, 600_000):  # nobody has written for so long
            for key in await redis.keys("*"):
                await redis.pexpire(key, await redis.pttl(key) - passed_s * 1000)
            await append(memory, "s", exchange("two"))
            lives = await redis.pttl("{pais}:c:s")
            for key in shared:
                assert await redis.pttl(key) >= lives - 1000, key

    async def test_nothing_is_left_of_what_redis_dropped_by_itself(self, server: RedisServer, redis: Redis) -> None:
        async with RedisMemory.from_url(server.url, ttl_s=None) as memory:
            await append(memory.scoped("alice"), "s", exchange("one"))
            before = {key: await redis.type(key) for key in await keys(redis)}
            messages = await redis.hgetall(f"{{pais}}:{await family(redis, 'alice/s')}")
            for session_id in ("fork", "alone"):
                await memory.scoped("alice").fork("s", new_conversation_id=session_id)
                await append(memory.scoped("alice"), session_id, exchange("two"), ttl_s=1000)
                assert await redis.pttl("{pais}:d") == await redis.pttl("{pais}:x") == -1
                await redis.delete(f"{{pais}}:c:alice/{session_id}")  # as Redis does it in the end
                await redis.zadd("{pais}:x", {f"alice/{session_id}": 1})
            await append(memory.scoped("alice"), "alone", exchange("again"))  # it replaces what is left of another
            await memory.scoped("alice").delete_session("alone")
            assert {key: await redis.type(key) for key in await keys(redis)} == before
            assert await redis.hgetall(f"{{pais}}:{await family(redis, 'alice/s')}") == messages
            assert await redis.zcard("{pais}:i:alice") == await redis.zcard("{pais}:s:alice") == 1

    async def test_nothing_is_left_of_what_was_deleted(self, memory: RedisMemory, redis: Redis) -> None:
        await append(memory, "s", exchange("one"), annotations=[memory.create_event("note", "x")])
        await memory.fork("s", new_conversation_id="fork", scope="label")
        await append(memory.scoped("alice"), "s", exchange("two"))
        await memory.delete_session("s")
        assert len(await redis.hgetall(f"{{pais}}:{await family(redis, 'fork')}")) == 2 * 2 + 3  # and counters
        await memory.delete("fork")
        await memory.scoped("alice").delete_session("s")
        assert await keys(redis) == []

    async def test_a_record_that_was_deleted_can_be_written_again(self, memory: RedisMemory) -> None:
        record = ConversationRecord(conversation_id="s", head_id=None)
        for _ in range(2):
            await memory.write_record(record, expected_revision=None)
            assert await memory.list_sessions() == ["s"]
            await memory.delete("s")
            assert await memory.list_sessions() == []

    async def test_a_write_is_known_again_by_more_than_its_revision(self, memory: RedisMemory) -> None:
        record = ConversationRecord(conversation_id="s", head_id=None)
        await memory.write_record(record, expected_revision=None)
        with pytest.raises(ConversationConflict):
            await memory.write_record(record, expected_revision=None)
        await memory.write_record(replace(record, scope="label"), expected_revision=record.revision)
        assert [found.conversation_id for found in await memory.read_records(scope="label")] == ["s"]
        await memory.write_record(replace(record, conversation_id="copy"), expected_revision=None)
        assert await memory.list_sessions() == ["copy", "s"]

    async def test_an_id_or_label_that_cannot_be_sent_is_refused(self, server: RedisServer, redis: Redis) -> None:
        async with RedisMemory(redis) as given, RedisMemory.from_url(server.url) as memory:
            for one in (given, memory):
                with pytest.raises(InvalidRequestError, match="surrogate"):
                    await one.read_record("\ud800")
                with pytest.raises(InvalidRequestError, match="surrogate"):
                    await one.read_records(scope="\ud800")
                with pytest.raises(InvalidRequestError, match="surrogate"):
                    await one.read_history("\ud800")

    async def test_prefixes_keep_memories_apart(self, server: RedisServer) -> None:
        async with (
            RedisMemory.from_url(server.url, prefix="one") as one,
            RedisMemory.from_url(server.url, prefix="two") as two,
        ):
            await append(one, "s", exchange("one"))
            assert await two.list_sessions() == []
            async with one.open_session("s"), two.open_session("s", on_busy="reject") as session:
                assert not session.exists
        for prefix in ("", "a{b}"):
            with pytest.raises(ConfigurationError, match="prefix"):
                RedisMemory.from_url(server.url, prefix=prefix)


class TestCost:
    async def test_a_run_is_two_commands_and_no_call_asks_for_all_keys(self, memory: RedisMemory, redis: Redis) -> None:
        async def calls() -> int:
            stats = await redis.info("commandstats")
            assert not {"cmdstat_keys", "cmdstat_scan", "cmdstat_hscan", "cmdstat_zscan"} & stats.keys()
            return stats["cmdstat_evalsha"]["calls"]

        await append(memory, "s", exchange("one"))  # the first time, scripts are sent
        before = await calls()
        async with memory.open_session("s", limit=20) as session:
            assert len(session.history) == 2
            assert await calls() == before + 1
            await session.append(exchange("two"), [memory.create_event("note", "x")], usage=RunUsage(requests=1))
        assert await calls() == before + 2
        await memory.get_events(limit=10)
        await memory.fork("s")
        await memory.list_conversations()
        await memory.delete("s")
        await calls()

    async def test_a_long_history_comes_in_pieces(self, memory: RedisMemory, redis: Redis) -> None:
        for start in range(0, 1250, 250):
            messages = [message for number in range(start, start + 250) for message in exchange(f"m{number}")]
            await append(memory, "s", messages)
        expected = [f"m{number}" for number in range(1250)]
        assert await said(memory, "s") == expected
        async with memory.open_session("s", limit=1501) as session:
            assert user_texts(session.history) == expected[-751:]
        conversation = await memory.load("s")
        assert conversation is not None
        assert user_texts(conversation.messages) == expected
        assert [event.content for event in await memory.get_events("s", types=["user_message"])] == expected
        assert (await redis.info("commandstats"))["cmdstat_hmget"]["calls"] > 9

    async def test_a_large_fork_is_dropped_whole_though_not_at_once(self, memory: RedisMemory, redis: Redis) -> None:
        await append(memory, "s", exchange("one"))
        before = await redis.hgetall(f"{{pais}}:{await family(redis, 's')}")
        await memory.fork("s", new_conversation_id="fork")
        for _ in range(5):
            await append(memory, "fork", exchange("many") * 500)
        await memory.delete("fork")
        assert await redis.hgetall(f"{{pais}}:{await family(redis, 's')}") == before
        assert await keys(redis, "g") == []

    async def test_a_list_goes_on_through_more_sessions_of_one_time_than_are_looked_at_at_once(
        self, memory: RedisMemory, redis: Redis
    ) -> None:
        when = datetime(2024, 1, 1, tzinfo=UTC)
        names = [f"s{number}" for number in range(1100)]
        for name in names:
            record = ConversationRecord(conversation_id=name, head_id=None, updated_at=when)
            await memory.write_record(record, expected_revision=None)
        await redis.zadd("{pais}:s", dict.fromkeys(names, 1_700_000_000_000_000))
        expected = sorted(names, reverse=True)
        with fail_after(5):
            assert [record.conversation_id for record in await memory.read_records()] == expected
            first = await memory.list_sessions(limit=1050)
            assert first == expected[:1050]
            assert await memory.list_sessions(cursor=first.next) == expected[1050:]
            await memory.delete(first[-1])
            assert await memory.list_sessions(cursor=first.next) == expected[1050:]

    async def test_what_has_expired_pushes_out_nothing_that_lives(self, server: RedisServer) -> None:
        async with RedisMemory.from_url(server.url, ttl_s=None, max_sessions=30) as memory:
            for number in range(3):
                await append(memory, f"old{number}", exchange("one"))
            for number in range(27):
                await append(memory, f"s{number}", exchange("one"), ttl_s=0.05)
            with fail_after(5):
                while len(await memory.list_sessions()) > 3:
                    await asyncio.sleep(0)
            for number in range(27):
                await append(memory, f"new{number}", exchange("two"))
            assert len(await memory.list_sessions()) == 30
            await append(memory, "more", exchange("three"))
            left = await memory.list_sessions()
            assert (len(left), left[-1]) == (30, "old1")

    async def test_sessions_that_are_held_are_passed_over_once_where_many_are_to_go(
        self, server: RedisServer, memory: RedisMemory, redis: Redis
    ) -> None:
        for number in range(300):
            await memory.create_session(f"s{number}")
        await redis.mset({f"{{pais}}:l:s{number}": "a token" for number in range(200)})
        await redis.config_resetstat()
        async with RedisMemory.from_url(server.url, max_sessions=210) as lower:
            await lower.create_session("s")
        assert await redis.zcard("{pais}:i") == 210
        assert (await redis.info("commandstats"))["cmdstat_exists"]["calls"] < 1000

    async def test_what_has_expired_is_dropped_by_later_writes(self, server: RedisServer, redis: Redis) -> None:
        async with (
            RedisMemory.from_url(server.url, ttl_s=0.05) as brief,
            RedisMemory.from_url(server.url, ttl_s=None) as lasting,
        ):
            for number in range(25):
                await append(brief, f"s{number}", exchange("one"))
            with fail_after(5):
                while await brief.list_sessions():
                    await asyncio.sleep(0)
            for _ in range(3):
                await append(lasting, "s", exchange("two"))
            assert await keys(redis, "c", "f", "x") == ["{pais}:c:s", f"{{pais}}:{await family(redis, 's')}"]
            assert await redis.zcard("{pais}:s") == await redis.zcard("{pais}:i") == 1


class TestMessagesAndTheirFamilies:
    async def test_a_message_is_found_by_its_plain_id(self, memory: RedisMemory) -> None:
        await append(memory, "other", exchange("other"))
        conversation = await memory.load("other")
        assert conversation is not None
        conversation.messages.extend(exchange("new"))
        saved = await memory.save(conversation)
        entry = await memory.read_entry(str(saved[1].id))
        assert (entry.id, entry.parent_id) == (saved[1].id, saved[0].id)
        for number in range(600):  # more than are looked through at once
            await memory.create_session(f"s{number}")
        assert len(await memory.read_history(saved[1].id)) == 4
        with pytest.raises(LookupError):
            await memory.read_entry("nothing")

    async def test_a_fork_that_names_its_messages_by_plain_ids_shares_them(
        self, memory: RedisMemory, redis: Redis
    ) -> None:
        await append(memory, "s", exchange("one"))
        entries = await memory.load_entries("s")
        assert entries is not None
        head = str(entries[-1].id)
        await memory.write_record(ConversationRecord(conversation_id="at", head_id=head), expected_revision=None)
        entry = ConversationEntry(parent_id=head, message=exchange("more")[0])
        after = ConversationRecord(conversation_id="after", head_id=entry.id)
        await memory.write_record(after, new_entries=[entry], expected_revision=None)
        assert len(await keys(redis, "f")) == 1
        assert await said(memory, "at") == ["one"]
        assert await said(memory, "after") == ["one", "more"]
        await memory.delete("s")
        await memory.delete("after")
        assert await said(memory, "at") == ["one"]
        gone = ConversationRecord(conversation_id="gone", head_id=entry.id)
        with pytest.raises(ConversationConflict):
            await memory.write_record(gone, expected_revision=None)

    async def test_messages_that_the_server_has_evicted_are_an_error_and_no_empty_history(
        self, memory: RedisMemory, redis: Redis
    ) -> None:
        await append(memory, "s", exchange("one"))
        await redis.delete(f"{{pais}}:{await family(redis, 's')}")
        for _ in range(2):  # it is not left held
            with pytest.raises(MemoryUnavailableError, match="evicted"):
                async with memory.open_session("s", on_busy="reject"):
                    pass
        with pytest.raises(MemoryUnavailableError, match="evicted"):
            await memory.get_events("s")
        with pytest.raises(MemoryUnavailableError, match="evicted"):
            await append(memory, "s", exchange("two"))
        await memory.delete_session("s")

    async def test_a_message_after_one_that_is_not_there_is_no_first_message(self, memory: RedisMemory) -> None:
        await append(memory, "s", exchange("one"))
        await append(memory, "other", exchange("other"))
        record, other = await memory.read_record("s"), await memory.read_record("other")
        assert record is not None and other is not None
        after = ConversationEntry(parent_id=record.head_id, message=exchange("two")[0])
        moved = replace(other, head_id=after.id)
        with pytest.raises(ConversationConflict):
            await memory.write_record(moved, new_entries=[after], expected_revision=other.revision)
        await memory.delete("s")
        with pytest.raises(ConversationConflict):
            await memory.write_record(
                replace(moved, conversation_id="fork"), new_entries=[after], expected_revision=None
            )
        assert await said(memory, "other") == ["other"]
        assert await memory.list_sessions() == ["other"]
