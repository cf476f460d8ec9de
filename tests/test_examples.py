"""The examples start with one command each, and do what they say."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import signal
import sys
from pathlib import Path

import httpx
import pytest
from anyio import fail_after

from pais_sdk import Settings
from pais_sdk.serve.command import load_env_file
from pais_sdk.settings.peers import Peer, peer_agents

from .http_agents import CHAT, body

pytestmark = pytest.mark.anyio

EXAMPLES = Path(__file__).parent.parent / "examples"


async def test_an_orchestrator_and_two_workers_start_and_end_with_one_command(tmp_path: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-W", "error", str(EXAMPLES / "orchestrator.py"), "--port", "0"),
        cwd=tmp_path,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    log = asyncio.create_task(_all_of(process.stderr))
    try:
        with fail_after(60):
            said = ""
            while "Ctrl-C" not in said:
                line = (await process.stdout.readline()).decode()
                assert line, await log
                said += line
            urls = re.findall(r"http://127.0.0.1:\d+(?=/memory/events)", said)
            async with httpx.AsyncClient(timeout=20) as http:
                answer = await http.post(f"{urls[0]}{CHAT}", json=body("Tell me about the tides", stream=True))
                events = [(await http.get(f"{url}/memory/events")).json()["events"] for url in urls]
            process.send_signal(signal.SIGINT)
            assert await process.wait() == 0
            logged = await log
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        await process.wait()
    assert "Traceback" not in logged
    assert logged.count("takes no more runs and ends") == 3
    chunks = [json.loads(line[6:]) for line in answer.text.splitlines() if line.startswith("data: {")]
    progress = [chunk["progress"] for chunk in chunks if "progress" in chunk]
    assert [one["target"] for one in progress if "detail" not in one] == ["researcher", "writer"]
    assert [one["detail"]["target"] for one in progress if "detail" in one] == ["look_up"]
    assert "The sea breathes" in "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks)
    of_orchestrator, of_researcher = events
    results = {
        event["metadata"]["agent"]: event["content"]["result"]
        for event in of_orchestrator
        if event["event_type"] == "delegation_response"
    }
    assert results == {
        "researcher": "The Moon's pull raises the water on both sides of the Earth.",
        "writer": "The sea breathes twice a day.",
    }
    assert of_researcher[0]["content"] == "What makes the tides?"


def test_the_file_for_three_terminals_names_the_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "environ", os.environ.copy())
    load_env_file(str(EXAMPLES / "orchestrator.env"))
    assert peer_agents(Settings()) == {
        "researcher": Peer(url="http://127.0.0.1:8001"),
        "writer": Peer(url="http://127.0.0.1:8002"),
    }


async def _all_of(stream: asyncio.StreamReader | None) -> str:
    assert stream is not None
    return (await stream.read()).decode()
