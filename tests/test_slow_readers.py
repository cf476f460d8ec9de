"""Streams whose reader takes nothing, or little: the run of the one ends, that of the other waits."""

from __future__ import annotations

import asyncio
import json
import re
import socket
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from anyio import fail_after
from pydantic_ai import Agent
from pydantic_ai.messages import ModelMessage
from pydantic_ai.models.function import AgentInfo
from starlette.types import Message

from pais_sdk import Settings
from pais_sdk.server import patient_send
from pais_sdk.server.patient_send import PatientSend

from .agents import Pieces, model_of
from .http_agents import CHAT, Served, body, served, until

pytestmark = pytest.mark.anyio

ALICE = {"X-API-Key": "key-of-alice"}
KEYS: dict[str, Any] = {"agent_api_keys": "alice=key-of-alice"}


class Flood:
    """Says much, until it is cancelled or the test has had enough."""

    def __init__(self, pieces: float = float("inf")) -> None:
        self.pieces = pieces
        self.said = 0
        self.cancelled = asyncio.Event()
        self.agent = Agent(model_of(self._stream))

    async def _stream(self, messages: list[ModelMessage], info: AgentInfo) -> Pieces:
        try:
            while self.said < self.pieces:
                self.said += 1
                yield "word " * 10_000
        except (asyncio.CancelledError, GeneratorExit):
            self.cancelled.set()
            raise


@asynccontextmanager
async def reader_of(here: Served) -> AsyncGenerator[socket.socket]:
    """Ask for a stream over a socket that takes little at a time."""
    host, port = here.url.removeprefix("http://").split(":")
    request = json.dumps(body("go", stream=True, session_id="s"))
    head = f"POST {CHAT} HTTP/1.1\r\nHost: {host}\r\nX-API-Key: key-of-alice\r\nContent-Length: {len(request)}\r\n\r\n"
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.setblocking(False)
        await asyncio.get_running_loop().sock_connect(client, (host, int(port)))
        await asyncio.get_running_loop().sock_sendall(client, f"{head}{request}".encode())
        yield client


async def test_a_reader_that_takes_nothing_loses_its_run_and_its_place() -> None:
    flood = Flood()
    settings = Settings(**KEYS, agent_stream_idle_s=0.1, max_active_runs=1, max_queued_runs=0, max_runs_per_scope=1)
    with fail_after(5):
        async with served(flood.agent, settings=settings) as here, reader_of(here):
            await flood.cancelled.wait()
            await until(lambda: here.server.in_flight._count == 0)
            assert here.runtime.admission.active == 0
            found = await here.http.get("/memory/events?session_id=s", headers=ALICE)
            flood.pieces = flood.said + 1
            assert (await here.http.post(CHAT, json=body("again"), headers=ALICE)).status_code == 200
    kinds = [event["event_type"] for event in found.json()["events"]]
    assert kinds == ["user_message", "agent_response"]


async def test_a_reader_that_is_behind_and_reads_when_it_is_told_gets_all() -> None:
    flood = Flood()
    with fail_after(10):
        async with served(flood.agent, settings=Settings(**KEYS)) as here, reader_of(here) as client:
            said = -1
            while said != flood.said:  # until the model waits for the reader
                said = flood.said
                for _ in range(100):
                    await asyncio.sleep(0)
            flood.pieces = said + 10
            taken = b""
            while b"data: [DONE]" not in taken:
                piece = await asyncio.get_running_loop().sock_recv(client, 1_000_000)
                assert piece
                taken += piece
    taken = re.sub(rb"\r\n[0-9a-f]+\r\n", b"", taken)  # what HTTP puts between its chunks
    assert taken.count(b"word ") == (said + 10) * 10_000
    assert not flood.cancelled.is_set()


class Clock:
    """The time and the timers of an event loop, by hand."""

    def __init__(self) -> None:
        self.now = 0.0
        self.timers: list[tuple[float, Callable[[], None]]] = []

    def time(self) -> float:
        return self.now

    def call_at(self, when: float, callback: Callable[[], None]) -> Clock:
        self.timers = [(when, callback)]
        return self

    def call_later(self, delay: float, callback: Callable[[], None]) -> Clock:
        return self.call_at(self.now + delay, callback)

    def cancel(self) -> None:
        self.timers.clear()

    def go_to(self, time: float) -> None:
        while self.timers and self.timers[0][0] <= time:
            self.now, callback = self.timers.pop()
            callback()
        self.now = time


@pytest.mark.parametrize(
    ("waits", "given_up"),
    [([9.9] * 5, False), ([1.0], False), ([9.9, 0.1, 10.1], True), ([10.0], True), ([25.0], True)],
    ids=str,
)
async def test_a_reader_is_given_up_when_one_send_waits_too_long_and_not_before(
    waits: list[float], given_up: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, gone = Clock(), list[float]()

    async def send(message: Message) -> None:
        clock.go_to(clock.now + message["wait"])

    with monkeypatch.context() as patched:
        patched.setattr(patient_send.asyncio, "get_running_loop", lambda: clock)
        patient = PatientSend(send, idle_s=10, give_up=lambda: gone.append(clock.now))
    with patient.watched():
        for wait in waits:
            await patient({"type": "x", "wait": wait})
            if not gone:
                clock.go_to(clock.now + 100)  # the model thinks: that is not the reader's fault
    assert bool(gone) == given_up
    assert not clock.timers


@pytest.mark.parametrize("size", [0, 1, 32_768, 32_769, 65_536, 100_000])
async def test_a_large_chunk_goes_out_in_pieces_so_that_a_reader_that_takes_some_is_seen_to(size: int) -> None:
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    chunk = bytes(number % 251 for number in range(size))
    patient = PatientSend(send, idle_s=10, give_up=lambda: None)
    await patient({"type": "http.response.body", "body": chunk, "more_body": False})
    assert b"".join(message["body"] for message in sent) == chunk
    assert all(len(message["body"]) <= 32_768 for message in sent)
    assert [message["more_body"] for message in sent] == [True] * (len(sent) - 1) + [False]
