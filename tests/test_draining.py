"""The end of a process: what was begun is answered, what comes is refused, and nothing is left behind."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
from anyio import fail_after
from pydantic_ai import Agent

from .agents import GatedModel
from .http_agents import CHAT, body, content_of, error_of, served, until
from .processes import TOLD_SERVER, Process, process, told_runs

pytestmark = pytest.mark.anyio


async def ask(http: httpx.AsyncClient, text: str, *, session_id: str | None = None, **fields: Any) -> httpx.Response:
    headers = {} if session_id is None else {"X-Session-ID": session_id}
    return await http.post(CHAT, json=body(text, **fields), headers=headers)


def words_of(answer: httpx.Response) -> str:
    """Return the text of a stream that came to its end."""
    *events, last = [line.removeprefix("data: ") for line in answer.text.splitlines() if line.startswith("data: ")]
    assert last == "[DONE]"
    chunks = [json.loads(event) for event in events]
    return "".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in chunks)


async def stops_cleanly(here: Process) -> str:
    """Return the log of a process that has ended as it should."""
    log = "".join(here.log) if await here.ended() == 0 else f"exit code {here.process.returncode}: {''.join(here.log)}"
    assert here.process.returncode == 0, log
    assert "Traceback" not in log
    assert "ERROR" not in log
    return log


async def test_on_a_signal_what_was_begun_is_answered_and_what_comes_is_refused(tmp_path: Path) -> None:
    (tmp_path / "server.py").write_text(TOLD_SERVER)
    with fail_after(30):
        async with (
            told_runs() as runs,
            process(tmp_path, TEST_PORT=str(runs.port)) as here,
        ):
            streamed = asyncio.create_task(ask(here.http, "streamed", session_id="s", stream=True))
            first = await runs.next()
            first.say("one")
            plain = asyncio.create_task(ask(here.http, "plain"))
            second = await runs.next()
            here.stop()
            await here.not_ready()
            assert (await here.http.get("/health")).status_code == 200
            for stream in (False, True):
                refused = await ask(here.http, "late", stream=stream)
                assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
                assert error_of(refused)["code"] == "server_error"
            first.end("two", "three")
            second.end("plain", "answer")
            assert words_of(await streamed) == "onetwothree"
            assert content_of(await plain) == "plainanswer"
            await stops_cleanly(here)
    assert json.loads((tmp_path / "closed.json").read_text()) == [
        ["user_message", "streamed"],
        ["agent_response", "onetwothree"],
    ]


async def test_when_the_grace_is_over_every_client_is_told_and_every_run_is_stored(tmp_path: Path) -> None:
    (tmp_path / "server.py").write_text(TOLD_SERVER)
    with fail_after(30):
        async with (
            told_runs() as runs,
            process(tmp_path, TEST_PORT=str(runs.port), AGENT_GRACE_SECONDS="0.5") as here,
        ):
            streamed = asyncio.create_task(ask(here.http, "streamed", session_id="s", stream=True))
            first = await runs.next()
            first.say("one")
            plain = asyncio.create_task(ask(here.http, "plain", session_id="p"))
            second = await runs.next()
            here.stop(signal.SIGINT)
            cut_off = error_of(await plain)
            told = [line for line in (await streamed).text.splitlines() if line]
            await stops_cleanly(here)
            await first.cancelled()
            await second.cancelled()
    assert ((await plain).status_code, cut_off["code"]) == (503, "server_error")
    assert ((await plain).headers["x-should-retry"], (await plain).headers["x-session-id"]) == ("false", "p")
    assert json.loads(told[-1].removeprefix("data: ")) == {"error": cut_off}
    stored = json.loads((tmp_path / "closed.json").read_text())
    assert stored == [["user_message", "streamed"], ["agent_response", "one"]]


STUBBORN_SERVER = (
    TOLD_SERVER
    + """
from pydantic_ai.models.function import DeltaToolCall


@agent.tool_plain
async def wait():
    _, writer = await asyncio.open_connection("127.0.0.1", int(os.environ["TEST_PORT"]))
    try:
        writer.write(b"0 waits\\n")
        await asyncio.Event().wait()
    finally:
        writer.close()


@agent.tool_plain
def block():
    import socket

    with socket.create_connection(("127.0.0.1", int(os.environ["TEST_PORT"]))) as told:
        told.sendall(b"0 blocks its thread\\n")
        told.recv(1)


