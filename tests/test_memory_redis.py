"""RedisMemory: what only Redis can get wrong. The general promises are in `test_memory_contract.py`."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from anyio import fail_after
from pydantic_ai.conversation_store import ConversationConflict, ConversationEntry, ConversationRecord
from pydantic_ai.messages import ModelMessage, ModelRequest, ModelResponse, TextPart, UserPromptPart
from pydantic_ai.usage import RunUsage
from redis.asyncio import Redis, RedisCluster

from pais_sdk import ConfigurationError, MemoryUnavailableError, SessionBusyError
from pais_sdk.memory import Memory
from pais_sdk.memory.leases import Lease
from pais_sdk.memory.redis import RedisMemory
from pais_sdk.memory.redis.scripts import ScriptName

from .agents import user_texts
from .redis_server import RedisServer, free_port, redis_server

pytestmark = pytest.mark.anyio


def exchange(text: str) -> list[ModelMessage]:
    """Return the messages of one run."""
    run_id = str(uuid.uuid4())
    return [
        ModelRequest([UserPromptPart(text)], run_id=run_id),
        ModelResponse([TextPart(f"re: {text}")], run_id=run_id),
    ]


async def append(memory: Memory, session_id: str, messages: Sequence[ModelMessage], **options: Any) -> None:
    async with memory.open_session(session_id, limit=0) as session:
        await session.append(messages, **options)


async def said(memory: Memory, session_id: str) -> list[str]:
    async with memory.open_session(session_id) as session:
        return user_texts(session.history)


@pytest.fixture
async def server() -> AsyncGenerator[RedisServer]:
    async with redis_server() as server:
        yield server


@pytest.fixture
async def memory(server: RedisServer) -> AsyncGenerator[RedisMemory]:
    async with RedisMemory.from_url(server.url) as memory:
        yield memory


@pytest.fixture
async def redis(server: RedisServer) -> AsyncGenerator[Redis]:
    async with Redis.from_url(server.url) as redis:
        yield redis


async def family(redis: Any, session_id: str) -> str:
    """Return the key of a session's messages, without its prefix."""
    name = await redis.hget(f"{{pais}}:c:{session_id}", "family")
    assert isinstance(name, bytes)
    return f"f:{name.decode()}"


async def dump(redis: Any) -> dict[bytes, bytes]:
    """Return all that is stored."""
    return {key: await redis.dump(key) for key in await redis.keys("*")}


async def keys(redis: Any, *kinds: str) -> list[str]:
    """Return the keys of some kinds; of all but the marks of what is done."""
    found = sorted(key.decode() for key in await redis.keys("*"))
    return [key for key in found if (key.split(":")[1] in kinds if kinds else ":w:" not in key)]


class LossyProxy:
    """Stands before a server, and can lose an answer on its way back."""

    def __init__(self, server: RedisServer, path: Path) -> None:
        self.url = f"unix://{path}"
        self.lost = 0
        self._server = server
        self._path = path
        self._loses = False

    def lose_next_answer(self) -> None:
        """Cut the connection in place of the next answer."""
        self._loses = True

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[LossyProxy]:
        listener = await asyncio.start_unix_server(self._serve, self._path)
        async with listener:
            yield self

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        back, forth = await asyncio.open_unix_connection(self._server.socket)
        commands = asyncio.create_task(self._pass_on(reader, forth, may_lose=False))
        await self._pass_on(back, writer, may_lose=True)
        await commands

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, may_lose: bool) -> None:
        while data := await reader.read(65536):
            if may_lose and self._loses:
                self._loses, self.lost = False, self.lost + 1
                break
            writer.write(data)
        writer.close()


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
        await memory.delete_session("s")


