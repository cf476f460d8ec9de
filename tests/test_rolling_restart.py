"""One process takes over from another while clients stream: no request is lost, and no token."""

from __future__ import annotations

from pathlib import Path

import anyio
import pytest
from anyio import Event, fail_after

from .processes import TOLD_SERVER, Told, process, told_runs
from .test_draining import ask, stops_cleanly, words_of

pytestmark = pytest.mark.anyio

CLIENTS, TURNS = 5, 3
WORDS = [f"{number}," for number in range(20)]


async def test_clients_go_on_to_the_next_process_and_lose_no_token(tmp_path: Path) -> None:
    (tmp_path / "server.py").write_text(TOLD_SERVER)
    texts: dict[str, str] = {}
    pids: dict[str, int] = {}
    refused: list[str] = []
    all_stream, draining, others_are_done, first_is_done = Event(), Event(), Event(), Event()

    with fail_after(60):
        async with (
            told_runs() as runs,
            process(tmp_path, TEST_PORT=str(runs.port)) as old,
            process(tmp_path, TEST_PORT=str(runs.port)) as new,
            anyio.create_task_group() as group,
        ):

            async def talk(client: int) -> None:
                for turn in range(TURNS if client else 1):  # the first client keeps the old process busy
                    name = f"{client}.{turn}"
                    answer = await ask(old.http, name, stream=True)
                    if answer.status_code == 503:
                        refused.append(name)
                        answer = await ask(new.http, name, stream=True)
                    texts[name] = words_of(answer)
                if not client:
                    first_is_done.set()
                if sum(name.endswith(f".{TURNS - 1}") for name in texts) == CLIENTS - 1:
                    others_are_done.set()

            async def tell() -> None:
                while True:
                    told = await runs.next()
                    pids[told.prompt] = told.pid
                    if len(pids) == CLIENTS:
                        all_stream.set()
                    group.start_soon(say, told)

            async def say(told: Told) -> None:
                for word in WORDS[:10]:
                    told.say(word)
                await draining.wait()
                if told.prompt == "0.0":
                    await others_are_done.wait()
                told.end(*WORDS[10:])

            for client in range(CLIENTS):
                group.start_soon(talk, client)
            group.start_soon(tell)
            await all_stream.wait()
            old.stop()
            await old.not_ready()
            draining.set()
            await others_are_done.wait()
            await stops_cleanly(old)
            await first_is_done.wait()
            new.stop()
            await stops_cleanly(new)
            group.cancel_scope.cancel()
    began = {f"{client}.0" for client in range(CLIENTS)}
    later = {f"{client}.{turn}" for client in range(1, CLIENTS) for turn in range(1, TURNS)}
    assert texts == dict.fromkeys(began | later, "".join(WORDS))
    assert set(refused) == later
    assert {pids[name] for name in began} == {old.pid}
    assert {pids[name] for name in later} == {new.pid}
