"""A2A tasks among real processes on one A2A_TASK_URL."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from signal import SIGCONT, SIGKILL, SIGSTOP
from typing import Any

import httpx
import pytest
from anyio import fail_after

from pais_sdk.server.a2a.task_states import ABANDONED

from .processes import TOLD_AGENT, Process, Runs, process, told_runs
from .sql_stores import sql_url
from .test_a2a_tasks import lapse
from .test_workers import pids_of

pytestmark = pytest.mark.anyio
__all__ = ["sql_url"]

# Each process takes seconds to start; what is the same in both databases is shown in one.
in_sqlite = pytest.mark.parametrize("url", ["sqlite"], indirect=True)
in_postgres = pytest.mark.parametrize("url", ["postgres"], indirect=True)

KEYS = {"alice": "key-of-alice", "bob": "key-of-bob"}


@asynccontextmanager
async def two(folder: Path, url: str) -> AsyncGenerator[tuple[Process, Process, Runs]]:
    """Serve the same agent with two processes, and hear of its runs."""
    (folder / "agent.py").write_text(TOLD_AGENT)
    keys = ",".join(f"{name}={key}" for name, key in KEYS.items())
    async with told_runs() as runs:
        environment = {"A2A_TASK_URL": url, "AGENT_API_KEYS": keys, "TEST_PORT": str(runs.port)}
        async with process(folder, **environment) as one, process(folder, **environment) as other:
            yield one, other, runs


def call(method: str, *, by: str = "alice", **params: Any) -> dict[str, Any]:
    """Return the arguments of a request."""
    return {
        "json": {"jsonrpc": "2.0", "id": 1, "method": method, "params": params},
        "headers": {"A2A-Version": "1.0", "X-API-Key": KEYS[by]},
    }


async def answer(at: httpx.AsyncClient, method: str, *, by: str = "alice", **params: Any) -> dict[str, Any]:
    told = (await at.post("/", **call(method, by=by, **params))).json()
    return told.get("result") or told


async def sent(at: httpx.AsyncClient, text: str = "go", *, by: str = "alice") -> str:
    """Send a message, and return the id of its task at once."""
    said = {"messageId": "m", "role": "ROLE_USER", "parts": [{"text": text}]}
    told = await answer(at, "SendMessage", by=by, message=said, configuration={"returnImmediately": True})
    return told["task"]["id"]


async def events(at: httpx.AsyncClient, task_id: str) -> AsyncGenerator[dict[str, Any]]:
    """Follow a task."""
    async with at.stream("POST", "/", **call("SubscribeToTask", id=task_id)) as stream:
        async for line in stream.aiter_lines():
            if line.startswith("data:"):
                yield json.loads(line[5:])["result"]


def text_of(told: dict[str, Any]) -> str:
    return "".join(part["text"] for artifact in told.get("artifacts", ()) for part in artifact["parts"])


@in_postgres
async def test_a_task_of_one_process_is_read_followed_and_cancelled_at_another(tmp_path: Path, url: str) -> None:
    with fail_after(60):
        async with two(tmp_path, url) as (one, other, runs):
            task_id = await sent(one.http)
            run = await runs.next()
            assert run.pid == one.pid
            following = events(other.http, task_id)
            assert (await anext(following))["task"]["id"] == task_id
            run.say("half")
            while "artifactUpdate" not in (told := await anext(following)):
                pass
            assert [part["text"] for part in told["artifactUpdate"]["artifact"]["parts"]] == ["half"]
            read = await answer(other.http, "GetTask", id=task_id)
            assert (read["status"]["state"], text_of(read)) == ("TASK_STATE_WORKING", "half")
            for method in ("GetTask", "CancelTask", "SubscribeToTask"):
                refused = await answer(other.http, method, by="bob", id=task_id)
                assert refused["error"]["code"] == -32001
            assert (await answer(other.http, "ListTasks", by="bob")).get("tasks", []) == []
            canceled = await answer(other.http, "CancelTask", id=task_id)
            assert canceled["status"]["state"] == "TASK_STATE_CANCELED"
            await run.cancelled()
            last = [told async for told in following][-1]
            assert last["statusUpdate"]["status"]["state"] == "TASK_STATE_CANCELED"
            for at in (one, other):
                read = await answer(at.http, "GetTask", id=task_id)
                assert (read["status"]["state"], text_of(read)) == ("TASK_STATE_CANCELED", "half")


@in_sqlite
async def test_a_task_whose_process_is_killed_has_failed_at_the_other_and_the_agent_goes_on(
    tmp_path: Path, url: str
) -> None:
    with fail_after(60):
        async with two(tmp_path, url) as (one, other, runs):
            task_id, spared = await sent(one.http, "one"), await sent(other.http, "two")
            killed, living = await runs.named("one", "two")
            following = events(other.http, task_id)
            await anext(following)
            killed.say("half")
            while "artifactUpdate" not in await anext(following):
                pass
            one.stop(SIGKILL)
            assert await one.ended() == -SIGKILL
            read = await answer(other.http, "GetTask", id=task_id)
            assert read["status"]["state"] == "TASK_STATE_WORKING"  # nobody can know yet
            await lapse(url, task_id)
            told = [told async for told in following][-1]["statusUpdate"]["status"]
            assert told["state"] == "TASK_STATE_FAILED"
            assert [part["text"] for part in told["message"]["parts"]] == [ABANDONED]
            read = await answer(other.http, "GetTask", id=task_id)
            assert (read["status"]["state"], text_of(read)) == ("TASK_STATE_FAILED", "half")
            living.end("all")
            while (read := await answer(other.http, "GetTask", id=spared))["status"]["state"] == "TASK_STATE_WORKING":
                pass
            assert (read["status"]["state"], text_of(read)) == ("TASK_STATE_COMPLETED", "all")


@in_postgres
async def test_what_a_process_says_that_was_stopped_for_longer_than_its_lease_changes_nothing(
    tmp_path: Path, url: str
) -> None:
    with fail_after(60):
        async with two(tmp_path, url) as (one, other, runs):
            task_id = await sent(one.http)
            run = await runs.next()
            run.say("half")
            while text_of(await answer(other.http, "GetTask", id=task_id)) != "half":
                pass
            one.stop(SIGSTOP)
            await lapse(url)
            failed = await answer(other.http, "GetTask", id=task_id)
            assert failed["status"]["state"] == "TASK_STATE_FAILED"
            run.end("too late")
            one.stop(SIGCONT)
            later = await sent(one.http, "later")
            (await runs.next()).end("done")
            while (await answer(one.http, "GetTask", id=later))["status"]["state"] != "TASK_STATE_COMPLETED":
                pass
            for at in (one, other):
                assert await answer(at.http, "GetTask", id=task_id) == failed


@in_sqlite
async def test_workers_share_their_tasks_and_start_together_on_an_empty_database(tmp_path: Path, url: str) -> None:
    (tmp_path / "agent.py").write_text(TOLD_AGENT)
    environment = {"AGENT_WORKERS": "2", "MEMORY_TYPE": "null", "A2A_TASK_URL": url}
    said = {"messageId": "m", "role": "ROLE_USER", "parts": [{"text": "go"}]}
    with fail_after(60):
        async with told_runs() as runs, process(tmp_path, TEST_PORT=str(runs.port), **environment) as here:
            await here.says("listens on", 2)
            assert len(await pids_of(here)) == 2
            done: set[str] = set()
            pids: set[int] = set()
            while len(pids) < 2:
                async with httpx.AsyncClient(base_url=here.http.base_url, timeout=20) as http:  # any of the two
                    begun = await http.post(
                        "/", **call("SendMessage", message=said, configuration={"returnImmediately": True})
                    )
                run = await runs.next()
                pids.add(run.pid)
                run.end("done")
                done.add(begun.json()["result"]["task"]["id"])
            for task_id in done:
                for _ in range(4):
                    async with httpx.AsyncClient(base_url=here.http.base_url, timeout=20) as http:
                        read = await answer(http, "GetTask", id=task_id)
                        while read["status"]["state"] != "TASK_STATE_COMPLETED":
                            read = await answer(http, "GetTask", id=task_id)
                        assert text_of(read) == "done"
            here.stop()
            assert await here.ended() == 0
    assert "Traceback" not in "".join(here.log)
