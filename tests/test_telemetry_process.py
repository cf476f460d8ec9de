"""Telemetry of a server as a process: nothing is lost at its end, and no collector can hold it up."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Literal

import httpx
import pytest
from anyio import fail_after

from .http_agents import CHAT, body, content_of
from .otlp_receiver import AT_ONCE, Receiver, SpanTaken, receiver
from .peers import unused_url
from .processes import SERVE, TOLD_AGENT, Process, Runs, Told, process, told_runs
from .test_draining import ask, stops_cleanly, words_of

pytestmark = pytest.mark.anyio

WITHOUT_CONTENT = {"OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT": "false"}
PROTOCOLS = pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"], ids=["grpc", "http"])


def runs_of(otlp: Receiver) -> list[SpanTaken]:
    return [span for span in otlp.spans if span.name == "server-run"]


def reasons_of(otlp: Receiver) -> list[str]:
    """Return how the runs ended whose span has come."""
    return [span.attributes["pais_sdk.stop_reason"] for span in runs_of(otlp)]


@asynccontextmanager
async def told(
    folder: Path, otlp: Receiver, protocol: str = "grpc", **variables: str
) -> AsyncGenerator[tuple[Runs, Process]]:
    """Run a server that exports to a collector."""
    (folder / "agent.py").write_text(TOLD_AGENT)
    exports = {**otlp.environment(protocol), **variables}
    async with told_runs() as runs, process(folder, TEST_PORT=str(runs.port), **exports) as here:
        yield runs, here


# Nothing is lost at the end


@PROTOCOLS
async def test_what_was_told_before_a_signal_and_in_the_middle_of_a_stream_arrives(
    tmp_path: Path, protocol: str
) -> None:
    with fail_after(60):
        async with receiver() as otlp, told(tmp_path, otlp, protocol) as (runs, here):
            plain = asyncio.create_task(ask(here.http, "plain"))
            (await runs.next()).end("at once")
            assert content_of(await plain) == "at once"
            streamed = asyncio.create_task(ask(here.http, "streamed", stream=True))
            run = await runs.next()
            run.say("begun")
            here.stop()
            await here.not_ready()
            run.end("ended")
            assert words_of(await streamed) == "begunended"
            await stops_cleanly(here)
            await otlp.settled()
    assert sorted(reasons_of(otlp)) == ["end_turn", "end_turn"]
    assert sorted(span.name for span in otlp.spans) == sorted(
        2 * ["server-run", "memory.open_session", f"invoke_agent told-{here.pid}", "chat function:whole:stream"]
        + 2 * ["memory.append"]
    )
    (counted,) = otlp.newest("pais_sdk.runs")
    assert counted.value == 2
    assert f"agent 'told-{here.pid}' has stopped" in [record.body for record in otlp.logs]


async def test_a_run_that_a_second_signal_cuts_off_arrives_as_cancelled(tmp_path: Path) -> None:
    with fail_after(30):
        async with receiver() as otlp, told(tmp_path, otlp) as (runs, here):
            streamed = asyncio.create_task(ask(here.http, "streamed", stream=True))
            run = await runs.next()
            here.stop()
            await here.not_ready()
            here.stop()
            await run.cancelled()
            await streamed
            await stops_cleanly(here)
            await otlp.settled()
    (cut,) = runs_of(otlp)
    assert (cut.attributes["pais_sdk.stop_reason"], cut.status) == ("cancelled", "UNSET")


async def test_all_workers_send_what_they_have(tmp_path: Path) -> None:
    two = {"AGENT_WORKERS": "2", "MEMORY_TYPE": "null", "AGENT_A2A": "false"}
    with fail_after(60):
        async with receiver() as otlp, told(tmp_path, otlp, **two) as (runs, here):
            await here.says("listens on", 2)
            pids: set[int] = set()
            asked_of: list[int] = []
            while len(pids) < 2:  # until each has had one, on a connection of its own
                async with httpx.AsyncClient(base_url=here.http.base_url, timeout=20) as http:
                    asked = asyncio.create_task(ask(http, "go"))
                    run = await runs.next()
                    run.end("done")
                    assert content_of(await asked) == "done"
                pids.add(run.pid)
                asked_of.append(run.pid)
            here.stop()
            assert await here.ended() == 0, "".join(here.log)
            await otlp.settled()
    by_worker = Counter(span.resource["service.instance.id"] for span in runs_of(otlp))
    assert sorted(by_worker.values()) == sorted(Counter(asked_of).values())
    counted = {point.resource["service.instance.id"]: point.value for point in otlp.newest("pais_sdk.runs")}
    assert counted == by_worker
    last = [record.body for record in otlp.logs if "has stopped" in record.body]
    assert sorted(last) == sorted(f"agent 'told-{pid}' has stopped" for pid in pids)


async def test_what_the_users_own_file_has_set_up_stands_and_is_sent_at_the_end_too(tmp_path: Path) -> None:
    own = "from pais_sdk import setup_telemetry\n\nsetup_telemetry('mine', metrics=False)\n"
    with fail_after(30):
        async with receiver() as otlp, told_runs() as runs:
            (tmp_path / "agent.py").write_text(TOLD_AGENT + own)
            async with process(tmp_path, TEST_PORT=str(runs.port), **otlp.environment("grpc")) as here:
                asked = asyncio.create_task(ask(here.http, "go"))
                (await runs.next()).end("answer")
                assert content_of(await asked) == "answer"
                here.stop()
                await stops_cleanly(here)
            await otlp.settled()
    (span,) = runs_of(otlp)
    assert span.service == "mine"
    assert not otlp.points


# Disconnects, and the last byte


async def says_one(runs: Runs) -> Told:
    """Let the next run say its first word."""
    run = await runs.next()
    run.say("one")
    return run


@pytest.mark.parametrize(("on_disconnect", "reason"), [("cancel", "cancelled"), ("finish", "end_turn")])
async def test_the_run_of_a_client_that_hangs_up_ends_as_it_should(
    tmp_path: Path, on_disconnect: str, reason: str
) -> None:
    variables = {**AT_ONCE, "AGENT_ON_DISCONNECT": on_disconnect}
    with fail_after(30):
        async with receiver() as otlp, told(tmp_path, otlp, **variables) as (runs, here):
            request = body("go", stream=True)
            beginning = asyncio.create_task(says_one(runs))  # the headers wait for it
            async with here.http.stream("POST", CHAT, json=request) as answer:
                run = await beginning
                async for line in answer.aiter_lines():
                    if "one" in line:
                        break
                assert not runs_of(otlp)
            if on_disconnect == "finish":
                run.end("two")
            else:
                await run.cancelled()
            await otlp.until(lambda: runs_of(otlp))
            here.stop()
            await stops_cleanly(here)
    (span,) = runs_of(otlp)
    assert (span.attributes["pais_sdk.stop_reason"], span.status) == (reason, "UNSET")
    under = {one.name: one for one in otlp.spans if one.parent_id == span.span_id}
    assert span.end_ns >= max(one.end_ns for one in under.values())
    assert "memory.append" in under


# Says more than all buffers on the way hold, or one word.
FLOOD = """
from pydantic_ai import Agent
from pydantic_ai.models.function import FunctionModel

