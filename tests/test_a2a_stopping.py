"""A2A: the end of a server, and its next beginning."""

from __future__ import annotations

import asyncio
import gc
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
from pydantic_ai import Agent
from starlette.applications import Starlette
from starlette.routing import Mount

from pais_sdk import AgentRuntime, Settings, serve

from .a2a_calls import CORE, begin, call, message, pieces, post, said, send, streaming, text_of
from .agents import GatedModel, echo_agent
from .http_agents import served, until
from .processes import TOLD_SERVER, process, told_runs

pytestmark = pytest.mark.anyio
CUT_OFF = "The server stopped before the answer was complete. What was done until then is stored."


async def test_while_a_server_drains_no_task_begins_and_what_runs_ends(tmp_path: Path) -> None:
    (tmp_path / "server.py").write_text(TOLD_SERVER)
    with anyio.fail_after(30):
        async with told_runs() as runs, process(tmp_path, TEST_PORT=str(runs.port)) as here:
            waits = asyncio.create_task(send(here.http, "waits"))
            first = await runs.next()
            task = await begin(here.http, "goes on")
            second = await runs.next()
            here.stop()
            await here.not_ready()
            for method in ("SendMessage", "SendStreamingMessage"):
                refused = await post(here.http, method, message("late"))
                assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
                assert refused.json()["error"]["code"] == "server_error"
            second.say("one ")
            assert (await call(here.http, "GetTask", {"id": task["id"]}))["status"]["state"] == "TASK_STATE_WORKING"
            async with streaming(here.http, "SubscribeToTask", {"id": task["id"]}) as results:
                told = [await anext(results)]
                first.end("all")
                second.end("two")
                told += [result async for result in results]
            assert told[-1]["statusUpdate"]["status"]["state"] == "TASK_STATE_COMPLETED"
            assert text_of(await waits) == "all"
            assert await here.ended() == 0
            log = "".join(here.log)
            assert "Traceback" not in log, log
            assert "WARNING" not in log, log
            assert "ERROR" not in log, log


async def test_when_the_grace_is_over_tasks_have_failed_and_the_store_says_so(tmp_path: Path) -> None:
    (tmp_path / "server.py").write_text(TOLD_SERVER)
    url = f"sqlite:///{tmp_path}/tasks.db"
    settings = {"AGENT_GRACE_SECONDS": "0.5", "A2A_TASK_URL": url}
    with anyio.fail_after(60):
        async with told_runs() as runs:
            async with process(tmp_path, TEST_PORT=str(runs.port), **settings) as here:
                async with streaming(here.http, "SendStreamingMessage", message("streamed")) as results:
                    told = [await anext(results)]
                    first = await runs.next()
                    first.say("one ")
                    task = await begin(here.http, "alone")
                    second = await runs.next()
                    here.stop()
                    told += [result async for result in results]
                assert "".join(pieces(told)) == "one"
                assert told[-1]["statusUpdate"]["status"]["state"] == "TASK_STATE_FAILED"
                assert said(told[-1]["statusUpdate"]) == CUT_OFF
                assert await here.ended() == 0
                log = "".join(here.log)
                assert "Traceback" not in log, log
                assert "ERROR" not in log, log
                await first.cancelled()
                await second.cancelled()
            async with process(tmp_path, TEST_PORT=str(runs.port), **settings) as again:
                found = await call(again.http, "GetTask", {"id": task["id"]})
                assert (found["status"]["state"], said(found)) == ("TASK_STATE_FAILED", CUT_OFF)
                streamed = await call(again.http, "GetTask", {"id": told[0]["task"]["id"]})
                assert (streamed["status"]["state"], text_of(streamed)) == ("TASK_STATE_FAILED", "one")


