"""A2A with the official client, in 1.0 and in 0.3, against a real socket."""

from __future__ import annotations

import anyio
import pytest
from a2a.types.a2a_pb2 import (
    CancelTaskRequest,
    GetTaskRequest,
    ListTasksRequest,
    SubscribeToTaskRequest,
    TaskState,
)
from a2a.utils.errors import A2AError, TaskNotCancelableError, TaskNotFoundError, UnsupportedOperationError
from google.protobuf.json_format import MessageToDict
from pydantic_ai import Agent

from .a2a_calls import asks, client_of, heard
from .agents import GatedModel, echo_agent
from .http_agents import SUM, adding_agent, served, until

pytestmark = pytest.mark.anyio

VERSIONS = pytest.mark.parametrize("version", ["1.0", "0.3"])


@VERSIONS
async def test_a_message_is_answered_by_a_completed_task(version: str) -> None:
    with anyio.fail_after(10):
        async with served(adding_agent()) as here, client_of(here.url, version, streams=False) as client:
            (event,) = await heard(client.send_message(asks("What is 1 + 2?")))
            assert event.task.status.state == TaskState.TASK_STATE_COMPLETED
            assert [part.text for part in event.task.artifacts[0].parts] == [SUM]
            assert [part.text for message in event.task.history for part in message.parts] == ["What is 1 + 2?"]
            got = await client.get_task(GetTaskRequest(id=event.task.id))
            assert got == event.task


@VERSIONS
async def test_a_stream_tells_the_task_its_progress_and_its_answer_in_order(version: str) -> None:
    with anyio.fail_after(10):
        async with served(adding_agent()) as here, client_of(here.url, version) as client:
            events = await heard(client.send_message(asks("What is 1 + 2?")))
            if events[0].task.status.state == TaskState.TASK_STATE_SUBMITTED:  # it did not begin at once
                assert events.pop(1).status_update.status.state == TaskState.TASK_STATE_WORKING
            else:
                assert events[0].task.status.state == TaskState.TASK_STATE_WORKING
            assert [event.WhichOneof("payload") for event in events] == [
                "task",
                "artifact_update",
                "status_update",
                "artifact_update",
                "status_update",
            ]
            states = [event.status_update.status.state for event in events if event.HasField("status_update")]
            assert states == [TaskState.TASK_STATE_WORKING, TaskState.TASK_STATE_COMPLETED]
            progress = MessageToDict(events[2].status_update.metadata)["progress"]
            assert progress == {
                "type": "progress",
                "step": 1,
                "max_steps": 10,
                "action": "tool_call",
                "target": "add",
            }
            updates = [event.artifact_update for event in events if event.HasField("artifact_update")]
            assert "".join(part.text for update in updates for part in update.artifact.parts) == SUM
            assert [update.append for update in updates] == [False, True]
            assert [update.last_chunk for update in updates] == [False, True]
            assert MessageToDict(events[-1].status_update.metadata)["usage"]["requests"] == 2


@VERSIONS
async def test_the_first_text_comes_before_the_model_has_ended(version: str) -> None:
    model = GatedModel(["one ", "two ", "three"])
    with anyio.fail_after(10):
        async with served(Agent(model.model)) as here, client_of(here.url, version) as client:
            told: list[str] = []
            async for event in client.send_message(asks("count")):
                if event.HasField("artifact_update"):
                    told.append(event.artifact_update.artifact.parts[0].text)
                    model.gate.set()  # the model says no more until its first word is here
            assert "".join(told) == "one two three"
            assert told[0] == "one "


@VERSIONS
async def test_a_message_that_does_not_wait_is_answered_at_once_and_the_task_goes_on(version: str) -> None:
    model = GatedModel()
    with anyio.fail_after(10):
        async with (
            served(Agent(model.model)) as here,
            client_of(here.url, version, streams=False, at_once=True) as client,
        ):
            (event,) = await heard(client.send_message(asks("count")))
            assert event.task.status.state == TaskState.TASK_STATE_SUBMITTED
            await model.said_first.wait()
            async with client_of(here.url, version) as other:
                subscribed = other.subscribe(SubscribeToTaskRequest(id=event.task.id))
                first = await anext(subscribed)
                assert first.task.id == event.task.id
                model.gate.set()
                rest = await heard(subscribed)
                assert rest[-1].status_update.status.state == TaskState.TASK_STATE_COMPLETED
            got = await client.get_task(GetTaskRequest(id=event.task.id))
            assert [part.text for part in got.artifacts[0].parts] == ["one two"]