async def stream(messages, info):
    yield "x" * 30_000_000 if messages[-1].parts[-1].content == "slow" else "done"

agent = Agent(FunctionModel(stream_function=stream), name="flood")
"""


async def test_a_run_lasts_until_its_reader_has_taken_the_last_byte(tmp_path: Path) -> None:
    (tmp_path / "agent.py").write_text(FLOOD)
    request = json.dumps(body("slow", stream=True))
    with fail_after(60):
        async with receiver() as otlp:
            variables = {**otlp.environment("grpc"), **AT_ONCE, **WITHOUT_CONTENT}
            async with process(tmp_path, **variables) as here:
                host, port = str(here.http.base_url).removeprefix("http://").rstrip("/").split(":")
                head = f"POST {CHAT} HTTP/1.1\r\nHost: {host}\r\nContent-Length: {len(request)}\r\n\r\n"
                reader, writer = await asyncio.open_connection(host, int(port), limit=1024)
                writer.write(f"{head}{request}".encode())
                await otlp.until(lambda: [span for span in otlp.spans if span.name == "memory.append"])  # it has ended
                assert words_of(await ask(here.http, "quick", stream=True)) == "done"
                await otlp.until(lambda: runs_of(otlp))
                quick_alone = [*runs_of(otlp)]  # what began later, and has ended, is here
                said = b""
                while b"[DONE]" not in said[-64:]:
                    said = said[-64:] + await reader.read(2**20)
                writer.close()
                await otlp.until(lambda: len(runs_of(otlp)) == 2)
                here.stop()
                await stops_cleanly(here)
    quick, slow = runs_of(otlp)
    assert quick_alone == [quick]
    stored = {span.parent_id: span for span in otlp.spans if span.name == "memory.append"}
    assert slow.start_ns < stored[slow.span_id].end_ns < quick.start_ns < quick.end_ns < slow.end_ns
    assert reasons_of(otlp) == ["end_turn", "end_turn"]


# A collector that is not well


@pytest.mark.parametrize(("how", "protocol"), [("refused", "grpc"), ("hang", "http/protobuf"), ("unavailable", "grpc")])
async def test_a_dead_collector_slows_no_request_floods_no_log_and_holds_up_no_end(
    tmp_path: Path, how: Literal["refused", "hang", "unavailable"], protocol: str
) -> None:
    with fail_after(60):
        async with receiver() as otlp:
            exports = {**otlp.environment(protocol), **AT_ONCE, "OTEL_EXPORTER_OTLP_TIMEOUT": "0.2"}
            if how == "refused":
                exports["OTEL_EXPORTER_OTLP_ENDPOINT"] = unused_url()
            else:
                await otlp.behave(how)
            async with told(tmp_path, otlp, protocol, **exports) as (runs, here):
                for number in range(30):
                    asked = asyncio.create_task(ask(here.http, f"question {number}"))
                    (await runs.next()).end("answer")
                    assert content_of(await asked) == "answer"
                if how != "refused":
                    await otlp.attempted(20)
                here.stop()
                log = await stops_cleanly(here)
            await otlp.settled()
    assert not (otlp.spans or otlp.points or otlp.logs)
    about_it = [line for line in log.splitlines() if " - INFO - " not in line]
    assert 1 <= len(about_it) <= 2, log  # that it cannot be reached; and perhaps that the rest is lost
    assert exports["OTEL_EXPORTER_OTLP_ENDPOINT"] in about_it[0]


async def test_requests_are_answered_while_an_export_hangs_for_as_long_as_it_likes(tmp_path: Path) -> None:
    with fail_after(60):
        async with receiver() as otlp:
            await otlp.behave("hang")
            async with told(tmp_path, otlp, **AT_ONCE) as (runs, here):
                for number in range(3):
                    asked = asyncio.create_task(ask(here.http, f"question {number}"))
                    (await runs.next()).end("answer")
                    assert content_of(await asked) == "answer"
                    await otlp.until(lambda: ("traces", "grpc") in otlp.attempts)
                assert not otlp.spans  # none of the exports has come to an end
                await otlp.behave("ok")
                await otlp.until(lambda: len(runs_of(otlp)) == 3)  # and none is lost
                here.stop()
                await stops_cleanly(here)


async def test_a_second_signal_does_not_wait_for_a_collector(tmp_path: Path) -> None:
    with fail_after(30):
        async with receiver() as otlp:
            await otlp.behave("hang")
            async with told(tmp_path, otlp) as (runs, here):
                asked = asyncio.create_task(ask(here.http, "go"))
                (await runs.next()).end("answer")
                assert content_of(await asked) == "answer"
                here.stop()
                await otlp.attempted(1)  # the flush has begun, and would take as long as it may
                here.stop()
                await stops_cleanly(here)  # else the last resort would have ended it, after two seconds of five


# Switched off, and not there


async def test_nothing_leaves_where_telemetry_is_switched_off(tmp_path: Path) -> None:
    with fail_after(30):
        async with receiver() as otlp, told(tmp_path, otlp, **AT_ONCE, OTEL_ENABLED="false") as (runs, here):
            asked = asyncio.create_task(ask(here.http, "go"))
            (await runs.next()).end("answer")
            assert content_of(await asked) == "answer"
            here.stop()
            await stops_cleanly(here)
            await otlp.settled()
    assert not (otlp.spans or otlp.points or otlp.logs or otlp.attempts)


# Stands for an environment in which the extra is not installed.
WITHOUT_SDK = """
import sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.startswith(("opentelemetry.sdk", "opentelemetry.exporter", "opentelemetry.instrumentation")):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Blocked())
"""


def without_sdk(folder: Path) -> dict[str, str]:
    (folder / "sitecustomize.py").write_text(WITHOUT_SDK)
    return {"PYTHONPATH": str(folder), "PYDANTIC_DISABLE_PLUGINS": "__all__"}


async def test_without_the_extra_an_endpoint_is_one_warning_that_names_the_install(tmp_path: Path) -> None:
    with fail_after(30):
        async with receiver() as otlp, told(tmp_path, otlp, **without_sdk(tmp_path)) as (runs, here):
            asked = asyncio.create_task(ask(here.http, "go"))
            (await runs.next()).end("answer")
            assert content_of(await asked) == "answer"
            here.stop()
            log = await stops_cleanly(here)
    (warning,) = [line for line in log.splitlines() if "WARNING" in line]
    assert "pais-sdk[otel]" in warning


def test_without_the_extra_a_server_that_is_told_to_have_telemetry_does_not_start(tmp_path: Path) -> None:
    (tmp_path / "agent.py").write_text(FLOOD)
    variables = {**os.environ, "OTEL_ENABLED": "true", **without_sdk(tmp_path)}
    ended = subprocess.run([*SERVE, "--port", "0"], cwd=tmp_path, env=variables, capture_output=True, text=True)
    assert ended.returncode == 2, ended.stderr
    (line,) = ended.stderr.splitlines()
    assert "pais-sdk[otel]" in line