async def test_who_follows_a_task_of_another_process_is_let_go_when_this_one_stops(tmp_path: Path) -> None:
    (tmp_path / "server.py").write_text(TOLD_SERVER)
    settings = {"A2A_TASK_URL": f"sqlite:///{tmp_path}/tasks.db", "AGENT_GRACE_SECONDS": "60"}
    with anyio.fail_after(40):  # well within the grace
        async with told_runs() as runs:
            environment = {"TEST_PORT": str(runs.port), **settings}
            async with process(tmp_path, **environment) as works, process(tmp_path, **environment) as stops:
                task = await begin(works.http)
                run = await runs.next()
                async with streaming(stops.http, "SubscribeToTask", {"id": task["id"]}) as results:
                    assert (await anext(results))["task"]["id"] == task["id"]
                    stops.stop()
                    assert [result async for result in results if "task" in result] == []
                assert await stops.ended() == 0
                assert "Traceback" not in "".join(stops.log)
                async with streaming(works.http, "SubscribeToTask", {"id": task["id"]}) as results:
                    assert (await anext(results))["task"]["id"] == task["id"]
                    run.end("done")
                    told = [result async for result in results]
                assert told[-1]["statusUpdate"]["status"]["state"] == "TASK_STATE_COMPLETED"


async def test_the_end_of_a_server_in_the_callers_loop_leaves_nothing_behind() -> None:
    model = GatedModel()
    with anyio.fail_after(20):
        before = asyncio.all_tasks()
        async with served(Agent(model.model)) as here:
            follower = asyncio.create_task(_follow(here.http))
            await model.said_first.wait()
            waiting = asyncio.create_task(send(here.http, contextId="one"))
            await until(lambda: model.requests == 2)
            queued = await begin(here.http, contextId="one")
            await until(lambda: here.runtime.admission.waiting == 1)
            assert queued["status"]["state"] == "TASK_STATE_SUBMITTED"
            stopped = asyncio.create_task(here.server.cancel_runs())
            told = await follower
            assert said(told[-1]["statusUpdate"]) == CUT_OFF
            assert said(await waiting) == CUT_OFF
            await stopped
            ended = await call(here.http, "GetTask", {"id": queued["id"]})
            assert ended["status"]["state"] == "TASK_STATE_FAILED"
            assert said(ended).startswith("The server is about to stop.")
        await until(lambda: asyncio.all_tasks() <= before | {asyncio.current_task()})  # pyright: ignore[reportArgumentType]
        gc.collect()


async def _follow(http: httpx.AsyncClient) -> list[Any]:
    async with streaming(http, "SendStreamingMessage", message()) as results:
        return [result async for result in results]


async def test_a_task_that_nobody_waits_for_is_cut_off_and_stored_when_the_block_ends(tmp_path: Path) -> None:
    model = GatedModel()
    settings = Settings(a2a_task_url=f"sqlite:///{tmp_path}/tasks.db")  # pyright: ignore
    with anyio.fail_after(20):
        async with served(Agent(model.model), settings=settings) as here:
            task = await begin(here.http)
            await model.said_first.wait()
        assert model.cancelled.is_set()
        async with served(Agent(model.model), settings=settings) as here:
            found = await call(here.http, "GetTask", {"id": task["id"]})
            assert (found["status"]["state"], said(found)) == ("TASK_STATE_FAILED", CUT_OFF)
            assert text_of(found) == "one "


def test_a_server_can_be_started_again_also_on_another_event_loop() -> None:
    app = serve(echo_agent())

    async def use() -> None:
        with anyio.fail_after(20):
            url = await app.start(port=0)
            async with httpx.AsyncClient(base_url=url) as http:
                assert text_of(await send(http)) == "hi (1)"
            await app.stop()

    async def twice() -> None:
        await use()
        await use()

    asyncio.run(twice())
    asyncio.run(use())
    with app.start_in_thread(port=0) as handle, httpx.Client(base_url=handle.url) as http:
        params = {"jsonrpc": "2.0", "id": 1, "method": "SendMessage", "params": message()}
        assert text_of(http.post("/", json=params, headers=CORE).json()["result"]["task"]) == "hi (1)"


async def test_a_mounted_server_takes_tasks_without_a_lifespan() -> None:
    model = GatedModel()
    runtime = AgentRuntime(Agent(model.model))
    parent = Starlette(routes=[Mount("/agent", serve(runtime))])
    with anyio.fail_after(10):
        transport = httpx.ASGITransport(parent)
        async with httpx.AsyncClient(transport=transport, base_url="http://parent/agent") as http:
            task = await begin(http)
            await model.said_first.wait()
            model.gate.set()
            await runtime.ended()
            while (found := await call(http, "GetTask", {"id": task["id"]}))["status"][
                "state"
            ] != "TASK_STATE_COMPLETED":
                await asyncio.sleep(0)
            assert text_of(found) == "one two"
        await runtime.close()