@VERSIONS
async def test_a_cancellation_reaches_the_model_and_ends_the_stream(version: str) -> None:
    model = GatedModel()
    with anyio.fail_after(10):
        async with served(Agent(model.model)) as here, client_of(here.url, version) as client:
            events = client.send_message(asks("count"))
            task = (await anext(events)).task
            await model.said_first.wait()
            cancelled = await client.cancel_task(CancelTaskRequest(id=task.id))
            assert cancelled.status.state == TaskState.TASK_STATE_CANCELED
            assert model.cancelled.is_set()
            rest = await heard(events)
            assert rest[-1].status_update.status.state == TaskState.TASK_STATE_CANCELED
            with pytest.raises(TaskNotCancelableError if version == "1.0" else A2AError):
                await client.cancel_task(CancelTaskRequest(id=task.id))


@VERSIONS
async def test_a_client_that_hangs_up_does_not_end_the_task(version: str) -> None:
    model = GatedModel()
    with anyio.fail_after(10):
        async with served(Agent(model.model)) as here, client_of(here.url, version) as client:
            async with client_of(here.url, version) as short:
                task = (await anext(short.send_message(asks("count")))).task
                await model.said_first.wait()
            await until(lambda: here.server.in_flight._count == 0)
            events = client.subscribe(SubscribeToTaskRequest(id=task.id))
            assert (await anext(events)).task.id == task.id
            model.gate.set()
            assert (await heard(events))[-1].status_update.status.state == TaskState.TASK_STATE_COMPLETED
            assert not model.cancelled.is_set()


@VERSIONS
async def test_messages_of_one_context_are_one_session(version: str) -> None:
    with anyio.fail_after(10):
        async with served(echo_agent()) as here, client_of(here.url, version, streams=False) as client:
            (first,) = await heard(client.send_message(asks("one")))
            (second,) = await heard(client.send_message(asks("two", context_id=first.task.context_id)))
            assert second.task.context_id == first.task.context_id
            assert second.task.id != first.task.id
            assert second.task.artifacts[0].parts[0].text == "two (3)"
            events = await here.events(first.task.context_id)
            assert events == [
                ("user_message", "one"),
                ("agent_response", "one (1)"),
                ("user_message", "two"),
                ("agent_response", "two (3)"),
            ]


@VERSIONS
async def test_unknown_tasks_and_ended_ones_are_refused(version: str) -> None:
    with anyio.fail_after(10):
        async with served(echo_agent()) as here, client_of(here.url, version, streams=False) as client:
            (event,) = await heard(client.send_message(asks("one")))
            with pytest.raises(TaskNotFoundError):
                await client.get_task(GetTaskRequest(id="nobody"))
            with pytest.raises(TaskNotFoundError):
                await heard(client.send_message(asks("on", task_id="nobody")))
            with pytest.raises(UnsupportedOperationError):
                await heard(client.send_message(asks("on", task_id=event.task.id)))
            async with client_of(here.url, version) as other:
                with pytest.raises(UnsupportedOperationError):
                    await heard(other.subscribe(SubscribeToTaskRequest(id=event.task.id)))
                with pytest.raises(TaskNotFoundError):
                    await heard(other.subscribe(SubscribeToTaskRequest(id="nobody")))


async def test_tasks_are_listed_in_pages_with_as_much_history_as_asked_for() -> None:
    with anyio.fail_after(10):
        async with served(echo_agent()) as here, client_of(here.url, "1.0", streams=False) as client:
            ids: list[str] = []
            for number in range(5):
                (event,) = await heard(client.send_message(asks(str(number))))
                ids.append(event.task.id)
            first = await client.list_tasks(ListTasksRequest(page_size=3))
            assert [task.id for task in first.tasks] == ids[:1:-1]
            assert (first.total_size, first.page_size) == (5, 3)
            assert all(task.history and not task.artifacts for task in first.tasks)
            second = await client.list_tasks(
                ListTasksRequest(
                    page_size=3, page_token=first.next_page_token, include_artifacts=True, history_length=0
                )
            )
            assert [task.id for task in second.tasks] == ids[1::-1]
            assert all(task.artifacts and not task.history for task in second.tasks)
            assert not second.next_page_token
            assert not (await client.get_task(GetTaskRequest(id=ids[0], history_length=0))).history
