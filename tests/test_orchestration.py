"""An orchestrator and its workers, each a process of its own on a real socket: what happens on all sides."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import AsyncGenerator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from anyio import fail_after
from pydantic_ai import Agent
from starlette.types import ASGIApp, Receive, Scope, Send

from pais_sdk import Settings, mock_model, serve
from pais_sdk._listen import listening
from pais_sdk.testing.mock_llm import MockLLM

from .http_agents import CHAT, body, content_of
from .processes import Process, Runs, Told, process, told_runs

pytestmark = pytest.mark.anyio

A2A = {"AGENT_A2A": "true"}
CHAT_COMPLETIONS = {"AGENT_A2A": "false"}

# Gives the user's task to the agents that it names, and says what came back.
ORCHESTRATOR = """
from pydantic_ai import Agent
from pydantic_ai.messages import ModelResponse, TextPart, ToolCallPart, ToolReturnPart
from pydantic_ai.models.function import DeltaToolCall, FunctionModel
import json

def answers(messages):
    found = [part for part in messages[-1].parts if isinstance(part, ToolReturnPart)]
    return "\\n".join(sorted(f"{part.tool_name}, {part.outcome}: {part.content}" for part in found))

def calls(messages, info):
    task = messages[-1].parts[-1].content
    named = [tool for tool in info.function_tools if tool.name.removeprefix("delegate_to_").replace("_", "-") in task]
    return [(tool.name, json.dumps({"task": task})) for tool in named]

async def stream(messages, info):
    if said := answers(messages):
        yield said
        return
    for number, (name, task) in enumerate(calls(messages, info)):
        yield {number: DeltaToolCall(name=name, json_args=task, tool_call_id=f"call_{number}")}

async def whole(messages, info):
    if said := answers(messages):
        return ModelResponse([TextPart(said)])
    return ModelResponse([ToolCallPart(name, task) for name, task in calls(messages, info)])

agent = Agent(FunctionModel(whole, stream_function=stream))
"""

# The same, with one more agent that has three seconds where it is called slow, and as many as it wants as the other.
HASTY = """
import os
from pais_sdk import RemoteAgent, serve
from pais_sdk.delegation import DelegationToolset

remote = RemoteAgent(os.environ["SLOW_URL"])
hasty = DelegationToolset({"slow": remote}, id="hasty", timeout_s=3)
app = serve(agent, toolsets=[hasty, DelegationToolset({"other": remote}, id="other")])
"""

# Tells the test what it was given and by whom, and then says line by line what it is told.
WORKER = """
import asyncio
import json
import os

from opentelemetry import trace
from pydantic_ai import Agent
from pydantic_ai.messages import ModelResponse, TextPart
from pydantic_ai.models.function import FunctionModel

from pais_sdk._current_run import current_run

async def stream(messages, info):
    reader, writer = await asyncio.open_connection("127.0.0.1", int(os.environ["TEST_PORT"]))
    try:
        span = trace.get_current_span().get_span_context()
        seen = {
            "name": os.environ["AGENT_NAME"],
            "task": messages[-1].parts[-1].content,
            "instructions": info.instructions or "",
            "trace": f"{span.trace_id:032x}",
            "chain": list(current_run().chain),
        }
        writer.write(f"{os.getpid()} {json.dumps(seen)}\\n".encode())
        while line := await reader.readline():
            yield line.decode().rstrip()
    finally:
        writer.close()

async def whole(messages, info):
    return ModelResponse([TextPart("".join([word async for word in stream(messages, info)]))])

