"""RedisMemory where something goes wrong: lost replies, full, hanging and restarted servers, clients, leases."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from anyio import fail_after
from redis.asyncio import Redis, RedisCluster

from pais_sdk import ConfigurationError, MemoryUnavailableError
from pais_sdk.memory.contract.exchanges import append, exchange, said
from pais_sdk.memory.leases import Lease
from pais_sdk.memory.redis import RedisMemory
from pais_sdk.memory.redis.scripts import ScriptName

from .redis_server import RedisServer, free_port, redis_server
from .redis_stores import LossyProxy, dump, family, interrupt, keys, write_in_all_ways
from .redis_stores import fresh_server as fresh_server
from .redis_stores import redis_client as redis_client
from .redis_stores import redis_memory as redis_memory

pytestmark = pytest.mark.anyio


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

    async def test_what_a_held_session_shares_with_others_does_not_expire(
        self, server: RedisServer, redis: Redis
    ) -> None:
        async with RedisMemory.from_url(server.url, ttl_s=100, lease_s=0.3) as memory:
            await append(memory, "s", exchange("one"))
            shared = [f"{{pais}}:{kind}" for kind in ("i", "s", "q", "x", "d", await family(redis, "s"))]
            async with memory.open_session("s") as session:
                for key in shared:
                    await redis.pexpire(key, 500)
                with fail_after(5):
                    while min([await redis.pttl(key) for key in shared]) <= 500:
                        await asyncio.sleep(0)
                await session.append(exchange("two"))
            assert await said(memory, "s") == ["one", "two"]


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
            assert await memory.delete_session("s")
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

    async def test_connections_that_were_cut_while_they_were_idle_are_no_error(
        self, memory: RedisMemory, redis: Redis
    ) -> None:
        await asyncio.gather(*(append(memory, f"s{number}", exchange("one")) for number in range(20)))
        assert len(await redis.client_list()) > 10
        await redis.client_kill_filter(skipme=True)
        assert await said(memory, "s1") == ["one"]
        assert len(await redis.client_list()) == 2  # ours too

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
