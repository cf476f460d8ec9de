"""Clients that talk to servers on one store, whichever of them serve just now, and keep what they were answered."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections import defaultdict
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field

import httpx

from pais_sdk.memory import Memory

from .stored_runs import stored_runs

CUT_OFF, REFUSED = "cut off", "memory_unavailable"


@dataclass
class Clients:
    """Each asks without a pause, in one session; whatever is said is said once in all.

    Args:
        sessions: How many sessions the clients share.
        with_tool: Whether the agent has its tool.
        runs: After how many runs they are done; None for when they are stopped.
    """

    sessions: int
    with_tool: bool
    runs: int | None = None
    stopped: bool = False
    begun: int = 0
    answers: int = 0
    answered: dict[str, list[str]] = field(default_factory=lambda: defaultdict[str, list[str]](list))
    """What was said in runs that were answered, by session."""
    cut_off: list[str] = field(default_factory=lambda: list[str]())
    """The same of runs whose end nobody was told."""
    refused: list[str] = field(default_factory=lambda: list[str]())
    """The same of runs whose clients were told that the memory is not available."""
    faults: list[str] = field(default_factory=lambda: list[str]())
    waits_s: list[float] = field(default_factory=lambda: list[float]())
    stored: set[str] = field(default_factory=lambda: set[str]())
    """The same of runs that `check` found."""
    _urls: list[str] = field(default_factory=lambda: list[str]())
    _troubles: list[str] = field(default_factory=lambda: list[str]())
    _heard: asyncio.Condition = field(default_factory=asyncio.Condition)

    def begin_trouble(self, becomes: str) -> None:
        """Say that something is to be killed, and that who asks just now may be CUT_OFF, or REFUSED."""
        self._urls = []
        self._troubles.append(becomes)

    async def end_trouble(self, *urls: str) -> None:
        """Say that all is well, and which servers serve now."""
        async with self._heard:
            self._urls = [*urls]
            self._heard.notify_all()

    async def stop(self) -> None:
        """Let no client ask again."""
        async with self._heard:
            self.stopped = True
            self._heard.notify_all()

    async def hear(self, answers: int) -> None:
        """Return when so many more answers have come, or something is wrong."""
        wanted = self.answers + answers
        async with self._heard:
            await self._heard.wait_for(lambda: self.answers >= wanted or bool(self.faults))

    async def one_client(self, number: int) -> None:
        """Ask until it is enough; each time another server, where there are several."""
        session_id, turn = f"s{number % self.sessions}", 0
        async with httpx.AsyncClient(timeout=90) as http:
            while True:
                async with self._heard:
                    await self._heard.wait_for(lambda: bool(self._urls) or self.stopped)
                if self.stopped or self.faults or self.begun == self.runs:
                    return
                self.begun += 1
                turn += 1
                await self._ask(http, self._urls[(number + turn) % len(self._urls)], session_id, f"{number}.{turn}")
                async with self._heard:
                    self._heard.notify_all()

    async def check(self, memory: Memory) -> None:
        """Read all sessions, and keep what is there and what is wrong with it."""
        names = {f"s{number}" for number in range(self.sessions)}
        for session_id in names:
            found = await stored_runs(memory, session_id, [*self.answered[session_id]], with_tool=self.with_tool)
            self.faults += found.faults
            self.stored |= set(found.said)
        listed = [session_id async for session_id in memory_sessions(memory)]
        if len(listed) != len({*listed}) or {*listed} - names:
            self.faults.append(f"sessions are listed twice, or nobody asked in them: {listed}")

    async def _ask(self, http: httpx.AsyncClient, url: str, session_id: str, said: str) -> None:
        before, began = len(self._troubles), time.perf_counter()
        body = {"messages": [{"role": "user", "content": said}], "stream": random.random() < 0.5}  # noqa: S311
        try:
            answer = await http.post(f"{url}/v1/chat/completions", json=body, headers={"X-Session-ID": session_id})
        except httpx.TransportError as error:
            self.cut_off.append(said)
            became, told = CUT_OFF, repr(error)
        else:
            told = _text_of(answer)
            if told.startswith(f"{said} after "):
                self.answered[session_id].append(said)
                self.waits_s.append(time.perf_counter() - began)
                self.answers += 1
                return
            self.refused.append(said)
            became = REFUSED if REFUSED in told else "answered wrongly"
        if became not in self._troubles[before:]:
            self.faults.append(f"{session_id}: {said} was {became}: {told}")


async def memory_sessions(memory: Memory) -> AsyncGenerator[str]:
    """Yield the ids of all sessions."""
    cursor = None
    while True:
        page = await memory.list_sessions(cursor=cursor)
        for session_id in page:
            yield session_id
        cursor = page.next
        if cursor is None:
            return


def _text_of(answer: httpx.Response) -> str:
    """Return the text of an answer, plain or streamed; all of it, where it did not come to its end."""
    if answer.status_code != 200 or not answer.headers["content-type"].startswith("text/event-stream"):
        return answer.json()["choices"][0]["message"]["content"] if answer.status_code == 200 else answer.text
    *lines, last = [line.removeprefix("data: ") for line in answer.text.splitlines() if line.startswith("data: ")]
    if last != "[DONE]":
        return last
    chunks = [json.loads(line) for line in lines]
    return "".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in chunks)