@agent.tool_plain
async def ignore():
    _, writer = await asyncio.open_connection("127.0.0.1", int(os.environ["TEST_PORT"]))
    writer.write(b"0 ignores its end\\n")
    while True:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            pass


async def calls(messages, info):
    yield {0: DeltaToolCall(messages[-1].parts[-1].content, "{}", tool_call_id="c")}


agent.model = FunctionModel(stream_function=calls)
"""
)


async def test_a_tool_that_blocks_its_thread_does_not_keep_the_process(tmp_path: Path) -> None:
    (tmp_path / "server.py").write_text(STUBBORN_SERVER)
    with fail_after(30):
        async with (
            told_runs() as runs,
            process(tmp_path, TEST_PORT=str(runs.port), AGENT_GRACE_SECONDS="0.5") as here,
        ):
            answer = asyncio.create_task(ask(here.http, "block", session_id="s", stream=True))
            assert (await runs.next()).prompt == "blocks its thread"
            here.stop()
            assert '"server_error"' in (await answer).text
            assert "left behind" in await stops_cleanly(here)
    stored = json.loads((tmp_path / "closed.json").read_text())
    assert [event for event, _ in stored] == ["user_message", "tool_call", "tool_result"]
    assert "interrupted" in stored[-1][1]["result"]


async def test_a_second_signal_stores_what_runs_and_does_not_wait_for_it(tmp_path: Path) -> None:
    (tmp_path / "server.py").write_text(STUBBORN_SERVER)
    with fail_after(30):
        async with (
            told_runs() as runs,
            process(tmp_path, TEST_PORT=str(runs.port), AGENT_GRACE_SECONDS="600") as here,
        ):
            answer = asyncio.create_task(ask(here.http, "wait", session_id="s", stream=True))
            await runs.next()
            here.stop()
            await here.not_ready()
            here.stop()
            assert '"server_error"' in (await answer).text
            await stops_cleanly(here)
    stored = json.loads((tmp_path / "closed.json").read_text())
    assert [event for event, _ in stored] == ["user_message", "tool_call", "tool_result"]
    assert "interrupted" in stored[-1][1]["result"]


async def test_a_second_signal_ends_a_process_in_which_something_ignores_its_end(tmp_path: Path) -> None:
    (tmp_path / "server.py").write_text(STUBBORN_SERVER)
    with fail_after(30):
        async with (
            told_runs() as runs,
            process(tmp_path, TEST_PORT=str(runs.port), AGENT_GRACE_SECONDS="600") as here,
        ):
            answer = asyncio.create_task(ask(here.http, "ignore", stream=True))
            await runs.next()
            here.stop()
            await here.not_ready()
            here.stop(signal.SIGINT)
            assert await here.ended() == 1
            await asyncio.wait([answer])
            assert not answer.exception() or isinstance(answer.exception(), httpx.RemoteProtocolError)
    assert "the process leaves it behind" in here.log[-1]


BLOCKED_AGENT = """
import asyncio
import os
import socket

from pydantic_ai import Agent
from pydantic_ai.models.function import FunctionModel


def wait_for_the_test(where):
    with socket.create_connection(("127.0.0.1", int(os.environ["TEST_PORT"]))) as connection:
        connection.sendall(f"{os.getpid()} {where}\\n".encode())
        connection.recv(1)


async def stream(messages, info):
    if messages[-1].parts[-1].content == "thread":
        await asyncio.to_thread(wait_for_the_test, "in a thread")
    else:
        wait_for_the_test("on the loop")
    yield "late"