class TestLeases:
    async def test_only_its_owner_gives_a_lease_back(self, memory: RedisMemory, redis: Redis) -> None:
        lease, other = Lease("s", "one"), Lease("s", "other")
        assert await memory._take(lease, limit=0, on_busy="queue") is not None
        assert await memory._take(lease, limit=0, on_busy="queue") is not None  # the answer was lost, perhaps
        await memory._release(other)
        await memory._append(other, exchange("late"), (), None, None)
        assert await redis.get("{pais}:l:s") == lease.token.encode()
        assert await memory._renew([lease, other]) == ["kept", "lost"]
        await memory._release(lease)
        assert await memory._renew([lease, other]) == ["lost", "lost"]
        assert await keys(redis, "l") == []

    async def test_who_waited_in_another_process_is_next(self, memory: RedisMemory) -> None:
        first, queued, other = Lease("s", "one"), Lease("s", "one"), Lease("s", "other")
        assert await memory._take(first, limit=0, on_busy="queue") is not None
        assert await memory._take(other, limit=0, on_busy="queue") is None
        assert await memory._take(queued, limit=0, on_busy="queue") is None
        await memory._release(first)
        assert await memory._take(queued, limit=0, on_busy="queue") is None
        assert await memory._take(other, limit=0, on_busy="queue") is not None
        await memory._release(other)
        assert await memory._take(queued, limit=0, on_busy="queue") is not None

    async def test_who_is_refused_at_once_reserves_nothing(self, memory: RedisMemory, redis: Redis) -> None:
        first, refused = Lease("s", "one"), Lease("s", "other")
        assert await memory._take(first, limit=0, on_busy="reject") is not None
        assert await memory._take(refused, limit=0, on_busy="reject") is None
        assert await keys(redis, "r") == []

    async def test_a_run_in_another_process_hears_that_it_is_to_stop(self, server: RedisServer) -> None:
        async with (
            RedisMemory.from_url(server.url, lease_s=0.3) as one,
            RedisMemory.from_url(server.url, lease_s=0.3) as other,
        ):
            with fail_after(5):
                wanted = asyncio.Event()
                async with one.open_session("s") as session:
                    session.on_interrupt = wanted.set
                    taking = asyncio.create_task(interrupt(other, "s"))
                    await wanted.wait()
                    await session.append(exchange("partly"))
                assert await taking == ["partly"]

    async def test_what_is_held_does_not_expire(self, server: RedisServer, redis: Redis) -> None:
        brief = RedisMemory.from_url(server.url, ttl_s=0.02, lease_s=0.3)
        async with brief as memory, memory.open_session("s"):
            await memory.annotate("s", [memory.create_event("note", "x")])
            await redis.pexpire("{pais}:c:s", 500)  # as if it were near its end
            with fail_after(5):
                while await redis.pttl("{pais}:c:s") <= 500:
                    await asyncio.sleep(0)
            assert await memory.list_sessions() == ["s"]
            await append(memory, "t", exchange("sweeps"))
            assert [event.content for event in await memory.get_events("s", types=["note"])] == ["x"]


