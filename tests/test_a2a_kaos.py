"""A2A in KAOS's dialect: its documented requests over a real socket, and what is told to clients of 0.3 at once."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from importlib import import_module
from typing import Any

import pytest
from a2a.compat.v0_3 import types as v0_3
from anyio import fail_after
from pydantic import BaseModel
from pydantic_ai import Agent
from pydantic_ai.models.test import TestModel

from pais_sdk import Settings
from pais_sdk.server.a2a.kaos import is_kaos

from .agents import GatedModel, echo_agent
from .http_agents import SECRET, FailingModel, RecordingModel, Served, served

pytestmark = pytest.mark.anyio

import_module("pais_sdk.server.a2a.service")  # else the first test waits for it


async def answer_of(here: Served, method: str, params: Any = None, **headers: str) -> dict[str, Any]:
    """Send a request and return the whole answer, which must be one of JSON-RPC."""
    request = {"jsonrpc": "2.0", "id": "req-1", "method": method, **({} if params is None else {"params": params})}
    headers = {"Content-Type": "application/json", **headers}
    answer = await here.http.post("/", content=json.dumps(request), headers=headers)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json"), answer.text
    told = answer.json()
    assert (told["jsonrpc"], told["id"]) == ("2.0", "req-1")
    assert ("result" in told) != ("error" in told)
    return told


async def result_of(here: Served, method: str, params: Any = None, **headers: str) -> dict[str, Any]:
    told = await answer_of(here, method, params, **headers)
    assert "result" in told, told
    return told["result"]


async def code_of(here: Served, method: str, params: Any = None, **headers: str) -> int:
    told = await answer_of(here, method, params, **headers)
    assert "error" in told, told
    assert told["error"]["message"]
    return told["error"]["code"]


def says(text: Any, **params: Any) -> dict[str, Any]:
    return {"message": {"role": "user", "parts": [{"type": "text", "text": text}]}, **params}


def texts_of(task: dict[str, Any]) -> list[tuple[str, str]]:
    return [(message["role"], "".join(part["text"] for part in message["parts"])) for message in task["history"]]


@pytest.fixture
async def here() -> AsyncGenerator[Served]:
    async with served(echo_agent()) as there:
        yield there


@pytest.mark.parametrize("method", ["SendMessage", "tasks/send"])
async def test_a_task_is_done_when_it_is_answered(here: Served, method: str) -> None:
    with fail_after(5):
        task = await result_of(here, method, says("hello"))
    status = task["status"]
    assert (status["state"], set(status)) == ("completed", {"state", "timestamp"})
    assert (task["output"], task["autonomous"], task["kind"]) == ("hello (1)", False, "task")
    assert task["sessionId"] == task["contextId"]
    assert texts_of(task) == [("user", "hello"), ("agent", "hello (1)")]
    assert [part["type"] for message in task["history"] for part in message["parts"]] == ["text", "text"]
    (artifact,) = task["artifacts"]
    assert [(part["type"], part["text"]) for part in artifact["parts"]] == [("text", "hello (1)")]
    (event,) = task["events"]
    assert (event["type"], event["timestamp"], event["data"]) == ("task.completed", status["timestamp"], {})
    assert event["id"]
    assert task["metadata"]["usage"]["requests"] == 1


async def test_an_answer_that_repeats_the_question_is_in_the_history_too() -> None:
    with fail_after(5):
        async with served(Agent(TestModel(custom_output_text="ping"))) as here:
            task = await result_of(here, "SendMessage", says("ping"))
            later = await result_of(here, "GetTask", {"id": task["id"]})
    assert texts_of(task) == texts_of(later) == [("user", "ping"), ("agent", "ping")]


@pytest.mark.parametrize("field", ["sessionId", "contextId"])
async def test_the_session_is_the_one_that_is_asked_for_and_goes_on(here: Served, field: str) -> None:
    with fail_after(5):
        first, second = [await result_of(here, "SendMessage", says(text, **{field: "s1"})) for text in ("one", "two")]
        events = await here.events("s1")
    assert (first["sessionId"], second["sessionId"]) == ("s1", "s1")
    assert first["id"] != second["id"]
    assert [task["output"] for task in (first, second)] == ["one (1)", "two (3)"]
    assert [content for kind, content in events if kind == "user_message"] == ["one", "two"]
    assert [content for kind, content in events if kind == "agent_response"] == ["one (1)", "two (3)"]


async def test_tasks_without_a_session_have_one_each(here: Served) -> None:
    with fail_after(5):
        tasks = [await result_of(here, "SendMessage", says("hi")) for _ in range(3)]
    assert len({task["id"] for task in tasks}) == len({task["sessionId"] for task in tasks}) == 3


@pytest.mark.parametrize("method", ["GetTask", "tasks/get"])
async def test_a_task_is_the_same_when_it_is_asked_for_later(here: Served, method: str) -> None:
    with fail_after(5):
        sent = await result_of(here, "SendMessage", says("hello"))
        got = await result_of(here, method, {"id": sent["id"]})
    assert got == sent


@pytest.mark.parametrize("method", ["CancelTask", "tasks/cancel"])
async def test_cancelling_a_task_that_has_ended_leaves_it_as_it_is(here: Served, method: str) -> None:
    with fail_after(5):
        sent = await result_of(here, "SendMessage", says("hello"))
        assert await result_of(here, method, {"id": sent["id"]}) == sent
        assert await result_of(here, "GetTask", {"id": sent["id"]}) == sent


@asynccontextmanager
async def working(**options: Any) -> AsyncGenerator[tuple[Served, GatedModel]]:
    gated = GatedModel()
    async with served(Agent(gated.model, name="gated"), **options) as here:
        yield here, gated


@pytest.mark.parametrize("configuration", [{"blocking": False}, {"returnImmediately": True}])
@pytest.mark.parametrize("method", ["CancelTask", "tasks/cancel"])
async def test_a_task_that_is_not_waited_for_is_worked_on_until_it_is_cancelled(
    configuration: dict[str, Any], method: str
) -> None:
    with fail_after(5):
        async with working() as (here, gated):
            sent = await result_of(here, "SendMessage", says("hello", configuration=configuration))
            assert sent["status"]["state"] in ("submitted", "working")
            assert (sent["output"], texts_of(sent)) == ("", [("user", "hello")])
            await gated.said_first.wait()
            ended = await result_of(here, method, {"id": sent["id"]})
            await gated.cancelled.wait()
            got = await result_of(here, "GetTask", {"id": sent["id"]})
    assert (ended["status"]["state"], got["status"]["state"], got["output"]) == ("canceled", "canceled", "")
    assert got["events"][-1]["type"] == "task.canceled"


@pytest.mark.parametrize("configuration", [{}, {"blocking": True}, {"mode": "interactive", "budgets": {}}, None])
async def test_a_task_is_waited_for_unless_it_says_otherwise(here: Served, configuration: Any) -> None:
    with fail_after(5):
        task = await result_of(here, "SendMessage", says("hello", configuration=configuration))
    assert task["status"]["state"] == "completed"


@pytest.mark.parametrize("method", ["ListTasks", "tasks/list"])
async def test_tasks_are_listed_newest_first_with_their_answers(here: Served, method: str) -> None:
    with fail_after(5):
        sent = [await result_of(here, "SendMessage", says(str(n), sessionId=f"s{n % 2}")) for n in range(5)]
        all_of_them, none = await result_of(here, method), await result_of(here, method, {"sessionId": "none"})
        of_one = await result_of(here, method, {"contextId": "s1"})
        page = await result_of(here, method, {"pageSize": 2})
        rest = await result_of(here, method, {"pageSize": 3, "pageToken": page["nextPageToken"]})
    assert all_of_them == {"tasks": sent[::-1], "count": 5, "nextPageToken": ""}
    assert none == {"tasks": [], "count": 0, "nextPageToken": ""}
    assert [task["id"] for task in of_one["tasks"]] == [sent[3]["id"], sent[1]["id"]]
    assert [*page["tasks"], *rest["tasks"]] == sent[::-1]
    assert (page["count"], rest["count"], rest["nextPageToken"]) == (2, 3, "")


@pytest.mark.parametrize(
    ("message", "asked"),
    [
        ({"role": "user", "parts": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}, "a b"),
        ({"parts": [{"text": "a"}]}, "a"),
        ({"role": "user", "parts": [{"kind": "text", "text": "a"}]}, "a"),
        ({"role": "user", "text": "plain"}, "plain"),
        ({"role": "user", "parts": [], "text": "plain"}, "plain"),
        ({"role": "user", "parts": [{"type": "text", "text": " "}], "text": "plain"}, "plain"),
        ({"role": "user", "parts": [{"type": "text", "text": "a"}], "text": "not this"}, "a"),
        ({"role": "user", "parts": [{"type": "text", "text": "a"}], "metadata": {"delegation": True}}, "a"),
        ({"role": "user", "parts": [{"type": "data", "data": {"n": 1}}]}, '{"n": 1}'),
    ],
)
async def test_what_a_message_says_is_what_the_agent_is_asked(
    here: Served, message: dict[str, Any], asked: str
) -> None:
    with fail_after(5):
        task = await result_of(here, "SendMessage", {"message": message, "sessionId": "s", "metadata": {"any": 1}})
        events = await here.events("s")
    assert task["output"] == f"{asked} (1)"
    assert events[0] == ("user_message", asked)
    assert task["history"][0].get("metadata", {}) == message.get("metadata", {})


async def test_a_file_reaches_the_model() -> None:
    recording = RecordingModel()
    parts = [
        {"type": "text", "text": "what is this?"},
        {"type": "file", "file": {"bytes": "iVBORw==", "mimeType": "image/png", "name": "a.png"}},
    ]
    with fail_after(5):
        async with served(Agent(recording.model, name="seeing")) as here:
            task = await result_of(here, "SendMessage", {"message": {"role": "user", "parts": parts}})
    assert task["output"] == "ok"
    prompt: Any = recording.messages[-1].parts[-1]
    assert (prompt.content[0], prompt.content[1].media_type) == ("what is this?", "image/png")
    assert prompt.content[1].data == b"\x89PNG"


async def test_context_of_a_task_is_instructions_and_not_what_the_user_said() -> None:
    recording = RecordingModel()
    parts = [
        {"type": "text", "text": "Before: they spoke of the sea.", "metadata": {"role": "developer"}},
        {"type": "text", "text": "go on"},
    ]
    with fail_after(5):
        async with served(Agent(recording.model, name="told")) as here:
            await result_of(here, "SendMessage", {"message": {"role": "user", "parts": parts}, "sessionId": "s"})
            events = await here.events("s")
    assert events[0] == ("user_message", "go on")
    assert "they spoke of the sea" in str(recording.info.instructions)


class Sum(BaseModel):
    """A sum."""

    value: int


async def test_a_structured_answer_is_json_in_the_output() -> None:
    agent = Agent(TestModel(custom_output_args={"value": 3}), name="summing", output_type=Sum)
    with fail_after(5):
        async with served(agent) as here:
            task = await result_of(here, "SendMessage", says("1 + 2"))
    assert json.loads(task["output"]) == {"value": 3}
    assert texts_of(task)[-1] == ("agent", task["output"])


async def test_a_task_that_fails_says_so_in_words_and_nothing_inner() -> None:
    failing = FailingModel(lambda: RuntimeError(SECRET), "so far ")
    with fail_after(5):
        async with served(Agent(failing.model, name="failing")) as here:
            task = await result_of(here, "SendMessage", says("hello"))
            old = await result_of(here, "tasks/get", {"id": task["id"]})
    assert (task["status"]["state"], task["output"], task["events"][0]["type"]) == ("failed", "", "task.failed")
    assert isinstance(task["status"]["message"], str)
    assert task["status"]["message"]
    assert SECRET not in json.dumps([task, old])
    # The same words are an object for clients of 0.3.
    assert v0_3.Task.model_validate(old).status.message is not None
    assert old["status"]["message"]["parts"] == [
        {"kind": "text", "type": "text", "text": task["status"]["message"]},
    ]


async def test_what_never_began_has_failed_for_clients_that_know_no_other_word() -> None:
    with fail_after(5):
        async with working(settings=Settings(max_active_runs=1, max_queued_runs=0)) as (here, gated):
            first = await result_of(here, "SendMessage", says("one", configuration={"blocking": False}))
            await gated.said_first.wait()
            second = await result_of(here, "SendMessage", says("two"))
            old = await result_of(here, "tasks/get", {"id": second["id"]})
            gated.gate.set()
    assert first["status"]["state"] in ("submitted", "working")
    assert (second["status"]["state"], old["status"]["state"]) == ("failed", "rejected")


NOTHING = {"message": {"role": "user", "parts": []}}


@pytest.mark.parametrize(
    ("params", "names"),
    [
        (None, "message"),
        ({}, "message"),
        ({"message": None}, "message"),
        ({"message": "hello"}, "message"),
        ({"message": []}, "message"),
        ({"message": {}}, "text"),
        (NOTHING, "text"),
        ({"message": {"parts": [{"type": "text"}]}}, "text"),
        (says(""), "text"),
        (says(" \n"), "text"),
        (says(5), "text"),
        (says("\ud800"), "params"),
        ({"message": {"role": "user", "text": 5}}, "text"),
        ({"message": {"parts": [{"type": "text", "text": "x", "metadata": {"role": "developer"}}]}}, "text"),
        ({"message": {"parts": "hello"}}, "parts"),
        ({"message": {"parts": ["hello"]}}, "parts[0]"),
        ({"message": {"parts": [{"text": "a"}, {"type": "hologram"}]}}, "parts[1]"),
        ({"message": {"parts": [{"text": "a"}, {"type": []}]}}, "parts[1]"),
        ({"message": {"parts": [{"type": "file"}]}}, "parts[0]"),
        ({"message": {"parts": [{"type": "file", "file": {"bytes": "!", "mimeType": "image/png"}}]}}, "parts[0]"),
        ({"message": {"parts": [{"type": "file", "file": {"bytes": "aa==", "uri": "http://x/"}}]}}, "parts[0]"),
        ({"message": {"parts": [{"type": "file", "file": {"uri": "file:///etc/passwd"}}]}}, "parts[0]"),
        (says("x", sessionId=5), "sessionId"),
        (says("x", sessionId="no spaces"), "contextId"),
        (says("x", contextId="x" * 129), "contextId"),
        (says("x", configuration="fast"), "configuration"),
        (says("x", configuration={"mode": "dreaming"}), "mode"),
        (says("x", configuration={"blocking": "no"}), "blocking"),
        (says("x", metadata="mine"), "metadata"),
        ({"message": {"text": "x", "metadata": [1]}}, "metadata"),
    ],
)
async def test_a_wrong_message_is_refused_by_name(here: Served, params: Any, names: str) -> None:
    with fail_after(5):
        told = await answer_of(here, "SendMessage", params)
        listed = await result_of(here, "ListTasks")
    assert told["error"]["code"] == -32602
    assert names in told["error"]["message"]
    assert (listed["count"], here.runtime.model_status) == (0, "unknown")


@pytest.mark.parametrize("depth", [10, 30, 50, 95, 400])
@pytest.mark.parametrize("where", ["metadata", "data"])
async def test_what_could_not_be_told_again_is_not_taken(here: Served, depth: int, where: str) -> None:
    deep: dict[str, Any] = {}
    for _ in range(depth):
        deep = {"a": deep}
    parts = [{"type": "text", "text": "hi"}, {"type": "data", "data": deep if where == "data" else {}}]
    message = {"role": "user", "parts": parts, "metadata": deep if where == "metadata" else {}}
    with fail_after(5):
        told = await answer_of(here, "SendMessage", {"message": message})
        listed = await result_of(here, "ListTasks")
    assert listed["count"] == ("result" in told) >= (depth == 10)
    assert "result" in told or told["error"]["code"] == -32602


@pytest.mark.parametrize("number", ["NaN", "-Infinity", "1e999", "9" * 400])
async def test_a_number_that_is_none_is_not_taken(here: Served, number: str) -> None:
    params = {"message": {"role": "user", "parts": [{"text": "hi"}, {"type": "data", "data": {"n": "THIS"}}]}}
    request = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "SendMessage", "params": params})
    with fail_after(5):
        headers = {"Content-Type": "application/json"}
        answer = await here.http.post("/", content=request.replace('"THIS"', number), headers=headers)
        assert answer.json()["error"]["code"] in (-32700, -32602)
        assert (await result_of(here, "ListTasks"))["count"] == 0


@pytest.mark.parametrize("method", ["GetTask", "tasks/get", "CancelTask", "tasks/cancel"])
async def test_a_task_that_is_not_named_or_not_known_is_an_error(here: Served, method: str) -> None:
    with fail_after(5):
        for wrong in (None, {}, {"id": ""}, {"id": 5}, {"id": None}, {"id": ["a"]}, {"taskId": "a"}, {"id": "\ud800"}):
            assert await code_of(here, method, wrong) == -32602, wrong
        for unknown in ("no-such-task", "x" * 5000, "' or 1=1"):
            assert await code_of(here, method, {"id": unknown}) == -32001, unknown


@pytest.mark.parametrize(
    "params", [{"pageSize": 0}, {"pageSize": 101}, {"pageSize": -1}, {"pageSize": 2**40}, {"pageSize": "2"}]
)
async def test_a_wrong_page_is_refused(here: Served, params: Any) -> None:
    with fail_after(5):
        assert await code_of(here, "ListTasks", params) == -32602


async def test_bad_frames_and_methods_are_errors_of_json_rpc(here: Served) -> None:
    async def told(body: Any) -> int:
        content = body if isinstance(body, str) else json.dumps(body)
        answer = await here.http.post("/", content=content, headers={"Content-Type": "application/json"})
        assert answer.status_code == 200
        return answer.json()["error"]["code"]

    with fail_after(5):
        assert await code_of(here, "NoSuchMethod", {}) == -32601
        assert await code_of(here, "tasks/none", {}) == -32601
        assert await told("{not json") == -32700
        assert await told({"id": 1, "method": "SendMessage"}) == -32600
        assert await told({"jsonrpc": "1.0", "id": 1, "method": "SendMessage"}) == -32600
        assert await told({"jsonrpc": "2.0", "id": 1}) == -32600
        assert await told([]) == -32600
        for params in ([], "text", 5):
            request = {"jsonrpc": "2.0", "id": 1, "method": "SendMessage", "params": params}
            assert await told(request) == -32602


@pytest.mark.parametrize("method", ["SendMessage", "tasks/send"])
async def test_the_autonomous_mode_is_refused_in_words(here: Served, method: str) -> None:
    asked = says("keep the garden", configuration={"mode": "autonomous", "budgets": {"maxIterations": 3}})
    with fail_after(5):
        told = await answer_of(here, method, asked)
    assert told["error"]["code"] == -32004
    assert "autonomous" in told["error"]["message"]
    assert here.runtime.model_status == "unknown"


async def test_a_key_sees_its_own_tasks_only() -> None:
    settings = Settings(agent_api_keys="alice=key-of-alice,bob=key-of-bob")
    alice, bob = {"X-API-Key": "key-of-alice"}, {"X-API-Key": "key-of-bob"}
    with fail_after(5):
        async with served(echo_agent(), settings=settings) as here:
            nobody = await here.http.post("/", json={"jsonrpc": "2.0", "id": 1, "method": "ListTasks"})
            sent = await result_of(here, "SendMessage", says("mine", sessionId="s"), **alice)
            foreign = [await code_of(here, name, {"id": sent["id"]}, **bob) for name in ("GetTask", "CancelTask")]
            listed = [(await result_of(here, "ListTasks", None, **key))["count"] for key in (alice, bob)]
            other = await result_of(here, "SendMessage", says("also mine", sessionId="s"), **bob)
    assert nobody.status_code == 401
    assert (foreign, listed) == ([-32001, -32001], [1, 0])
    assert other["output"] == "also mine (1)"  # another session of the same name


@pytest.mark.parametrize("method", ["tasks/get", "tasks/cancel"])
async def test_what_both_dialects_call_the_same_is_answered_for_both(here: Served, method: str) -> None:
    with fail_after(5):
        sent = await result_of(here, "SendMessage", says("hello", sessionId="s"))
        answer = await answer_of(here, method, {"id": sent["id"]})
        told = v0_3.GetTaskSuccessResponse.model_validate(answer).result
        short = await result_of(here, method, {"id": sent["id"], "historyLength": 1})
        none = await result_of(here, method, {"id": sent["id"], "historyLength": 0})
        wrong = [await code_of(here, method, {"id": sent["id"], "historyLength": n}) for n in (-1, "1", True, 0.5)]
    assert (told.id, told.context_id, told.kind, told.status.state) == (sent["id"], "s", "task", "completed")
    assert [message.role for message in told.history or ()] == ["user", "agent"]
    assert answer["result"]["output"] == "hello (1)"
    assert answer["result"]["sessionId"] == "s"
    assert texts_of(short) == [("agent", "hello (1)")]
    assert (none["history"], wrong) == ([], [-32602] * 4)


async def test_the_same_tasks_are_seen_in_every_dialect(here: Served) -> None:
    core = {"messageId": "m1", "role": "ROLE_USER", "contextId": "s", "parts": [{"text": "one"}]}
    old = {"messageId": "m2", "role": "user", "contextId": "s", "parts": [{"kind": "text", "text": "two"}]}
    with fail_after(5):
        first = (await result_of(here, "SendMessage", {"message": core}, **{"A2A-Version": "1.0"}))["task"]
        second = await result_of(here, "message/send", {"message": {**old, "kind": "message"}})
        third = await result_of(here, "SendMessage", says("three", sessionId="s"))
        listed = await result_of(here, "ListTasks", {"sessionId": "s"})
        seen = [
            await result_of(here, "GetTask", {"id": third["id"]}, **{"A2A-Version": "1.0"}),
            await result_of(here, "tasks/get", {"id": third["id"]}, **{"A2A-Version": "0.3"}),
        ]
    assert [task["id"] for task in listed["tasks"]] == [third["id"], second["id"], first["id"]]
    assert [task["output"] for task in listed["tasks"]] == ["three (5)", "two (3)", "one (1)"]
    assert [task["status"]["state"] for task in seen] == ["TASK_STATE_COMPLETED", "completed"]
    assert not any("output" in task for task in seen)


def request(method: str, **message: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": 1, "method": method, "params": {"message": message}}


@pytest.mark.parametrize(
    ("body", "version", "kaos"),
    [
        (request("SendMessage", role="user"), None, True),
        (request("SendMessage", role="user"), "", True),
        (request("SendMessage"), None, True),
        (request("SendMessage", role=5), None, True),
        (request("SendMessage", role="ROLE_USER"), None, False),
        (request("SendMessage", role="user"), "1.0", False),
        (request("SendMessage", role="user"), "0.3", False),
        (request("SendStreamingMessage", role="user"), None, False),
        (request("message/send", role="user"), None, False),
        ({"method": "SendMessage"}, None, True),
        ({"method": "SendMessage", "params": None}, None, True),
        ({"method": "SendMessage", "params": []}, None, True),
        ({"method": "SendMessage", "params": {"message": "x"}}, None, True),
        ({"method": "GetTask"}, None, True),
        ({"method": "GetTask"}, "1.0", False),
        ({"method": "ListTasks"}, None, True),
        ({"method": "CancelTask"}, None, True),
        ({"method": "SubscribeToTask"}, None, False),
        ({"method": "tasks/send"}, None, True),
        ({"method": "tasks/list"}, None, True),
        ({"method": "tasks/send"}, "1.0", False),
        ({"method": "tasks/get"}, None, True),
        ({"method": "tasks/cancel"}, None, True),
        ({"method": "tasks/get"}, "0.3", False),
        ({"method": "tasks/resubscribe"}, None, False),
        ({"method": None}, None, False),
        ({}, None, False),
    ],
)
def test_the_dialect_is_told_by_the_method_the_role_and_the_header(
    body: dict[str, Any], version: str | None, kaos: bool
) -> None:
    assert is_kaos(body, version) is kaos