agent = Agent(FunctionModel(stream_function=stream), name="blocked")
"""


async def test_a_thread_that_nobody_waits_for_any_more_does_not_keep_the_process(tmp_path: Path) -> None:
    (tmp_path / "agent.py").write_text(BLOCKED_AGENT)
    with fail_after(30):
        async with (
            told_runs() as runs,
            process(tmp_path, TEST_PORT=str(runs.port), AGENT_GRACE_SECONDS="0.5") as here,
        ):
            answer = asyncio.create_task(ask(here.http, "thread", stream=True))
            assert (await runs.next()).prompt == "in a thread"
            here.stop()
            assert '"server_error"' in (await answer).text
            assert "left behind" in await stops_cleanly(here)


async def test_two_signals_end_a_process_whose_event_loop_is_blocked(tmp_path: Path) -> None:
    (tmp_path / "agent.py").write_text(BLOCKED_AGENT)
    with fail_after(30):
        async with told_runs() as runs, process(tmp_path, TEST_PORT=str(runs.port)) as here:
            answer = asyncio.create_task(ask(here.http, "block", stream=True))
            assert (await runs.next()).prompt == "on the loop"
            here.stop(signal.SIGTERM)
            here.stop(signal.SIGINT)
            assert await here.ended() == 1
            await asyncio.wait([answer])
            assert isinstance(answer.exception(), httpx.RemoteProtocolError)
    assert "the process leaves it behind" in here.log[-1]


async def test_an_answer_of_a_stopping_server_closes_its_connection() -> None:
    gated = GatedModel()
    with fail_after(5):
        async with served(Agent(gated.model)) as here:
            before = await here.http.get("/health")
            run = asyncio.create_task(here.ask("one"))
            await gated.said_first.wait()
            draining = asyncio.create_task(here.server.drain(60))
            await until(lambda: here.server.stopping)
            probe = await here.http.get("/health")
            gated.gate.set()
            await draining
            assert content_of(await run) == "one two"
            assert [answer.headers.get("connection") for answer in (before, probe, await run)] == [None, *["close"] * 2]


async def test_what_waits_for_a_place_is_served_before_the_end() -> None:
    gated = GatedModel()
    with fail_after(5):
        async with served(Agent(gated.model), max_active_runs=1) as here:
            runs = [asyncio.create_task(here.ask("one", session_id="s"))]
            await gated.said_first.wait()
            for session_id, stream in (("s", True), ("other", False)):
                runs.append(asyncio.create_task(here.ask("waits", session_id=session_id, stream=stream)))
            await until(lambda: here.runtime.admission.waiting == 2)
            draining = asyncio.create_task(here.server.drain(60))
            await until(lambda: here.server.stopping)
            assert (await here.ask("late", session_id="s")).status_code == 503
            gated.gate.set()
            await draining
            first, second, third = [await run for run in runs]
            assert content_of(first) == content_of(third) == "one two"
            assert words_of(second) == "one two"
            assert (await here.http.get("/ready")).json()["reasons"] == ["draining"]


@pytest.mark.parametrize("grace_s", [0, 0.1])
async def test_a_grace_that_is_over_leaves_no_run_and_no_request(grace_s: float) -> None:
    gated = GatedModel()
    with fail_after(5):
        async with served(Agent(gated.model), max_active_runs=1) as here:
            plain = asyncio.create_task(here.ask("one", session_id="p"))
            await gated.said_first.wait()
            waiting = asyncio.create_task(here.ask("two", session_id="w", stream=True))
            await until(lambda: here.runtime.admission.waiting == 1)
            await here.server.drain(grace_s)
            answers = [await plain, await waiting]
            assert here.runtime.admission.active == here.runtime.admission.waiting == 0
            assert await here.events("p") == [("user_message", "one")]
            assert await here.events("w") == []
    assert [(answer.status_code, error_of(answer)["code"]) for answer in answers] == [(503, "server_error")] * 2
    assert gated.requests == 1


async def test_a_request_whose_body_is_still_coming_does_not_hold_up_the_end() -> None:
    with fail_after(5):
        async with served(Agent(GatedModel().model)) as here:
            host, port = here.url.removeprefix("http://").split(":")
            sent = json.dumps(body("late"))
            head = f"POST {CHAT} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(sent)}\r\n\r\n"
            async with await anyio.connect_tcp(host, int(port)) as client:
                await client.send(f"{head}{sent[:-1]}".encode())
                await until(lambda: here.server.in_flight._count == 1)
                await here.server.drain(60)
                assert b" 503 " in await client.receive()


A_THREAD_THAT_ENDS = """
import threading

from pais_sdk.serve.command import leave_threads_behind

class Ending(threading.Thread):
    told = threading.Event()

    def run(self):
        self.told.wait()

    def join(self, timeout=None):
        self.told.set()
        super().join(timeout)

Ending().start()
leave_threads_behind()
print("ends by itself")
"""


def test_a_thread_that_is_about_to_end_is_not_left_behind() -> None:
    ended = subprocess.run([sys.executable, "-c", A_THREAD_THAT_ENDS], capture_output=True, text=True, timeout=60)
    assert (ended.stdout, ended.stderr) == ("ends by itself\n", "")
