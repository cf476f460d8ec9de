"""A2A: how runs of the agent show as tasks."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import anyio
import pytest
from a2a.server.events import Event, EventQueue
from a2a.types.a2a_pb2 import Message, Task, TaskArtifactUpdateEvent, TaskState, TaskStatusUpdateEvent
from google.protobuf.json_format import MessageToDict
from opentelemetry import trace
from pydantic import BaseModel
from pydantic_ai import Agent
from pydantic_ai.exceptions import ModelHTTPError
from pydantic_ai.messages import ModelMessage
from pydantic_ai.models.function import AgentInfo, DeltaToolCall

from pais_sdk import AgentRuntime, MissingExtraError, Settings, serve
from pais_sdk.server.a2a.pieces import TextPieces
from pais_sdk.server.a2a.task_events import TaskEvents

from .a2a_calls import begin, call, error, message, pieces, post, said, send, stream, streaming, text_of
from .agents import GatedModel, Pieces, echo_agent, last_user_text, model_of
from .http_agents import SECRET, SUM, FailingModel, RecordingModel, adding_agent, looping_agent, served, until

pytestmark = pytest.mark.anyio


async def test_the_usage_comes_with_the_end_and_the_progress_is_gone_by_then() -> None:
    with anyio.fail_after(10):
        async with served(adding_agent()) as here:
            task = await send(here.http)
            assert text_of(task) == SUM
            assert list(task["metadata"]) == ["usage"]
            usage = task["metadata"]["usage"]
            assert (usage["requests"], usage["details"]) == (2, {})
            assert usage["input_tokens"] > 0
            assert isinstance(usage["input_tokens"], int)


class Sum(BaseModel):
    value: int
    words: list[str]


async def test_structured_output_is_its_json_as_text_and_as_data() -> None:
    async def stream_(messages: list[ModelMessage], info: AgentInfo) -> Pieces:
        tool = info.output_tools[0].name
        yield {0: DeltaToolCall(tool, '{"value": 3, "words": ["three"]}', tool_call_id="out")}

    with anyio.fail_after(10):
        async with served(Agent(model_of(stream_), output_type=Sum)) as here:
            task = await send(here.http)
            text, data = task["artifacts"][0]["parts"]
            assert text == {"text": '{"value":3,"words":["three"]}'}
            assert data == {"data": {"value": 3, "words": ["three"]}, "mediaType": "application/json"}
            told = await stream(here.http)
            assert pieces(told) == ['{"value":3,"words":["three"]}', ""]
            updates = [result["artifactUpdate"] for result in told if "artifactUpdate" in result]
            assert [update.get("lastChunk") for update in updates] == [None, True]


async def test_many_small_pieces_are_few_events_and_all_of_the_text() -> None:
    words = [f"w{number} " for number in range(2000)]

    async def say(messages: list[ModelMessage], info: AgentInfo) -> Pieces:
        for word in words:
            yield word

    with anyio.fail_after(20):
        async with served(Agent(model_of(say))) as here:
            began = asyncio.get_running_loop().time()
            told = pieces(await stream(here.http))
            seconds = asyncio.get_running_loop().time() - began
            assert "".join(told) == "".join(words)
            assert len(told) <= 3 + seconds / 0.05


async def test_a_pause_of_the_model_does_not_hold_text_back() -> None:
    gate = asyncio.Event()

    async def say(messages: list[ModelMessage], info: AgentInfo) -> Pieces:
        yield "one "
        yield "two "
        await gate.wait()
        yield "three"

    with anyio.fail_after(10):
        async with (
            served(Agent(model_of(say))) as here,
            streaming(here.http, "SendStreamingMessage", message()) as results,
        ):
            told: list[Any] = []
            async for result in results:
                told.append(result)
                if "".join(pieces(told)) == "one two ":
                    gate.set()
            assert "".join(pieces(told)) == "one two three"


async def test_pieces_that_come_together_are_told_together(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr("pais_sdk.server.a2a.pieces.time", SimpleNamespace(monotonic=lambda: now))
    told: list[tuple[str, bool]] = []

    async def tell(text: str, last: bool) -> None:
        told.append((text, last))

    pieces = TextPieces(tell, every_s=0.05, soon_s=0.01)
    assert pieces.due is None
    await pieces.add("one ")
    assert pieces.due == pytest.approx(100.01)  # pyright: ignore[reportUnknownMemberType]
    await pieces.add("two ")
    now = 100.02
    await pieces.add("three ")
    assert told == [("one two three ", False)]
    await pieces.add("four ")
    assert pieces.due == pytest.approx(100.07)  # pyright: ignore[reportUnknownMemberType]
    now = 200.0
    await pieces.add("five ")
    await pieces.end()
    assert told[1:] == [("four five ", False), ("", True)]


class Recorder(EventQueue):
    """Takes events, and keeps copies of them."""

    def __init__(self) -> None:
        self.events: list[Any] = []

    async def enqueue_event(self, event: Event) -> None:
        copy = type(event)()
        copy.CopyFrom(event)  # pyright: ignore[reportArgumentType]
        self.events.append(copy)


async def test_what_is_told_before_the_task_is_written_is_a_part_of_it() -> None:
    queue = Recorder()
    events = TaskEvents(queue, "t", "c", Message(message_id="m"))
    await events.working()
    await events.text("one ")
    await events.text("two", last=True)
    await events.ended(TaskState.TASK_STATE_COMPLETED, metadata={"usage": {"requests": 1}})
    await events.flush()
    (task,) = queue.events
    assert isinstance(task, Task)
    assert task.status.state == TaskState.TASK_STATE_COMPLETED
    assert "".join(part.text for part in task.artifacts[0].parts) == "one two"
    assert [asked.message_id for asked in task.history] == ["m"]
    assert MessageToDict(task.metadata) == {"usage": {"requests": 1}}


async def test_what_is_told_while_the_task_is_written_comes_after_it() -> None:
    queue = Recorder()
    events = TaskEvents(queue, "t", "c", Message(message_id="m"))
    late = asyncio.create_task(events.flush())
    await asyncio.sleep(0)
    await events.text("one")
    await events.ended(TaskState.TASK_STATE_COMPLETED)
    await late
    assert [type(event) for event in queue.events] == [Task, TaskArtifactUpdateEvent, TaskStatusUpdateEvent]


async def test_a_task_is_there_while_its_sender_waits_for_its_end() -> None:
    model = GatedModel()
    with anyio.fail_after(10):
        async with served(Agent(model.model)) as here:
            waits = asyncio.create_task(send(here.http))
            await model.said_first.wait()
            while not (tasks := (await call(here.http, "ListTasks", {"includeArtifacts": True}))["tasks"]):
                await asyncio.sleep(0)
            (task,) = tasks
            assert task["status"]["state"] == "TASK_STATE_WORKING"
            model.gate.set()
            assert text_of(await waits) == "one two"


STORED = [{}, {"store": True}, {"store": "false"}, {"store": 0}, {"store": None}]


@pytest.mark.parametrize("metadata", [{"store": False}, *STORED])
async def test_a_message_may_ask_that_the_memory_keeps_nothing_of_it(metadata: Any) -> None:
    old = {"role": "user", "messageId": "m", "parts": [{"kind": "text", "text": "hi"}], "contextId": "s"}
    kaos = {"parts": [{"type": "text", "text": "hi"}], "contextId": "s"}
    with anyio.fail_after(10):
        async with served(echo_agent()) as here:
            assert text_of(await send(here.http, contextId="s", metadata=metadata)) == "hi (1)"
            await call(here.http, "message/send", {"message": {**old, "metadata": metadata}}, {})
            await call(here.http, "tasks/send", {"message": {**kaos, "metadata": metadata}}, {})
            kept = 0 if metadata.get("store") is False else 6
            assert len(await here.events("s")) == kept
            assert (await call(here.http, "ListTasks", {}))["totalSize"] == 3


@pytest.mark.parametrize("explicit", [True, None])
async def test_where_a2a_is_asked_for_it_is_loaded_before_a_request_comes(explicit: bool | None) -> None:
    with anyio.fail_after(20):
        async with served(echo_agent(), settings=Settings(agent_a2a=explicit)) as here:  # pyright: ignore
            assert (here.server.a2a._opening is not None) is (explicit is True)
            assert text_of(await send(here.http)) == "hi (1)"
        assert here.server.a2a._opening is None


async def test_half_a_character_waits_for_the_other_half() -> None:
    async def say(messages: list[ModelMessage], info: AgentInfo) -> Pieces:
        yield "a \ud83d"
        yield "\ude00 and \ud83d"

    with anyio.fail_after(10):
        async with served(Agent(model_of(say))) as here:
            assert text_of(await send(here.http)) == "a \U0001f600 and �"


async def test_a_failed_run_is_a_failed_task_that_says_nothing_inner(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    model = FailingModel(lambda: ModelHTTPError(500, "m", {"inner": SECRET}), "so far ")
    with anyio.fail_after(10):
        async with served(Agent(model.model)) as here:
            task = await send(here.http, "a prompt of mine")
            assert task["status"]["state"] == "TASK_STATE_FAILED"
            assert said(task) == "The model's provider failed."
            assert task["metadata"]["error"]["code"] == "upstream_error"
            assert text_of(task) == "so far "
            assert SECRET not in str(task)
    assert SECRET not in caplog.text
    assert "a prompt of mine" not in caplog.text


async def test_an_error_of_the_agents_own_code_stays_inside() -> None:
    async def say(messages: list[ModelMessage], info: AgentInfo) -> Pieces:
        yield ""
        raise RuntimeError(SECRET)

    with anyio.fail_after(10):
        async with served(Agent(model_of(say))) as here:
            told = await stream(here.http)
            end = told[-1]["statusUpdate"]
            assert end["status"]["state"] == "TASK_STATE_FAILED"
            assert said(end) == "The agent failed to answer."
            assert SECRET not in str(told)


async def test_limits_of_the_run_are_failures_that_say_which() -> None:
    with anyio.fail_after(10):
        async with served(AgentRuntime(looping_agent(), max_steps=2)) as here:
            task = await send(here.http)
            assert task["status"]["state"] == "TASK_STATE_FAILED"
            assert said(task) == "The agent reached its limit of model requests before it had an answer."
        model = GatedModel()
        async with served(Agent(model.model)) as here:
            task = await send(here.http, headers={"X-Run-Timeout": "0.05"})
            assert task["status"]["state"] == "TASK_STATE_FAILED"
            assert said(task) == "The run took longer than it may."
            assert model.cancelled.is_set()


async def test_a_run_that_cannot_begin_is_a_rejected_task() -> None:
    model = GatedModel()
    runtime = AgentRuntime(Agent(model.model), id="me", on_busy="reject", max_active_runs=2, max_queued_runs=0)
    with anyio.fail_after(10):
        async with served(runtime) as here:
            looped = await send(here.http, headers={"X-Delegation-Chain": "other,me"})
            assert looped["status"]["state"] == "TASK_STATE_REJECTED"
            assert "one of the agents that this task comes from" in said(looped)
            first = await begin(here.http, contextId="s1")
            await model.said_first.wait()
            busy = await send(here.http, contextId="s1")
            assert busy["status"]["state"] == "TASK_STATE_REJECTED"
            assert busy["metadata"]["error"]["code"] == "session_busy"
            second = await begin(here.http)
            await until(lambda: here.runtime.admission.active == 2)
            overloaded = await send(here.http)
            assert overloaded["status"]["state"] == "TASK_STATE_REJECTED"
            assert overloaded["metadata"]["error"]["code"] == "rate_limit_exceeded"
            for task in (first, second):
                await call(here.http, "CancelTask", {"id": task["id"]})


@pytest.mark.parametrize("on_disconnect", ["cancel", "finish"])
async def test_a_cancellation_ends_the_run_of_that_task_only(on_disconnect: Any) -> None:
    running: dict[str, asyncio.Event] = {}
    ended: list[str] = []
    gate = asyncio.Event()

    async def say(messages: list[ModelMessage], info: AgentInfo) -> Pieces:
        name = last_user_text(messages)
        running[name] = asyncio.Event()
        try:
            yield f"{name} "
            running[name].set()
            await gate.wait()
            yield "done"
        finally:
            ended.append(name)

    with anyio.fail_after(10):
        async with served(AgentRuntime(Agent(model_of(say)), on_disconnect=on_disconnect)) as here:
            one, two = await begin(here.http, "one"), await begin(here.http, "two")
            await until(lambda: len(running) == 2 and all(event.is_set() for event in running.values()))
            cancelled = await call(here.http, "CancelTask", {"id": one["id"]})
            assert cancelled["status"]["state"] == "TASK_STATE_CANCELED"
            assert text_of(cancelled) == "one "
            assert ended == ["one"]
            gate.set()
            await until(lambda: len(ended) == 2)
            await here.runtime.ended()
            await until_ended(here.http, two["id"])
            assert text_of(await call(here.http, "GetTask", {"id": two["id"]})) == "two done"
            events = await here.events(one["contextId"])
            assert events[0] == ("user_message", "one")


async def until_ended(http: Any, task_id: str) -> Any:
    """Return a task when it has ended; belongs into a `fail_after`."""
    while True:
        task = await call(http, "GetTask", {"id": task_id})
        if task["status"]["state"] not in ("TASK_STATE_SUBMITTED", "TASK_STATE_WORKING"):
            return task
        await asyncio.sleep(0)


@pytest.mark.parametrize("waits_for", ["session", "place"])
async def test_a_cancellation_reaches_a_run_that_still_waits(waits_for: str) -> None:
    model = GatedModel()
    with anyio.fail_after(10):
        async with served(AgentRuntime(Agent(model.model), max_active_runs=1)) as here:
            first = await begin(here.http, contextId="s1")
            await model.said_first.wait()
            second = await begin(here.http, contextId="s1" if waits_for == "session" else "s2")
            await until(lambda: here.runtime.admission.waiting == 1)
            cancelled = await call(here.http, "CancelTask", {"id": second["id"]})
            assert cancelled["status"]["state"] == "TASK_STATE_CANCELED"
            assert here.runtime.admission.waiting == 0
            assert not model.cancelled.is_set()
            model.gate.set()
            assert text_of(await until_ended(here.http, first["id"])) == "one two"
            assert model.requests == 1


async def test_a_session_that_is_deleted_cancels_its_task() -> None:
    model = GatedModel()
    with anyio.fail_after(10):
        async with served(Agent(model.model)) as here:
            task = await begin(here.http, contextId="s1")
            await model.said_first.wait()
            await here.http.delete("/memory/sessions/s1")
            assert (await until_ended(here.http, task["id"]))["status"]["state"] == "TASK_STATE_CANCELED"


async def test_twenty_tasks_run_at_once() -> None:
    together = asyncio.Event()
    running = 0

    async def say(messages: list[ModelMessage], info: AgentInfo) -> Pieces:
        nonlocal running
        running += 1
        if running == 20:
            together.set()
        yield f"{last_user_text(messages)} "
        await together.wait()  # none ends before all have begun
        yield "done"

    with anyio.fail_after(20):
        async with served(Agent(model_of(say))) as here:
            tasks = await asyncio.gather(*(send(here.http, str(number)) for number in range(20)))
            assert [text_of(task) for task in tasks] == [f"{number} done" for number in range(20)]
            assert len({task["id"] for task in tasks}) == len({task["contextId"] for task in tasks}) == 20


async def test_a_message_to_a_task_that_works_is_refused_and_one_to_its_context_waits() -> None:
    model = GatedModel()
    with anyio.fail_after(10):
        async with served(Agent(model.model)) as here:
            first = await begin(here.http, contextId="s1")
            await model.said_first.wait()
            refused = await error(here.http, "SendMessage", message(taskId=first["id"]))
            assert refused["code"] == -32004
            assert "takes no further message" in refused["message"]
            wrong = await error(here.http, "SendMessage", message(taskId=first["id"], contextId="s2"))
            assert wrong["code"] == -32602
            second = await begin(here.http, contextId="s1")
            await until(lambda: here.runtime.admission.waiting == 1)
            model.gate.set()
            assert text_of(await until_ended(here.http, second["id"])) == "one two"
            assert (await until_ended(here.http, first["id"]))["status"]["state"] == "TASK_STATE_COMPLETED"


async def test_headers_of_a_delegation_hold_for_the_run() -> None:
    model = RecordingModel()
    with anyio.fail_after(10):
        async with served(AgentRuntime(Agent(model.model), id="me")) as here:
            task = await send(here.http, headers={"X-Delegation-Chain": "other", "X-Run-Timeout": "4.5"})
            assert task["status"]["state"] == "TASK_STATE_COMPLETED"
            answer = await here.http.post("/", json={}, headers={"X-Run-Timeout": "soon"})
            assert answer.status_code == 400
            assert answer.json()["error"]["param"] == "X-Run-Timeout"


KEYS = "ann=key-of-ann,bob=key-of-bob"


async def test_a_key_sees_its_own_tasks_only() -> None:
    ann, bob = ({"A2A-Version": "1.0", "Authorization": f"Bearer key-of-{name}"} for name in ("ann", "bob"))
    model = GatedModel()
    with anyio.fail_after(10):
        async with served(Agent(model.model), settings=Settings(agent_api_keys=KEYS)) as here:  # pyright: ignore
            nobody = await here.http.post("/", json={})
            assert nobody.status_code == 401
            at_once = {**message(contextId="s"), "configuration": {"returnImmediately": True}}
            task = (await call(here.http, "SendMessage", at_once, ann))["task"]
            await model.said_first.wait()
            for method in ("GetTask", "CancelTask", "SubscribeToTask"):
                foreign = await error(here.http, method, {"id": task["id"]}, bob)
                unknown = await error(here.http, method, {"id": "nobody"}, bob)
                assert foreign == unknown
                assert foreign["code"] == -32001
            foreign = await error(here.http, "SendMessage", message(taskId=task["id"]), bob)
            assert foreign["code"] == -32001
            assert (await call(here.http, "ListTasks", {}, bob))["tasks"] == []
            (listed,) = (await call(here.http, "ListTasks", {}, ann))["tasks"]
            assert listed["id"] == task["id"]
            model.gate.set()
            await here.runtime.ended()
            memory = here.runtime.memory
            assert await memory.scoped("ann").list_sessions() == ["s"]
            assert await memory.scoped("bob").list_sessions() == []


async def test_where_a2a_is_off_there_is_nothing_at_its_path() -> None:
    with anyio.fail_after(10):
        async with served(echo_agent(), settings=Settings(agent_a2a=False)) as here:  # pyright: ignore
            answer = await here.http.post("/", json={})
            assert answer.status_code == 404
            assert answer.json()["error"]["message"] == "there is nothing at /"


def test_a2a_that_is_asked_for_and_not_installed_is_an_error_that_names_the_extra(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("pais_sdk.server.app.find_spec", lambda name: None)  # pyright: ignore[reportUnknownLambdaType]
    with pytest.raises(MissingExtraError, match=r"pais-sdk\[a2a\]"):
        serve(echo_agent(), settings=Settings(agent_a2a=True))  # pyright: ignore


@pytest.mark.parametrize("method", ["SendMessage", "SendStreamingMessage"])
async def test_the_trace_of_the_request_is_the_trace_of_the_run(method: str) -> None:
    traces: list[str] = []

    async def say(messages: list[ModelMessage], info: AgentInfo) -> Pieces:
        traces.append(trace.format_trace_id(trace.get_current_span().get_span_context().trace_id))
        yield "ok"

    with anyio.fail_after(10):
        async with served(Agent(model_of(say))) as here:
            for number in (1, 2):
                parent = f"00-{number:032x}-{7:016x}-01"
                answer = await post(here.http, method, message(), {"A2A-Version": "1.0", "traceparent": parent})
                assert "COMPLETED" in answer.text
    assert traces == [f"{number:032x}" for number in (1, 2)]