class TestFaults:
    async def test_a_server_that_is_killed_and_started_again_in_mid_run_keeps_the_run(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("pais_sdk.memory.redis.runner._PATIENCE_S", 60)
        async with (
            redis_server("--appendonly", "yes", "--appendfsync", "always") as server,
            RedisMemory.from_url(server.url) as memory,
        ):
            await append(memory, "s", exchange("one"))
            async with memory.open_session("s") as session:
                server.kill()
                appending = asyncio.create_task(session.append(exchange("two")))
                await server.start()
                with fail_after(5):
                    await appending
            async with memory.open_session("s") as session:
                server.kill()
                await server.start()
                await session.append(exchange("three"))
            assert await said(memory, "s") == ["one", "two", "three"]

    async def test_a_write_whose_answer_is_lost_is_done_once(self, server: RedisServer, tmp_path: Path) -> None:
        proxy = LossyProxy(server, tmp_path / "proxy")
        async with proxy.running(), RedisMemory.from_url(proxy.url) as memory:
            await write_in_all_ways(memory, "first", lambda: None)  # the first time, scripts are sent
            await write_in_all_ways(memory, "s", proxy.lose_next_answer)
            assert proxy.lost == 5

    async def test_a_run_that_has_been_stored_is_not_stored_again_after_another(self, memory: RedisMemory) -> None:
        await append(memory, "s", exchange("one"))
        lease = Lease("s", "p")
        await memory._take(lease, limit=0, on_busy="queue")
        sent: list[tuple[Any, ...]] = []
        run = memory._scripts.run

        async def record(name: ScriptName, *arguments: str | bytes | int) -> Any:
            sent.append((name, *arguments))
            return await run(name, *arguments)

        memory._scripts.run = record
        await memory._append(lease, exchange("two"), [memory.create_event("note", "x")], None, None)
        await append(memory, "s", exchange("three"))
        assert await run(*sent[0]) == 1  # it comes late, a second time
        assert await said(memory, "s") == ["one", "two", "three"]
        assert len(await memory.get_events("s", types=["note"])) == 1

    async def test_where_memory_is_short_a_write_is_refused_whole_and_a_deletion_is_not(self) -> None:
        async with (
            redis_server() as server,
            RedisMemory.from_url(server.url, max_session_messages=2, max_sessions=1) as memory,
            Redis.from_url(server.url) as redis,
        ):
            await append(memory, "s", exchange("one"), annotations=[memory.create_event("note", "x")])
            async with memory.open_session("s") as session:
                await redis.config_set("maxmemory", "1")
                before = await dump(redis)
                refused = [
                    lambda: session.append(exchange("two"), [memory.create_event("note", "y")]),
                    lambda: memory.add_event("s", "note", "z"),
                    lambda: memory.create_session("t"),
                    lambda: memory.fork("s"),
                    lambda: append(memory, "u", exchange("three")),
                ]
                for write in refused:
                    with pytest.raises(MemoryUnavailableError, match="OOM"):
                        await write()
                assert await dump(redis) == before
                assert len(await memory.get_events("s")) == 3
            assert await keys(redis, "l") == []  # it was given back all the same
            await memory.delete("s")
            assert await keys(redis) == []
            await redis.config_set("maxmemory", "0")
            await append(memory, "s", exchange("four"))
            assert await said(memory, "s") == ["four"]

    async def test_a_server_that_is_not_there_is_told_at_once_and_without_the_password(self, tmp_path: Path) -> None:
        for url in (f"redis://me:secret@127.0.0.1:{free_port()}/0", f"unix://me:secret@{tmp_path}/none"):
            memory = RedisMemory.from_url(url)
            with fail_after(2):
                with pytest.raises(MemoryUnavailableError) as caught:
                    await memory.open()
                assert caught.value.__cause__ is not None
                assert "secret" not in str(caught.value)
                with pytest.raises(MemoryUnavailableError):
                    await memory.check()

    async def test_a_server_that_hangs_is_given_up_and_used_again_when_it_answers(self, server: RedisServer) -> None:
        async with RedisMemory.from_url(f"{server.url}?socket_timeout=0.2") as memory:
            await append(memory, "s", exchange("one"))
            server.pause()
            with fail_after(5), pytest.raises(MemoryUnavailableError, match=r"0\.2 s"):
                await memory.list_sessions()
            server.go_on()
            assert await said(memory, "s") == ["one"]

    async def test_a_run_that_ends_while_a_replica_takes_over_is_stored(
        self, memory: RedisMemory, redis: Redis, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        await append(memory, "s", exchange("one"))
        async with memory.open_session("s") as session:
            await redis.replicaof("127.0.0.1", str(free_port()))
            monkeypatch.setattr("pais_sdk.memory.redis.runner._PATIENCE_S", 0)
            with pytest.raises(MemoryUnavailableError, match="READONLY"):
                await session.append(exchange("two"))
            assert len(await redis.client_list()) == 1  # ours; what the name leads to is asked for anew
            monkeypatch.setattr("pais_sdk.memory.redis.runner._PATIENCE_S", 60)
            appending = asyncio.create_task(session.append(exchange("two")))
            await redis.replicaof("NO", "ONE")
            with fail_after(5):
                await appending
        assert await said(memory, "s") == ["one", "two"]

    async def test_a_wrong_password_or_database_stops_the_start_and_is_not_told(self) -> None:
        async with redis_server("--requirepass", "right") as server:
            for url in (f"unix://:wrong@{server.socket}", server.url, f"unix://:right@{server.socket}?db=99"):
                with pytest.raises(ConfigurationError) as caught:
                    await RedisMemory.from_url(url).open()
                assert "wrong" not in str(caught.value).replace("wrong number", "").replace("WRONGPASS", "")
            async with RedisMemory.from_url(f"unix://:right@{server.socket}") as memory:
                await append(memory, "s", exchange("one"))
                async with Redis.from_url(f"unix://:right@{server.socket}") as redis:
                    await redis.config_set("requirepass", "another")
                    await redis.client_kill_filter(skipme=True)
                with pytest.raises(MemoryUnavailableError) as told:
                    await memory.list_sessions()
                assert "right" not in str(told.value)

    @pytest.mark.parametrize(
        "url", ["", "http://host", "redis://me:sec/ret@host", "redis://me:secret@host:port", "redis://host:99999/0"]
    )
    async def test_a_url_that_cannot_be_read_is_refused_and_not_repeated(self, url: str) -> None:
        with pytest.raises(ConfigurationError, match="redis://") as caught:
            RedisMemory.from_url(url)
        assert "sec" not in str(caught.value).replace("socket", "")
        assert caught.value.__cause__ is None

    async def test_tls_is_spoken_where_the_url_says_so(self) -> None:
        first = asyncio.get_running_loop().create_future()

        async def hear(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            first.set_result(await reader.readexactly(3)) if not first.done() else None
            writer.close()

        async with await asyncio.start_server(hear, "127.0.0.1", 0) as listener:
            port = listener.sockets[0].getsockname()[1]
            with fail_after(5), pytest.raises(MemoryUnavailableError):
                await RedisMemory.from_url(f"rediss://me:secret@127.0.0.1:{port}").open()
        assert (await first)[:2] == b"\x16\x03"  # a handshake of TLS, and not a command


class TestClients:
    @pytest.mark.parametrize("decodes", [False, True])
    async def test_a_client_that_was_given_is_used_and_left_open(self, server: RedisServer, decodes: bool) -> None:
        client = Redis.from_url(server.url, decode_responses=decodes)
        async with client, RedisMemory(client) as memory:
            await append(memory, "s", exchange("one"), annotations=[memory.create_event("note", "x")])
            assert len(await memory.get_events("s")) == 3
            assert await memory.list_sessions() == ["s"]
            await memory.close()
            assert await client.ping()

    async def test_a_client_that_was_given_is_not_used_on_another_loop(self, server: RedisServer) -> None:
        async with Redis.from_url(server.url) as client:
            memory = RedisMemory(client)
            await append(memory, "s", exchange("one"))
            with pytest.raises(ConfigurationError, match="from_url"):
                await asyncio.to_thread(lambda: asyncio.run(memory.list_sessions()))

    async def test_a_memory_made_from_a_url_works_on_every_loop(self, server: RedisServer) -> None:
        memory = RedisMemory.from_url(server.url)

        async def use(name: str) -> None:
            await append(memory, name, exchange("one"))
            await memory.close()

        await append(memory, "here", exchange("one"))
        for name in ("a", "b"):
            await asyncio.to_thread(lambda name=name: asyncio.run(use(name)))
        assert sorted(await memory.list_sessions()) == ["a", "b", "here"]
        await memory.close()

    async def test_more_runs_than_connections_wait_for_one(self, server: RedisServer, redis: Redis) -> None:
        async with RedisMemory.from_url(f"{server.url}?max_connections=3") as memory:
            await asyncio.gather(*(append(memory, f"s{number}", exchange("one")) for number in range(40)))
            assert len(await memory.list_sessions()) == 40
            assert len(await redis.client_list()) <= 3 + 1

    async def test_a_run_that_is_cancelled_while_it_waits_for_an_answer_harms_no_other(
        self, memory: RedisMemory
    ) -> None:
        await append(memory, "s", exchange("one"))
        for steps in range(20):
            reading = asyncio.create_task(said(memory, "s"))
            for _ in range(steps):
                await asyncio.sleep(0)
            reading.cancel()
            await asyncio.wait([reading])
            assert await memory.list_sessions() == ["s"]
            assert await said(memory, "s") == ["one"]

    async def test_a_cluster_serves(self) -> None:
        port = next(port for port in iter(free_port, 0) if port < 55000)  # its bus listens 10,000 above
        async with redis_server("--port", str(port), "--cluster-enabled", "yes") as server:
            async with Redis.from_url(server.url) as node:
                await node.execute_command("CLUSTER", "ADDSLOTS", *range(16384))
                with fail_after(10):
                    while "cluster_state:ok" not in str(await node.execute_command("CLUSTER", "INFO")):
                        await asyncio.sleep(0.01)
            async with RedisCluster(host="127.0.0.1", port=port) as client, RedisMemory(client) as memory:
                await append(memory, "s", exchange("one"), annotations=[memory.create_event("note", "x")])
                await memory.fork("s", new_conversation_id="fork")
                await append(memory, "fork", exchange("two"))
                await memory.delete_session("s")
                assert await said(memory, "fork") == ["one", "two"]
                assert await memory.list_sessions() == ["fork"]


async def interrupt(memory: Memory, session_id: str) -> list[str]:
    async with memory.open_session(session_id, on_busy="interrupt") as session:
        return user_texts(session.history)


async def write_in_all_ways(memory: Memory, session_id: str, before_each: Callable[[], None]) -> None:
    """Take a session, append to it, add an event, write its record and delete it; all of that is done once."""
    before_each()
    async with memory.open_session(session_id, on_busy="reject") as session:
        before_each()
        await session.append(exchange("one"), [memory.create_event("note", "in it")], usage=RunUsage(requests=1))
    before_each()
    await memory.add_event(session_id, "note", "after it")
    record = await memory.read_record(session_id)
    assert record is not None
    assert record.usage.requests == 1
    before_each()
    updated = ConversationRecord(conversation_id=session_id, head_id=record.head_id)
    await memory.write_record(updated, expected_revision=record.revision)
    events = await memory.get_events(session_id)
    assert [event.content for event in events] == ["one", "re: one", "in it", "after it"]
    before_each()
    await memory.delete_record(session_id, expected_revision=updated.revision)
    assert await memory.read_record(session_id) is None