agent = Agent(FunctionModel(whole, stream_function=stream))
"""


@dataclass
class Work:
    """A task that a worker has begun: what it was given, and the hold on what it says."""

    run: Told
    seen: dict[str, Any]


async def begun(runs: Runs, *names: str) -> list[Work]:
    """Wait until these workers, and no others, have begun; return their work in this order."""
    told = [await runs.next() for _ in names]
    found = {(seen := json.loads(run.prompt))["name"]: Work(run, seen) for run in told}
    assert sorted(found) == sorted(names)
    return [found[name] for name in names]


@dataclass
class Team:
    """An orchestrator, its workers by name, and what these are doing."""

    orchestrator: Process
    workers: dict[str, Process]
    runs: Runs

    async def ask(self, text: str, session_id: str = "s", **headers: str) -> httpx.Response:
        return await self.orchestrator.http.post(CHAT, json=body(text), headers={"X-Session-ID": session_id, **headers})


async def events_of(served: Process, session_id: str | None = None) -> list[tuple[str, Any, dict[str, Any]]]:
    """Return what the memory of a process says, as types, contents and metadata."""
    answer = await served.http.get("/memory/events", params={} if session_id is None else {"session_id": session_id})
    return [(event["event_type"], event["content"], event["metadata"]) for event in answer.json()["events"]]


@asynccontextmanager
async def team(
    folder: Path, workers: dict[str, dict[str, str]], *, others: str = "", hasty: str | None = None
) -> AsyncGenerator[Team]:
    """Run workers, and an orchestrator that has the first of them from AGENT_SUB_AGENTS and the rest as peers.

    Args:
        folder: Where their files are put.
        workers: The variables of each, by name.
        others: More entries for AGENT_SUB_AGENTS.
        hasty: One of the workers, which the orchestrator has from its code and not from the environment.
    """
    (folder / "orchestrator.py").write_text(ORCHESTRATOR if hasty is None else ORCHESTRATOR + HASTY)
    (folder / "worker.py").write_text(WORKER)
    async with told_runs() as runs, AsyncExitStack() as stack:
        starting = [
            stack.enter_async_context(
                process(folder, "worker.py", AGENT_NAME=name, TEST_PORT=str(runs.port), **variables)
            )
            for name, variables in workers.items()
        ]
        started = dict(zip(workers, await asyncio.gather(*starting), strict=True))
        urls = {name: str(worker.http.base_url).rstrip("/") for name, worker in started.items()}
        first, *peers = (name for name in workers if name != hasty)
        of_peers = {f"PEER_AGENT_{name.upper().replace('-', '_')}_CARD_URL": urls[name] for name in peers}
        variables = {
            "AGENT_NAME": "orchestrator",
            "AGENT_SUB_AGENTS": ",".join(filter(None, [f"{first}:{urls[first]}", others])),
            "PEER_AGENTS": ",".join(peers),
            "SLOW_URL": "" if hasty is None else urls[hasty],
            **of_peers,
        }
        orchestrator = await stack.enter_async_context(process(folder, "orchestrator.py", **variables))
        yield Team(orchestrator, started, runs)


TRACE = "0af7651916cd43dd8448eb211c80319c"
RESPONSE = "delegation_response"


async def test_three_delegations_overlap_all_sides_tell_the_same_story_and_a_second_task_goes_on_from_there(
    tmp_path: Path,
) -> None:
    workers = {"worker-a": A2A, "worker-b": CHAT_COMPLETIONS, "worker-c": A2A}
    names = list(workers)
    task = f"Find it out, {', '.join(names)}"
    with fail_after(120):
        async with team(tmp_path, workers) as here:
            asked = asyncio.create_task(here.ask(task, traceparent=f"00-{TRACE}-b7ad6b7169203331-01"))
            works = await begun(here.runs, *names)  # none has ended, and all have begun
            for name, work in zip(names, reversed(works), strict=True):
                work.run.end(f"done by {work.seen['name']} for {name}")
            answer = await asked
            mine = await events_of(here.orchestrator)
            theirs = {name: await events_of(worker) for name, worker in here.workers.items()}
            asked = asyncio.create_task(here.ask("And now, worker-a and worker-b?"))
            second = await begun(here.runs, "worker-a", "worker-b")
            for work in second:
                work.run.end("nothing more")
            assert content_of(await asked).count("success: nothing more") == 2
            after = {name: await events_of(here.workers[name]) for name in ("worker-a", "worker-b")}
            sessions = [(await here.workers[name].http.get("/memory/sessions")).json()["sessions"] for name in after]
    assert content_of(answer).splitlines() == [
        "delegate_to_worker_a, success: done by worker-a for worker-c",
        "delegate_to_worker_b, success: done by worker-b for worker-b",
        "delegate_to_worker_c, success: done by worker-c for worker-a",
    ]
    assert {work.seen["trace"] for work in works} == {TRACE}
    assert {work.seen["task"] for work in works} == {task}
    chains = [work.seen["chain"] for work in works]
    assert all(len(chain) == 2 for chain in chains)
    assert len({chain[0] for chain in chains}) == 1
    assert len({chain[1] for chain in chains}) == 3

    kinds = [kind for kind, _, _ in mine]
    assert kinds[0] == "user_message"
    assert kinds[-1] == "agent_response"
    assert sorted(kinds[1:-1]) == ["delegation_request"] * 3 + [RESPONSE] * 3
    requests = [metadata["agent"] for kind, _, metadata in mine if kind == "delegation_request"]
    assert requests == list(names)
    responses = {metadata["agent"]: content["result"] for kind, content, metadata in mine if kind == RESPONSE}
    assert responses == {name: f"done by {name} for {names[-1 - place]}" for place, name in enumerate(names)}
    for name, events in theirs.items():
        assert [(kind, content) for kind, content, _ in events] == [
            ("user_message", task),
            ("agent_response", responses[name]),
        ]

    assert [len(ids) for ids in sessions] == [1, 1]  # the second task of a session is there in that of the first
    for name, events in after.items():
        told = [content for _, content, _ in events]
        assert told == [task, responses[name], "And now, worker-a and worker-b?", "nothing more"]
    for work in second:  # what was said before to the orchestrator, and by it
        assert task in work.seen["instructions"]
        assert "delegate_to_worker_b, success: done by worker-b" in work.seen["instructions"]


GARBAGE = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{]\x00\xff<html"


@asynccontextmanager
async def saying(answer: bytes) -> AsyncGenerator[str]:
    """Answer every connection with these bytes, and hang up; with none, take it and say nothing."""
    over = asyncio.Event()

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if answer:
                await reader.readuntil(b"\r\n\r\n")
                writer.write(answer)
                await writer.drain()
            else:
                await over.wait()
        finally:
            writer.close()

    server = await asyncio.start_server(take, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        over.set()


TASK = "Find it out, good, killed, slow, odd and gone"


async def test_the_answer_uses_what_came_back_where_workers_die_dawdle_talk_nonsense_and_are_not_there(
    tmp_path: Path,
) -> None:
    workers = {"good": A2A, "killed": CHAT_COMPLETIONS, "slow": A2A}
    with fail_after(120):
        async with (
            saying(GARBAGE) as garbage,
            saying(b"") as silent,
            team(
                tmp_path, workers, others=f"odd:{garbage},gone:http://127.0.0.1:9,silent:{silent}", hasty="slow"
            ) as here,
        ):
            # Neither who is gone nor who says nothing kept it from its start.
            assert (await here.orchestrator.http.get("/ready")).status_code == 200
            card = (await here.orchestrator.http.get("/.well-known/agent.json")).json()

            # All that is loaded with a first task is there before the one whose time is short.
            asked = asyncio.create_task(here.ask("Warm up, other", "first"))
            (warm,) = await begun(here.runs, "slow")
            warm.run.end("warm")
            assert content_of(await asked) == "delegate_to_other, success: warm"

            # A client that hangs up stops the models of all workers.
            request = body("Go, good and killed", stream=True, session_id="hung-up")
            async with here.orchestrator.http.stream("POST", CHAT, json=request) as stream:
                cut_off = await begun(here.runs, "good", "killed")
                assert stream.status_code == 200
            for work in cut_off:
                await work.run.cancelled()
            of_cut_off = [await stored(here.workers[name], 1) for name in ("good", "killed")]
            of_hung_up = await stored(here.orchestrator, 5, "hung-up")

            asked = asyncio.create_task(here.ask(TASK))
            good, _, slow = await begun(here.runs, "good", "killed", "slow")
            here.workers["killed"].stop(signal.SIGKILL)
            good.run.end("found")
            await slow.run.cancelled()  # by the worker's own clock, or the orchestrator's
            answer = await asked
            mine = await events_of(here.orchestrator, "s")
            of_slow = await stored(here.workers["slow"], 3)
            of_good = await events_of(here.workers["good"])
            here.orchestrator.stop()
            assert await here.orchestrator.ended() == 0
    names = ("good", "killed", "odd", "gone", "silent")
    assert sorted(skill["name"] for skill in card["skills"]) == sorted(
        f"delegate_to_{name}" for name in (*names, "slow", "other")
    )
    for events in of_cut_off:
        assert [(kind, content) for kind, content, _ in events] == [("user_message", "Go, good and killed")]
    assert [kind for kind, _, _ in of_hung_up] == ["user_message", *["delegation_request"] * 2, *[RESPONSE] * 2]
    assert {metadata["outcome"] for kind, _, metadata in of_hung_up if kind == RESPONSE} == {"interrupted"}

    lines = content_of(answer).splitlines()
    assert [line.partition(":")[0] for line in lines] == [
        "delegate_to_gone, failed",
        "delegate_to_good, success",
        "delegate_to_killed, failed",
        "delegate_to_odd, failed",
        "delegate_to_slow, failed",
    ]
    assert lines[1].endswith(": found")
    responses = {metadata["agent"]: (content, metadata) for kind, content, metadata in mine if kind == RESPONSE}
    assert {name: metadata.get("reason", "") for name, (_, metadata) in responses.items()} == {
        "gone": "unreachable",
        "good": "",
        "killed": "failed",
        "odd": "unreadable",
        "slow": "timeout",
    }
    for name, (content, metadata) in responses.items():
        assert metadata["outcome"] == ("success" if name == "good" else "failed")
        assert name == "good" or name in content["result"]  # it says which agent
    assert "Traceback" not in "".join(here.orchestrator.log)
    assert [(kind, content) for kind, content, _ in of_good][1:] == [
        ("user_message", TASK),
        ("agent_response", "found"),
    ]
    assert [content for _, content, _ in of_slow] == ["Warm up, other", "warm", TASK]


async def stored(served: Process, count: int, session_id: str | None = None) -> list[tuple[str, Any, dict[str, Any]]]:
    """Return the events of a process as soon as it has stored so many, also of a run that was cut off."""
    while len(events := await events_of(served, session_id)) < count:
        await asyncio.sleep(0.01)
    return events


def gateway(parts: Mapping[str, ASGIApp]) -> ASGIApp:
    """Return what cuts the first parts of the path off and passes the rest on, as the gateway of a cluster does."""

    async def passed_on(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            prefix = next(prefix for prefix in parts if f"{scope['path']}/".startswith(f"{prefix}/"))
            path = scope["path"].removeprefix(prefix) or "/"
            await parts[prefix]({**scope, "path": path, "raw_path": path.encode()}, receive, send)

    return passed_on


def look_up(topic: str) -> str:
    """Look up."""
    return "the Moon"


async def test_what_kaos_sets_is_enough_for_an_orchestrator_and_workers_behind_a_gateway(tmp_path: Path) -> None:
    calls = [{"name": f"delegate_to_worker_{n}", "arguments": {"task": "What makes the tides?"}} for n in (1, 2)]
    model = MockLLM(responses=[{"tool_calls": calls}, "The Moon does."])
    lookup = mock_model([{"tool_calls": [{"name": "look_up", "arguments": {"topic": "tides"}}]}, "It is the Moon."])
    # As a gateway without headers of its own makes them: each says that it is at an address that nobody can reach.
    unreachable = Settings(agent_public_url="http://localhost:8000")
    first = serve(Agent(lookup, name="worker-1", tools=[look_up]), settings=unreachable)
    second = serve(Agent(lookup, name="worker-2", tools=[look_up]), settings=Settings(a2a=False))
    routes = {"/ns/agent/worker-1": first, "/ns/agent/worker-2": second, "/ns/modelapi/mock": model.app}
    message = {"role": "user", "parts": [{"type": "text", "text": "tides?"}]}
    said = {"jsonrpc": "2.0", "id": 1, "method": "SendMessage", "params": {"contextId": "s", "message": message}}
    with fail_after(120):
        async with first.running(port=0), second.running(port=0), listening(gateway(routes)) as url:
            variables = {
                "AGENT_NAME": "orchestrator",
                "AGENT_DESCRIPTION": "Lets others work",
                "AGENT_INSTRUCTIONS": "Delegate.",
                "MODEL_API_URL": f"{url}/ns/modelapi/mock",
                "MODEL_NAME": "script",
                "AGENTIC_LOOP_MAX_STEPS": "7",
                "MEMORY_ENABLED": "true",
                "MEMORY_TYPE": "local",
                "AGENT_IDENTITY": "kaos://agent/ns/orchestrator",
                "PEER_AGENTS": "worker-1,worker-2",
                "PEER_AGENT_WORKER_1_CARD_URL": f"{url}/ns/agent/worker-1",
                "PEER_AGENT_WORKER_2_CARD_URL": f"{url}/ns/agent/worker-2",
                "LOG_LEVEL": "INFO",
            }
            async with process(tmp_path, **variables) as orchestrator:
                answer = await orchestrator.http.post(CHAT, json=body("tides?", stream=True))
                task = (await orchestrator.http.post("/", json=said)).json()["result"]
                tools = (await orchestrator.http.get("/tools")).json()["tools"]
                events = await events_of(orchestrator, "s")
                assert not [line for line in orchestrator.log if "WARNING" in line or "ERROR" in line]
            sessions = [await one.runtime.memory.list_sessions() for one in (first, second)]
    chunks = [json.loads(line[6:]) for line in answer.text.splitlines() if line.startswith("data: {")]
    told = [chunk["progress"] for chunk in chunks if "progress" in chunk]
    assert {(one["action"], one["step"], one["max_steps"]) for one in told} == {("delegate", 1, 7)}
    assert sorted((one["target"], one.get("detail", {}).get("target", "")) for one in told) == [
        ("worker-1", ""),
        ("worker-1", "look_up"),
        ("worker-2", ""),
        ("worker-2", "look_up"),
    ]
    assert "".join(c["delta"].get("content", "") for chunk in chunks for c in chunk["choices"]) == "The Moon does."
    assert (task["status"]["state"], task["output"], task["sessionId"]) == ("completed", "The Moon does.", "s")
    assert [(tool["name"], list(tool["parameters_json_schema"]["properties"])) for tool in tools] == [
        ("delegate_to_worker_1", ["task"]),
        ("delegate_to_worker_2", ["task"]),
    ]
    assert [content["result"] for kind, content, _ in events if kind == RESPONSE] == ["It is the Moon."] * 2
    assert sorted(metadata["protocol"] for kind, _, metadata in events if kind == RESPONSE) == ["a2a-1.0", "chat"]
    assert [len(ids) for ids in sessions] == [2, 2]  # one for each of the orchestrator's
