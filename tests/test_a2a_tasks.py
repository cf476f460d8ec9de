"""A2A tasks as they are kept: the same promises in this process, in SQLite and in PostgreSQL."""

from __future__ import annotations

import asyncio
import sqlite3
import sys
from base64 import b64encode
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from a2a.server.cluster import ConcurrentTaskModificationError, StoredTask, TaskVersion
from a2a.server.tasks.task_manager import append_artifact_to_task
from a2a.types.a2a_pb2 import (
    CancelTaskRequest,
    GetTaskRequest,
    ListTasksRequest,
    SubscribeToTaskRequest,
    Task,
    TaskState,
    TaskStatusUpdateEvent,
)
from a2a.utils.errors import InternalError, InvalidParamsError, TaskNotFoundError, UnsupportedOperationError
from anyio import fail_after

from pais_sdk import ConfigurationError, MemoryUnavailableError, MissingExtraError
from pais_sdk.server.a2a.local_tasks import LocalTaskStore
from pais_sdk.server.a2a.owner import owner_of
from pais_sdk.server.a2a.sql_tasks import WHOLE_EVERY, SqlTaskStore
from pais_sdk.server.a2a.stores import TaskStorage
from pais_sdk.server.a2a.task_housekeeping import TaskHousekeeper
from pais_sdk.server.a2a.task_states import ABANDONED, ENDED
from pais_sdk.server.a2a.task_watch import TaskWatch

from .a2a_stores import (
    CANCELED,
    COMPLETED,
    FAILED,
    WORKING,
    Kept,
    Process,
    caller,
    changed,
    handling,
    kept,
    message,
    piece,
    task,
    text_of,
)
from .postgres import postgres_url
from .sql_stores import sql_url, table

pytestmark = pytest.mark.anyio
__all__ = ["sql_url"]


