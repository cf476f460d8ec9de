"""AGENT_WORKERS: several processes on one socket, of which nothing is left behind."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from pathlib import Path

import httpx
import pytest
from anyio import fail_after

from pais_sdk import ConfigurationError, Settings, serve
from pais_sdk._listen import open_socket

from .agents import echo_agent
from .http_agents import content_of, error_of
from .processes import SERVE, TOLD_AGENT, Process, is_alive, process, told_runs
from .test_draining import ask, words_of

pytestmark = pytest.mark.anyio

TWO = {"AGENT_WORKERS": "2", "MEMORY_TYPE": "null", "AGENT_A2A": "false"}


async def pids_of(here: Process, *, without: int = 0) -> set[int]:
    """Ask, each time on a connection of its own, until two workers have answered."""
    seen: set[int] = set()
    while len(seen) < 2:
        async with httpx.AsyncClient(base_url=here.http.base_url, timeout=20) as http:
            try:
                name = (await http.get("/health")).json()["name"]
            except httpx.TransportError:  # it had come to the one that was killed
                continue
        seen |= {int(name.removeprefix("told-"))} - {without}
    return seen


def children_of(pid: int) -> set[int]:
    return {int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()}


def identity_of(pid: int) -> str:
    """Return the AGENT_IDENTITY that a process was given."""
    variables = Path(f"/proc/{pid}/environ").read_text().split("\0")
    return next(line for line in variables if line.startswith("AGENT_IDENTITY="))


async def are_gone(*pids: int) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            end = os.pidfd_open(pid)
            gone = asyncio.Event()
            asyncio.get_running_loop().add_reader(end, gone.set)
            await gone.wait()
            asyncio.get_running_loop().remove_reader(end)
            os.close(end)


async def test_two_workers_serve_and_one_that_dies_has_a_successor_and_all_end_together(tmp_path: Path) -> None:
    (tmp_path / "agent.py").write_text(TOLD_AGENT)
    with fail_after(60):
        async with told_runs() as runs, process(tmp_path, TEST_PORT=str(runs.port), **TWO) as here:
            await here.says("listens on", 2)
            pids = await pids_of(here)
            assert pids == children_of(here.pid)
            identities = {identity_of(pid) for pid in pids}
            streams = [asyncio.create_task(ask(here.http, str(n), stream=True)) for n in range(2)]
            plain = asyncio.create_task(ask(here.http, "plain"))
            first, second, third = await runs.named("0", "1", "plain")
            victim = next(iter(pids - {first.pid}), 0)
            os.kill(victim, signal.SIGKILL)
            await here.says("listens on", 3)
            after = await pids_of(here, without=victim)
            assert after == children_of(here.pid)
            assert after & pids == pids - {victim}
            # One agent to those that it delegates to, whichever of its processes they come back to.
            assert len(identities | {identity_of(pid) for pid in after}) == 1
            here.stop()
            survivors = [(told, run) for told, run in zip((first, second, third), (*streams, plain), strict=True)]
            for told, run in survivors:
                if told.pid == victim:
                    with pytest.raises(httpx.TransportError):
                        await run
            first.say("one")
            for told, run in survivors:
                if told.pid != victim:
                    told.end("two")
                    assert "two" in (words_of(await run) if run is not plain else content_of(await run))
            assert await here.ended() == 0
            assert not [pid for pid in (victim, *after) if is_alive(pid)]
    log = "".join(here.log)
    assert f"worker {victim} ended with exit code -9; another one takes its place" in log
    assert "Traceback" not in log


async def test_workers_end_with_a_parent_that_is_killed_also_one_that_is_still_starting(tmp_path: Path) -> None:
    (tmp_path / "agent.py").write_text(TOLD_AGENT)
    with fail_after(60):
        async with told_runs() as runs, process(tmp_path, TEST_PORT=str(runs.port), **TWO) as here:
            stream = asyncio.create_task(ask(here.http, "go", stream=True))
            told = await runs.next()
            while len(workers := children_of(here.pid)) < 2:
                await asyncio.sleep(0)
            here.stop(signal.SIGKILL)
            await are_gone(*workers - {told.pid})
            told.end("to ", "the end")
            assert words_of(await stream) == "tothe end"
            await are_gone(*workers)


async def test_a_child_of_the_agents_keeps_neither_the_port_nor_the_parent(tmp_path: Path) -> None:
    start = (
        "child = subprocess.Popen(['sleep', '60'], close_fds=False, stderr=subprocess.DEVNULL)\n"
        "open(f'{child.pid}.child', 'w').close()\n"
    )
    (tmp_path / "agent.py").write_text(f"import subprocess\n{TOLD_AGENT}\n{start}")
    try:
        with fail_after(60):
            async with process(tmp_path, TEST_PORT="1", **TWO) as here:
                here.stop()
                assert await here.ended() == 0
        url = here.http.base_url
        assert url.port is not None
        open_socket(url.host, url.port).close()
    finally:
        for child in tmp_path.glob("*.child"):
            os.kill(int(child.stem), signal.SIGKILL)


async def test_a_signal_to_all_processes_is_one_signal_and_a_second_one_reaches_the_workers(tmp_path: Path) -> None:
    (tmp_path / "agent.py").write_text(TOLD_AGENT)
    with fail_after(60):
        async with told_runs() as runs, process(tmp_path, TEST_PORT=str(runs.port), **TWO) as here:
            streams = [asyncio.create_task(ask(here.http, str(n), stream=True)) for n in range(2)]
            first, second = await runs.named("0", "1")
            workers = children_of(here.pid)
            assert first.pid in workers
            os.kill(first.pid, signal.SIGTERM)  # a service manager may send it to each process of a group
            await here.not_ready()
            here.stop()
            await here.says("workers take no more runs", 1)
            for _ in range(10):
                async with httpx.AsyncClient(base_url=here.http.base_url, timeout=20) as http:  # it still listens
                    assert (await http.get("/ready")).json()["reasons"] == ["draining"]
            first.end("to ", "the end")
            assert words_of(await streams[0]) == "tothe end"
            here.stop()
            await second.cancelled()
            assert error_of(await streams[1])["code"] == "server_error"
            assert await here.ended() == 0
            assert not [pid for pid in workers if is_alive(pid)]


@pytest.mark.parametrize(
    ("arguments", "environment", "words"),
    [
        ([], {"MEMORY_TYPE": "local"}, "LocalMemory keeps sessions in one process"),
        (
            [],
            {"AGENT_A2A": "true"},
            "by A2A_TASK_URL (such as sqlite:///tasks.db), or switch A2A off by AGENT_A2A=false",
        ),
        (
            [],
            {"AGENT_A2A": "true", "A2A_TASK_URL": "postgresql://u:SECRET@127.0.0.1:1/d"},
            "A2A_TASK_URL cannot be used",
        ),
        (["missing.py"], {}, "there is no file 'missing.py'"),
        (["--host", "192.0.2.1"], {}, "cannot listen on 192.0.2.1"),
    ],
)
async def test_what_cannot_work_is_said_once(
    tmp_path: Path, arguments: list[str], environment: dict[str, str], words: str
) -> None:
    (tmp_path / "agent.py").write_text(TOLD_AGENT)
    with fail_after(60):
        process = await asyncio.create_subprocess_exec(
            *SERVE,
            *("--port", "0"),
            *arguments,
            cwd=tmp_path,
            env={**os.environ, **TWO, **environment},
            stderr=asyncio.subprocess.PIPE,
        )
        log = (await process.communicate())[1].decode()
    assert process.returncode == 2
    said = [line for line in log.splitlines() if line.startswith("pais_sdk: ")]
    assert len(said) == 1
    assert words in said[0]
    assert "Traceback" not in log
    assert "SECRET" not in log


SLOW_TO_START = "import os, socket\n" + "\n".join(
    (
        "told = socket.create_connection(('127.0.0.1', int(os.environ['TEST_PORT'])))",
        "told.sendall(f'{os.getpid()} is being imported\\n'.encode())",
        "told.recv(1)",
    )
)


async def test_a_signal_while_the_first_worker_starts_ends_both(tmp_path: Path) -> None:
    (tmp_path / "agent.py").write_text(SLOW_TO_START)
    with fail_after(60):
        async with told_runs() as runs:
            parent = await asyncio.create_subprocess_exec(
                *SERVE,
                *("--port", "0"),
                cwd=tmp_path,
                env={**os.environ, **TWO, "TEST_PORT": str(runs.port)},
                stderr=asyncio.subprocess.PIPE,
            )
            told = await runs.next()
            parent.terminate()
            log = (await parent.communicate())[1].decode()
            assert not is_alive(told.pid)
    assert parent.returncode == 0
    assert "Traceback" not in log


def test_run_serves_in_one_process_and_says_so() -> None:
    with pytest.raises(ConfigurationError, match="AGENT_WORKERS=2: run\\(\\) serves in one process"):
        serve(echo_agent(), settings=Settings(agent_workers=2)).run(port=0)