@pytest.fixture(params=[None, "sqlite", "postgres"])
async def place(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncGenerator[str | None]:
    """Where tasks are kept: None for this process, else the URL of an empty database."""
    if request.param != "postgres":
        yield request.param and f"sqlite:///{tmp_path}/tasks.db"
        return
    async with postgres_url() as found:
        yield found


async def ids_of(store: Kept, scope: str | None = None, **wanted: Any) -> list[str]:
    page = await store.store.list(ListTasksRequest(**wanted), caller(scope))
    return [found.id for found in page.tasks]


async def grown(store: Kept, of: Task, *texts: str, scope: str | None = None) -> TaskVersion:
    """Save a task, and then text by text what is added to its artifact."""
    version = await store.save(of, scope=scope)
    for at, text in enumerate(texts):
        event = piece(of, text, append=at > 0)
        append_artifact_to_task(of, event)
        version = await store.save(of, after=version, event=event, scope=scope)
    return version


# --- in every store


async def test_what_is_saved_comes_back_as_a_copy_that_nobody_shares(place: str | None) -> None:
    with fail_after(20):
        async with kept(place) as store:
            saved = task("t")
            saved.metadata["by"] = "me"
            await store.save(saved)
            saved.metadata["by"] = "you"
            first = await store.get("t")
            assert first is not None
            first.task.metadata["by"] = "them"
            again = await store.get("t")
            assert again is not None
            assert again.task.metadata["by"] == "me"


async def test_the_pieces_of_an_answer_come_back_as_one_text_also_before_its_end(place: str | None) -> None:
    with fail_after(20):
        async with kept(place) as store:
            of = task("t", context_id="x" * 128)
            version = await grown(store, of, "one ", "two ", "three")
            for state in (WORKING, COMPLETED):
                found = await store.get("t")
                assert found is not None
                assert (found.task.context_id, found.task.status.state) == ("x" * 128, state)
                assert [[part.text for part in artifact.parts] for artifact in found.task.artifacts] == [
                    ["one two three"]
                ]
                page = await store.store.list(ListTasksRequest(include_artifacts=True), caller())
                assert [text_of(listed) for listed in page.tasks] == ["one two three"]
                of.status.state = COMPLETED
                if state == WORKING:
                    version = await store.save(of, after=version, event=changed(of, COMPLETED))


async def test_callers_see_their_own_tasks_and_those_of_others_are_as_unknown_ones(place: str | None) -> None:
    scopes = [None, "", "alice", "everyone", "scope alice"]
    assert len({owner_of(caller(scope)) for scope in scopes}) == len(scopes)
    with fail_after(20):
        async with kept(place) as store:
            for scope in scopes:
                await store.save(task(f"of {scope}", COMPLETED), scope=scope)
            for scope in scopes:
                assert await ids_of(store, scope) == [f"of {scope}"]
                for other in scopes:
                    assert await store.state(f"of {other}", scope) == (COMPLETED if other == scope else None)
            await store.store.delete("of alice", caller())
            await store.store.delete("unknown", caller())
            assert await store.state("of alice", "alice") == COMPLETED
            await store.store.delete("of alice", caller("alice"))
            assert await store.state("of alice", "alice") is None
            assert await store.get("nothing\0here") is None


async def test_lists_are_of_the_last_changed_first_in_pages_that_go_on_where_the_last_one_ended(
    place: str | None,
) -> None:
    with fail_after(20):
        async with kept(place) as store:
            for at in range(7):
                await store.save(task(f"t{at}", COMPLETED if at % 2 else WORKING, context_id=f"c{at % 3}", at_s=at))
            undated = task("undated")
            undated.status.ClearField("timestamp")
            await store.save(undated)
            assert await ids_of(store) == ["t6", "t5", "t4", "t3", "t2", "t1", "t0", "undated"]
            assert await ids_of(store, status=COMPLETED) == ["t5", "t3", "t1"]
            assert await ids_of(store, context_id="c1") == ["t4", "t1"]
            since = task("t", at_s=5).status.timestamp
            assert await ids_of(store, status_timestamp_after=since) == ["t6", "t5"]
            page = await store.store.list(ListTasksRequest(page_size=3), caller())
            assert (page.total_size, page.page_size, len(page.tasks)) == (8, 3, 3)
            await store.store.delete("t4", caller())
            rest = ListTasksRequest(page_size=3, page_token=page.next_page_token)
            page = await store.store.list(rest, caller())
            assert [found.id for found in page.tasks] == ["t3", "t2", "t1"]
            rest.page_token = page.next_page_token
            page = await store.store.list(rest, caller())
            assert ([found.id for found in page.tasks], page.next_page_token) == (["t0", "undated"], "")
            deep = b64encode(b"[" * 99_999).decode()
            for token in ("nonsense", "eyJ0cyI6OTk5OTk5OTk5OTk5OTk5OTk5OTk5OSwiaWQiOiJ0In0", deep):
                with pytest.raises(InvalidParamsError):
                    await ids_of(store, page_token=token)


# --- in this process


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


async def local(store: LocalTaskStore, *saved: Task, scope: str | None = None) -> None:
    for one in saved:
        await store.save(one, caller(scope))


async def local_ids(store: LocalTaskStore, scope: str | None = None) -> set[str]:
    return {found.id for found in (await store.list(ListTasksRequest(), caller(scope))).tasks}


async def test_the_oldest_ended_task_of_whoever_has_most_goes_first_and_never_one_that_is_worked_on() -> None:
    store = LocalTaskStore(max_tasks=5, ttl_s=None)
    await local(store, task("working"), task("a1", COMPLETED), task("a2", COMPLETED), task("a3", FAILED), scope="a")
    await local(store, task("b1", COMPLETED), task("b2", COMPLETED), scope="b")
    assert (await local_ids(store, "a"), await local_ids(store, "b")) == ({"working", "a2", "a3"}, {"b1", "b2"})
    await local(store, task("a2", COMPLETED, at_s=2_000), scope="a")  # it ended when it ended
    await local(store, task("c1"), scope="c")
    assert await local_ids(store, "a") == {"working", "a3"}
    await local(store, *(task(f"c{at}") for at in range(1, 7)), scope="c")
    assert (await local_ids(store, "a"), await local_ids(store, "b")) == ({"working"}, set())
    assert await local_ids(store, "c") == {f"c{at}" for at in range(1, 7)}
    await local(store, task("c1", COMPLETED), scope="c")  # it is too much, but it was written just now
    assert "c1" in await local_ids(store, "c")
    await local(store, task("c2", COMPLETED), scope="c")
    assert await local_ids(store, "c") == {f"c{at}" for at in range(2, 7)}


async def test_who_has_few_tasks_keeps_them_when_another_has_many() -> None:
    store = LocalTaskStore(max_tasks=4, ttl_s=None)
    await local(store, task("old", COMPLETED), scope="few")
    await local(store, *(task(f"t{at}", COMPLETED) for at in range(10)), scope="many")
    assert (await local_ids(store, "few"), await local_ids(store, "many")) == ({"old"}, {"t7", "t8", "t9"})


async def test_a_task_in_this_process_is_forgotten_when_its_time_is_over_after_its_end() -> None:
    clock = Clock()
    store = LocalTaskStore(max_tasks=100, ttl_s=10, clock=clock)
    await local(store, task("working"), task("first", COMPLETED))
    clock.now = 5
    await local(store, task("second", COMPLETED), task("first", COMPLETED))  # which has ended already
    clock.now = 10
    assert await local_ids(store) == {"working", "second"}
    clock.now = 1e9
    assert await store.get("second", caller()) is None
    assert await local_ids(store) == {"working"}


async def test_ten_thousand_tasks_leave_the_newest_that_may_be_kept() -> None:
    store = LocalTaskStore(max_tasks=2_000, ttl_s=1_000_000)
    await local(store, *(task(f"t{at}", COMPLETED) for at in range(10_000)), scope="a")
    assert len(await local_ids(store, "a")) == 50  # a page
    assert (await store.list(ListTasksRequest(), caller("a"))).total_size == 2_000
    assert await store.get("t8000", caller("a")) is not None
    assert await store.get("t7999", caller("a")) is None


# --- in a database


async def test_who_does_not_know_the_newest_version_changes_nothing(url: str) -> None:
    with fail_after(20):
        async with kept(url) as here, kept(url) as there:
            version = await here.save(task("t"))
            with pytest.raises(ConcurrentTaskModificationError):
                await there.save(task("t", at_s=2_000))
            newer = await here.save(task("t", at_s=2_000), after=version)
            assert newer.is_after(version)
            for late in (task("t", COMPLETED), task("t", FAILED)):
                with pytest.raises(ConcurrentTaskModificationError):
                    await there.save(late, after=version, event=changed(late, late.status.state))
            with pytest.raises(ConcurrentTaskModificationError):
                await there.save(task("t"), after=newer, scope="somebody else")
            assert await here.state("t") == WORKING


async def test_what_has_ended_stays_so_also_for_who_knows_its_newest_version(url: str) -> None:
    with fail_after(20):
        async with kept(url) as store:
            for state in ENDED:
                of = task(f"t{state}")
                ended = task(of.id, state)
                version = await store.save(ended, after=await store.save(of), event=changed(ended, state))
                for late in (changed(of, WORKING), changed(of, CANCELED), changed(of, COMPLETED)):
                    with pytest.raises(ConcurrentTaskModificationError):
                        await store.save(task(of.id, late.status.state), after=version, event=late)
                with pytest.raises(ConcurrentTaskModificationError):
                    await store.save(of, after=version, event=piece(of, "too late", append=True))
                assert await store.get(of.id) == StoredTask(ended, version)
            waiting = task("waiting", TaskState.TASK_STATE_INPUT_REQUIRED)
            version = await store.save(waiting)
            await store.save(task("waiting"), after=version)
            assert await store.state("waiting") == WORKING


async def test_a_long_answer_is_written_as_a_whole_only_now_and_then(url: str) -> None:
    texts = [f"{at} " for at in range(2 * WHOLE_EVERY)]
    with fail_after(20):
        async with kept(url) as store:
            await grown(store, task("t"), *texts)
            assert await table(url, "SELECT version, whole FROM pais_a2a_tasks") == [(len(texts) + 1, len(texts))]
            found = await store.get("t")
            assert found is not None
            assert text_of(found.task) == "".join(texts)


async def test_a_cancellation_from_elsewhere_needs_no_version_keeps_the_text_and_comes_once(url: str) -> None:
    with fail_after(20):
        async with kept(url) as here, kept(url) as there:
            of = task("t")
            seen = await here.save(of)
            of = task("t")
            event = piece(of, "half", append=False)
            append_artifact_to_task(of, event)
            await here.save(of, after=seen, event=event)
            canceled = task("t", CANCELED)
            await there.save(canceled, after=seen, event=changed(canceled, CANCELED))
            found = await here.get("t")
            assert found is not None
            assert (found.task.status.state, text_of(found.task)) == (CANCELED, "half")
            for late in (canceled, task("t", COMPLETED)):
                with pytest.raises(ConcurrentTaskModificationError):
                    await there.save(late, after=seen, event=changed(late, late.status.state))
            with pytest.raises(ConcurrentTaskModificationError):
                await there.save(task("unknown", CANCELED), after=seen, event=changed(canceled, CANCELED))


async def dies_with(url: str, **tasks: str | None) -> None:
    """Be a process that dies while it works on tasks of these scopes: their leases run out at once."""
    async with kept(url, lease_s=0) as dead:
        for task_id, scope in tasks.items():
            await grown(dead, task(task_id), "so far", scope=scope)


@pytest.mark.parametrize("how", ["get", "list", "filter", "follow", "clean up"])
async def test_a_task_whose_process_died_has_failed_and_says_why_however_it_is_looked_at(url: str, how: str) -> None:
    with fail_after(20):
        async with kept(url) as store:
            await store.save(task("living"))
            await dies_with(url, t=None, foreign="alice")
            if how == "list":
                page = await store.store.list(ListTasksRequest(), caller())
                assert {found.id: found.status.state for found in page.tasks} == {"living": WORKING, "t": FAILED}
            elif how == "filter":
                assert await ids_of(store, status=FAILED) == ["t"]
            elif how == "follow":
                assert store.storage.event_stream is not None
                *_, last = [told async for told in store.storage.event_stream.subscribe("t", after=TaskVersion.MISSING)]
                assert isinstance(last.event, TaskStatusUpdateEvent)
                assert last.event.status.state == FAILED
            elif how == "clean up":
                await housekeeper(store).clean_up()
            found = await store.get("t")
            assert found is not None
            assert (found.task.status.state, text_of(found.task)) == (FAILED, "so far")
            assert [part.text for part in found.task.status.message.parts] == [ABANDONED]
            assert found.task.status.timestamp.seconds > 1_000
            assert await store.state("living") == WORKING
            states = dict(await table(url, "SELECT id, state FROM pais_a2a_tasks"))
            assert states["t"] == FAILED
            assert states["foreign"] == (FAILED if how == "clean up" else WORKING)
            assert await store.state("foreign", "alice") == FAILED
            again = await store.get("t")
            assert again == found


async def test_to_follow_a_task_of_this_process_whose_lease_is_over_costs_no_more_than_another(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with fail_after(20):
        async with kept(url) as store:
            version = await store.save(task("t"))
            stream = store.storage.event_stream
            assert stream is not None
            pauses: asyncio.Queue[float] = asyncio.Queue()
            monkeypatch.setattr("pais_sdk.server.a2a.task_stream.asyncio", SimpleNamespace(sleep=pauses.put))
            with watch_of(store.storage).working("t", None):
                await lapse(url)
                following = asyncio.ensure_future(anext(stream.subscribe("t", after=version)))
                assert await pauses.get() > 0
                following.cancel()
                await asyncio.wait([following])


def housekeeper(store: Kept, *, ttl_s: float | None = None, told_s: float = 1_000) -> TaskHousekeeper:
    assert isinstance(store.storage.store, SqlTaskStore)
    return TaskHousekeeper(store.storage.store._databases, store.storage.store, ttl_s=ttl_s, told_s=told_s)


def watch_of(storage: TaskStorage) -> TaskWatch:
    assert storage.watch is not None
    return storage.watch


async def lapse(url: str, task_id: str | None = None) -> None:
    """Let all leases run out, or that of one task."""
    which = "until_us IS NOT NULL" if task_id is None else f"id = '{task_id}'"
    await change(url, f"UPDATE pais_a2a_tasks SET until_us = 0 WHERE {which}")  # noqa: S608 - its own ids


async def change(url: str, sql: str) -> None:
    """Be another program that changes the database."""
    if url.startswith("sqlite"):
        with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as connection, connection:
            connection.execute(sql)
        return
    await table(url, sql)


async def test_a_process_that_is_slow_keeps_its_tasks_and_prolongs_their_leases_together(url: str) -> None:
    with fail_after(20):
        async with kept(url) as here, kept(url) as there:
            for task_id in ("one", "two", "forgotten"):
                await here.save(task(task_id))
            watch = watch_of(here.storage)
            with watch.working("one", None), watch.working("two", None):
                await lapse(url)
                assert await here.state("one") == WORKING  # it knows better
                assert "one" in await ids_of(here)
                await watch.prolong()
                assert [await there.state(task_id) for task_id in ("one", "two")] == [WORKING, WORKING]
                assert await there.state("forgotten") == FAILED
                # It was prolonged after somebody had seen that its lease was over.
                assert isinstance(there.storage.store, SqlTaskStore)
                found = await there.storage.store.bury("one", owner_of(caller()))
                assert found is not None
                assert found.task.status.state == WORKING
            await lapse(url)
            assert await here.state("one") == FAILED


async def test_who_works_on_a_task_hears_once_that_another_process_ended_it_and_never_of_its_own_end(url: str) -> None:
    with fail_after(20):
        async with kept(url) as here, kept(url) as there:
            heard: list[str] = []
            of = {task_id: task(task_id) for task_id in ("mine", "cancelled", "abandoned")}
            versions = {task_id: await here.save(one) for task_id, one in of.items()}
            watch = watch_of(here.storage)
            async with AsyncExitStack() as stack:
                for task_id in of:
                    stack.enter_context(here.storage.working(task_id, lambda said=task_id: heard.append(said)))
                await watch.look()
                await asyncio.sleep(0)
                assert heard == []
                of["mine"].status.state = COMPLETED
                await here.save(of["mine"], after=versions["mine"], event=changed(of["mine"], COMPLETED))
                canceled = task("cancelled", CANCELED)
                await there.save(canceled, after=versions["cancelled"], event=changed(canceled, CANCELED))
                await lapse(url)
                assert await there.state("abandoned") == FAILED
                for _ in range(2):
                    await watch.look()
                    await asyncio.sleep(0)
                    assert sorted(heard) == ["abandoned", "cancelled"]


async def test_whatever_goes_wrong_with_the_leases_once_they_are_prolonged_later(
    url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    looks: asyncio.Queue[None] = asyncio.Queue()

    async def look() -> None:
        looks.put_nowait(None)
        raise RuntimeError("strange")

    monkeypatch.setattr("pais_sdk.server.a2a.stores.LOOK_S", 0.001)
    with fail_after(20):
        async with kept(url) as store:
            watch = watch_of(store.storage)
            monkeypatch.setattr(watch, "look", look)
            with watch.working("t", None):
                for _ in range(3):
                    await looks.get()
    assert caplog.text.count("strange") == 1


async def test_a_file_that_was_removed_is_noticed_and_a_new_one_made(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/tasks.db"
    with fail_after(20):
        async with kept(url) as store:
            await store.save(task("old", COMPLETED))
            for file in tmp_path.iterdir():
                file.unlink()
            with pytest.raises(MemoryUnavailableError, match="removed or replaced"):
                await housekeeper(store).clean_up()
            await store.save(task("new", COMPLETED))
            assert await table(url, "SELECT id FROM pais_a2a_tasks") == [("new",)]


async def test_to_forget_many_tasks_takes_several_turns_and_leaves_none(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pais_sdk.server.a2a.task_housekeeping._AT_ONCE", 2)
    with fail_after(20):
        async with kept(url) as store:
            for at in range(5):
                await store.save(task(f"t{at}", COMPLETED))
            turns = [await housekeeper(store, ttl_s=-1).clean_up() for _ in range(3)]
            assert turns == [True, True, False]
            assert await ids_of(store) == []


async def test_a_database_forgets_what_its_time_is_over_for_and_events_that_all_have_heard(url: str) -> None:
    with fail_after(20):
        async with kept(url) as store:
            done = task("done")
            version = await grown(store, done, "it is ", "done")
            done.status.state = COMPLETED
            await store.save(done, after=version, event=changed(done, COMPLETED))
            await grown(store, task("working"), "still")
            await housekeeper(store, ttl_s=1_000, told_s=1_000).clean_up()
            assert len(await table(url, "SELECT 1 FROM pais_a2a_events")) == 6
            await housekeeper(store, ttl_s=1_000, told_s=-1).clean_up()
            assert await table(url, "SELECT DISTINCT task_id FROM pais_a2a_events") == [("working",)]
            stream = store.storage.event_stream
            assert stream is not None
            late = [told.event async for told in stream.subscribe("done", after=version)]
            assert [text_of(event) for event in late if isinstance(event, Task)] == ["it is done"]
            await housekeeper(store, ttl_s=-1).clean_up()
            assert await table(url, "SELECT id FROM pais_a2a_tasks") == [("working",)]
            assert [told async for told in stream.subscribe("done", after=version)] == []


async def test_processes_that_start_together_make_the_tables_once_and_a_later_one_finds_them(url: str) -> None:
    with fail_after(30):
        async with AsyncExitStack() as stack:
            stores = await asyncio.gather(*(stack.enter_async_context(kept(url)) for _ in range(6)))
            await asyncio.gather(*(store.save(task(f"t{at}", COMPLETED)) for at, store in enumerate(stores)))
        async with kept(url) as later:
            assert len(await ids_of(later)) == 6
        await change(url, "UPDATE pais_a2a_meta SET version = 2")
        with pytest.raises(ConfigurationError, match=r"^A2A_TASK_URL cannot be used: the tables .* newer pais-sdk"):
            async with kept(url):
                pass


async def test_a_store_that_does_not_answer_is_told_in_a_fixed_sentence_and_logged(
    url: str, caplog: pytest.LogCaptureFixture
) -> None:
    with fail_after(20):
        async with kept(url) as store:
            await change(url, "DROP TABLE pais_a2a_tasks")
            for call in (store.get("t"), ids_of(store), store.save(task("t"))):
                with pytest.raises(InternalError) as raised:
                    await call
                assert str(raised.value) == "the store of the tasks does not answer; try again later"
    assert "pais_a2a_tasks" in caplog.text


async def test_tasks_of_several_processes_at_once_lose_no_word(url: str) -> None:
    words = [f"{at} " for at in range(15)]

    async def work(store: Kept, task_id: str) -> None:
        of = task(task_id)
        with store.storage.working(task_id, lambda: None):
            version = await grown(store, of, *words)
            of.status.state = COMPLETED
            await store.save(of, after=version, event=changed(of, COMPLETED))

    with fail_after(60):
        async with AsyncExitStack() as stack:
            stores = [await stack.enter_async_context(kept(url)) for _ in range(3)]
            ids = [f"t{at:02}" for at in range(20)]
            await asyncio.gather(*(work(stores[at % 3], task_id) for at, task_id in enumerate(ids)))
            page = await stores[0].store.list(ListTasksRequest(include_artifacts=True), caller())
            assert sorted((found.id, found.status.state, text_of(found)) for found in page.tasks) == [
                (task_id, COMPLETED, "".join(words)) for task_id in ids
            ]


async def test_what_is_closed_is_not_opened_again(url: str) -> None:
    with fail_after(20):
        async with kept(url) as store:
            pass
        with pytest.raises(InternalError):
            await store.get("t")


async def test_a_driver_that_is_missing_is_named_by_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "pais_sdk.memory.sql.postgres", raising=False)
    monkeypatch.setitem(sys.modules, "asyncpg", None)
    with pytest.raises(MissingExtraError, match="A2A_TASK_URL needs the extra 'postgres'"):
        async with kept("postgresql://u@h/d"):
            pass


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("nonsense", "the URL of the database is none"),
        ("mysql://u:SECRET@h/d", "'mysql' is no database"),
        ("sqlite://", "in memory"),
        ("sqlite:////proc/nothing/tasks.db", "cannot be made"),
        ("postgresql://u:SECRET@127.0.0.1:1/d", "does not answer"),
        ("postgresql+asyncpg://u:SECRET@127.0.0.1:1/d", "does not answer"),
        ("postgresql://u:SECRET@h:port/d", "the URL of the database is none"),
    ],
)
async def test_a_url_that_cannot_be_used_is_told_in_one_line_without_its_password(url: str, words: str) -> None:
    with fail_after(20), pytest.raises(ConfigurationError) as raised:
        async with kept(url):
            pass
    text = str(raised.value)
    assert text.startswith("A2A_TASK_URL cannot be used: ")
    assert words in text
    assert "SECRET" not in text
    assert "\n" not in text


# --- through a handler of a2a-sdk's


@pytest.fixture
async def here(place: str | None) -> AsyncGenerator[Process]:
    async with handling(place) as process:
        yield process


async def begin(process: Process, scope: str | None = None) -> str:
    """Send a message, and return the id of its task when it is worked on."""
    sent = await process.handler.on_message_send(message(wait=False), caller(scope))
    await process.executor.began.wait()
    return sent.id


async def test_a_task_is_sent_read_and_done(here: Process) -> None:
    with fail_after(20):
        for word in ("Hello ", "there", None):
            here.executor.words.put_nowait(word)
        done = await here.handler.on_message_send(message(), caller())
        assert (done.status.state, text_of(done)) == (COMPLETED, "Hello there")
        read = await here.handler.on_get_task(GetTaskRequest(id=done.id), caller())
        assert (read.status.state, text_of(read)) == (COMPLETED, "Hello there")
        listed = await here.handler.on_list_tasks(ListTasksRequest(), caller())
        assert [found.id for found in listed.tasks] == [done.id]


async def test_a_foreign_task_answers_as_an_unknown_one_whatever_is_asked(here: Process) -> None:
    async def answers(task_id: str, scope: str | None) -> list[str]:
        onward = message()
        onward.message.task_id = task_id
        told: list[str] = []
        for call in (
            lambda: here.handler.on_get_task(GetTaskRequest(id=task_id), caller(scope)),
            lambda: here.handler.on_cancel_task(CancelTaskRequest(id=task_id), caller(scope)),
            lambda: here.handler.on_message_send(onward, caller(scope)),
            lambda: anext(here.handler.on_subscribe_to_task(SubscribeToTaskRequest(id=task_id), caller(scope))),
        ):
            with pytest.raises(TaskNotFoundError) as raised:
                await call()
            told.append(str(raised.value).replace(task_id, "ID"))
        return told

    with fail_after(20):
        task_id = await begin(here, "alice")
        for scope in (None, "bob", "scope alice", ""):
            assert await answers(task_id, scope) == await answers("unknown", scope)
            assert not (await here.handler.on_list_tasks(ListTasksRequest(), caller(scope))).tasks
        assert not here.executor.cancelled.is_set()
        canceled = await here.handler.on_cancel_task(CancelTaskRequest(id=task_id), caller("alice"))
        assert canceled.status.state == CANCELED
        assert here.executor.cancelled.is_set()


async def test_who_follows_a_task_in_another_process_hears_all_of_it_and_its_end(url: str) -> None:
    with fail_after(20):
        async with handling(url) as here, handling(url) as there:
            task_id = await begin(here)
            events = there.handler.on_subscribe_to_task(SubscribeToTaskRequest(id=task_id), caller())
            first = await anext(events)
            assert isinstance(first, Task)
            for word in ("Hello ", "there", None):
                here.executor.words.put_nowait(word)
            rest = [event async for event in events]
            assert "".join(text_of(Task(artifacts=[event.artifact])) for event in rest[:-1]) == "Hello there"
            assert rest[-1].status.state == COMPLETED
            read = await there.handler.on_get_task(GetTaskRequest(id=task_id), caller())
            assert text_of(read) == "Hello there"
            with pytest.raises(UnsupportedOperationError):
                await anext(there.handler.on_subscribe_to_task(SubscribeToTaskRequest(id=task_id), caller()))


async def test_a_cancellation_that_comes_to_another_process_reaches_the_one_that_works(url: str) -> None:
    with fail_after(20):
        async with handling(url) as here, handling(url) as there:
            task_id = await begin(here)
            follower = here.handler.on_subscribe_to_task(SubscribeToTaskRequest(id=task_id), caller())
            await anext(follower)
            canceled = await there.handler.on_cancel_task(CancelTaskRequest(id=task_id), caller())
            assert canceled.status.state == CANCELED
            await here.executor.cancelled.wait()
            await here.executor.ended.wait()
            last = [event async for event in follower][-1]
            assert last.status.state == CANCELED
            for process in (here, there):
                read = await process.handler.on_get_task(GetTaskRequest(id=task_id), caller())
                assert read.status.state == CANCELED


async def test_a_run_whose_events_cannot_be_stored_is_cancelled(url: str) -> None:
    with fail_after(20):
        async with handling(url) as here:
            task_id = await begin(here)
            await change(url, "ALTER TABLE pais_a2a_events RENAME TO away")
            here.executor.words.put_nowait("not stored")
            await here.executor.cancelled.wait()
            await here.executor.ended.wait()
            await change(url, "ALTER TABLE away RENAME TO pais_a2a_events")
            await lapse(url)
            read = await here.handler.on_get_task(GetTaskRequest(id=task_id), caller())
            assert read.status.state == FAILED


async def test_a_process_that_was_away_for_longer_than_its_lease_hears_that_its_task_has_failed(url: str) -> None:
    with fail_after(20):
        async with handling(url) as here, handling(url) as there:
            task_id = await begin(here)
            follower = here.handler.on_subscribe_to_task(SubscribeToTaskRequest(id=task_id), caller())
            await anext(follower)
            await lapse(url)
            read = await there.handler.on_get_task(GetTaskRequest(id=task_id), caller())
            assert read.status.state == FAILED
            here.executor.words.put_nowait("too late")
            last = [event async for event in follower][-1]
            assert last.status.state == FAILED
            await here.executor.ended.wait()
            read = await here.handler.on_get_task(GetTaskRequest(id=task_id), caller())
            assert (read.status.state, text_of(read)) == (FAILED, "")
