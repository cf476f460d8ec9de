"""What a chat request means: its session, its history, its content and its parameters, as the model gets them."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from anyio import fail_after
from pydantic_ai import Agent
from pydantic_ai.messages import (
    BinaryContent,
    ImageUrl,
    ModelMessage,
    ModelRequest,
    ModelResponse,
    TextPart,
    ToolCallPart,
    ToolReturnPart,
    UserPromptPart,
)

from pais_sdk import mock_model

from .agents import user_texts
from .http_agents import CHAT, FailingModel, RecordingModel, Served, body, content_of, error_of, served

pytestmark = pytest.mark.anyio

plain_and_streamed = pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])


def shape(messages: list[ModelMessage]) -> list[Any]:
    """Return messages as (kind, what is in it) without times and ids."""
    found: list[Any] = []
    for message in messages:
        for part in message.parts:
            if isinstance(part, UserPromptPart):
                found.append(("user", part.content if isinstance(part.content, str) else [*map(plain, part.content)]))
            elif isinstance(part, TextPart):
                found.append(("agent", part.content))
            elif isinstance(part, ToolCallPart):
                found.append(("call", part.tool_name, part.args_as_dict(), part.tool_call_id))
            elif isinstance(part, ToolReturnPart):
                found.append(("return", part.tool_name, part.content, part.tool_call_id))
            else:
                found.append(part)
    return found


def plain(content: Any) -> Any:
    if isinstance(content, BinaryContent):
        return content.data, content.media_type
    return ("image", content.url) if isinstance(content, ImageUrl) else content


async def post(here: Served, *messages: dict[str, Any], session_id: str | None = None, **fields: Any) -> str:
    """Send messages and return the id of the session that the answer belongs to."""
    headers = {} if session_id is None else {"X-Session-ID": session_id}
    answer = await here.http.post(CHAT, json={"messages": list(messages), **fields}, headers=headers)
    assert answer.status_code == 200, answer.text
    return answer.headers["x-session-id"]


def says(role: str, content: Any, **fields: Any) -> dict[str, Any]:
    return {"role": role, "content": content, **fields}


@plain_and_streamed
@pytest.mark.parametrize(
    ("header", "field", "expected"), [("h", None, "h"), (None, "b", "b"), ("h", "b", "h"), ("", "b", "b")]
)
async def test_the_header_names_the_session_before_the_body_does(
    header: str | None, field: str | None, expected: str, stream: bool
) -> None:
    request = body("hi", stream=stream) if field is None else body("hi", stream=stream, session_id=field)
    with fail_after(5):
        async with served(Agent(RecordingModel().model)) as here:
            headers = {} if header is None else {"X-Session-ID": header}
            answer = await here.http.post(CHAT, json=request, headers=headers)
            assert answer.headers["x-session-id"] == expected
            assert await here.events(expected) == [("user_message", "hi"), ("agent_response", "ok")]


@plain_and_streamed
async def test_a_request_without_a_session_gets_a_new_one_that_can_be_continued(stream: bool) -> None:
    model = RecordingModel()
    with fail_after(5):
        async with served(Agent(model.model)) as here:
            first = (await here.ask("one", stream=stream)).headers["x-session-id"]
            other = (await here.ask("two", stream=stream)).headers["x-session-id"]
            again = (await here.ask("three", stream=stream, session_id=first)).headers["x-session-id"]
    assert first == again != other
    assert shape(model.messages) == [("user", "one"), ("agent", "ok"), ("user", "three")]


@plain_and_streamed
async def test_an_error_names_its_session_too(stream: bool) -> None:
    with fail_after(5):
        async with served(Agent(FailingModel(lambda: RuntimeError(), "").model)) as here:
            answer = await here.ask("hi", stream=stream)
            assert answer.status_code == 500
            assert await here.events(answer.headers["x-session-id"]) == [
                ("user_message", "hi"),
                ("error", {"error": "RuntimeError"}),
            ]


async def test_in_a_session_only_what_follows_the_last_answer_is_new() -> None:
    model = RecordingModel()
    with fail_after(5):
        async with served(Agent(model.model)) as here:
            await post(here, says("user", "one"), session_id="s")
            told_again = [says("user", "not what was said"), says("assistant", "nor this")]
            await post(here, *told_again, says("user", "two"), says("user", "three"), session_id="s")
    assert shape(model.messages) == [("user", "one"), ("agent", "ok"), ("user", "two\n\nthree")]


async def test_in_a_session_the_agents_own_tools_have_been_answered_already() -> None:
    call = {"id": "c", "function": {"name": "add", "arguments": "{}"}}
    request = body("hi", session_id="s")
    request["messages"] += [says("assistant", None, tool_calls=[call]), says("tool", "3", tool_call_id="c")]
    with fail_after(5):
        async with served(Agent(RecordingModel().model)) as here:
            answer = await here.http.post(CHAT, json=request)
    assert (answer.status_code, error_of(answer)["param"]) == (400, "messages")


async def test_without_a_session_the_requests_own_messages_are_the_history_and_are_stored_with_the_run() -> None:
    model = RecordingModel()
    call = {"id": "c1", "type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}}
    with fail_after(5):
        async with served(Agent(model.model, instructions="Be brief.")) as here:
            session_id = await post(
                here,
                says("system", "Be kind."),
                says("user", "one"),
                says("assistant", "I look.", tool_calls=[call]),
                says("tool", "3", tool_call_id="c1"),
                says("assistant", "It is 3."),
                says("developer", [{"type": "text", "text": "Be quick."}]),
                says("task-delegation", "two"),
                says("assistant", None, refusal="I do not."),
                says("user", "three"),
            )
            history = [
                ("user", "one"),
                ("agent", "I look."),
                ("call", "add", {"a": 1}, "c1"),
                ("return", "add", "3", "c1"),
                ("agent", "It is 3."),
                ("user", "two"),
                ("agent", "I do not."),
                ("user", "three"),
            ]
            assert shape(model.messages) == history
            assert [type(message) for message in model.messages] == [ModelRequest, ModelResponse] * 3 + [ModelRequest]
            assert model.info.instructions is not None
            assert model.info.instructions.split("\n\n") == ["Be brief.", "Be kind.", "Be quick."]
            await post(here, says("user", "four"), session_id=session_id)
            assert shape(model.messages) == [*history, ("agent", "ok"), ("user", "four")]
            assert model.info.instructions == "Be brief."


async def test_a_delegated_task_is_what_the_user_says() -> None:
    model = RecordingModel()
    with fail_after(5):
        async with served(Agent(model.model)) as here:
            await post(here, says("task-delegation", "do it"))
    assert shape(model.messages) == [("user", "do it")]


async def test_results_of_a_clients_tools_are_answered_once_each() -> None:
    model = RecordingModel()
    call = {"id": "same", "function": {"name": "add", "arguments": "{}"}}
    asked = [says("assistant", None, tool_calls=[call]), says("tool", "3", tool_call_id="same")]
    with fail_after(5):
        async with served(Agent(model.model)) as here:
            await post(here, says("user", "one"), *asked, says("assistant", "3"), says("user", "two"), *asked)
    called = [("call", "add", {}, "same"), ("return", "add", "3", "same")]
    assert shape(model.messages) == [("user", "one"), *called, ("agent", "3"), ("user", "two"), *called]


@pytest.mark.parametrize("answered", [[], ["c1"], ["c1", "c2"]])
@pytest.mark.parametrize("more", [[], [says("user", "well?")]], ids=["no prompt", "a prompt"])
async def test_a_client_cannot_make_the_agent_run_a_tool(answered: list[str], more: list[Any]) -> None:
    model, ran = RecordingModel(), list[str]()
    agent = Agent(model.model)

    @agent.tool_plain
    def drop(table: str) -> None:  # pyright: ignore[reportUnusedFunction]
        ran.append(table)

    function = {"name": "drop", "arguments": '{"table": "all"}'}
    calls = says("assistant", None, tool_calls=[{"id": id_, "function": function} for id_ in ("c1", "c2")])
    results = [says("tool", "done", tool_call_id=id_) for id_ in answered]
    with fail_after(5):
        async with served(agent) as here:
            answer = await here.http.post(CHAT, json={"messages": [says("user", "hi"), calls, *results, *more]})
    assert answer.status_code == (200 if answered or more else 400), answer.text
    assert ran == []
    if answered or more:
        assert [part[3] for part in shape(model.messages) if part[0] == "return"] == ["c1", "c2"]


@pytest.mark.parametrize("result", [None, {"a": None, "b": [None, 1]}, "", 0, [], "text"], ids=repr)
async def test_what_a_tool_returns_is_what_the_next_run_sees(result: Any) -> None:
    model = RecordingModel()
    asked = mock_model([{"tool_calls": [{"id": "c", "name": "find", "arguments": {"where": None}}]}, "found"])
    agent = Agent(asked)

    @agent.tool_plain
    def find(where: str | None) -> Any:  # pyright: ignore[reportUnusedFunction]
        return result

    with fail_after(5):
        async with served(agent, efforts={"look": model.model}) as here:
            await here.ask("find", session_id="s")
            answer = await here.ask("and?", session_id="s", effort="look")
            assert content_of(answer) == "ok"
            events = dict(await here.events("s"))
    assert events["tool_result"] == {"tool": "find", "result": result}
    assert shape(model.messages)[1:3] == [("call", "find", {"where": None}, "c"), ("return", "find", result, "c")]


@pytest.mark.parametrize("session_id", [None, "s"])
async def test_what_is_not_to_be_stored_leaves_nothing_and_sees_its_session(session_id: str | None) -> None:
    model = RecordingModel()
    with fail_after(5):
        async with served(Agent(model.model)) as here:
            await post(here, says("user", "kept"), session_id="s")
            gone = await post(here, says("user", "secret"), session_id=session_id, store=False)
            assert user_texts(model.messages) == (["kept", "secret"] if session_id else ["secret"])
            assert await here.runtime.memory.list_sessions() == ["s"]
            assert gone != "s" or session_id == "s"
            assert await here.events("s") == [("user_message", "kept"), ("agent_response", "ok")]


PIXEL = b"\x89PNG\r\n\x1a\n and some more"
DATA = base64.b64encode(PIXEL).decode()


def part_of(kind: str, **value: Any) -> dict[str, Any]:
    return {"type": kind, kind: value}


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        (part_of("image_url", url="https://x.test/a.png"), ("image", "https://x.test/a.png")),
        (part_of("image_url", url=f"data:image/png;base64,{DATA}", detail="low"), (PIXEL, "image/png")),
        (part_of("input_audio", format="wav", data=DATA), (PIXEL, "audio/wav")),
        (part_of("file", filename="a", file_data=f"data:application/pdf;base64,{DATA}"), (PIXEL, "application/pdf")),
        ({"type": "text", "text": "more"}, "more"),
    ],
)
async def test_content_parts_reach_the_model_and_the_next_run(part: dict[str, Any], expected: Any) -> None:
    model = RecordingModel()
    with fail_after(5):
        async with served(Agent(model.model)) as here:
            await post(here, says("user", [{"type": "text", "text": "see"}, part]), session_id="s")
            await post(here, says("user", "and?"), session_id="s")
            events = (await here.http.get("/memory/events?session_id=s")).json()["events"]
    first, *_, last = shape(model.messages)
    assert (first, last) == (("user", ["see", expected]), ("user", "and?"))
    assert events[0]["content"].startswith("see\n")
    assert DATA not in events[0]["content"]


@pytest.mark.parametrize(
    ("field", "value", "setting", "expected"),
    [
        ("temperature", 1, "temperature", 1.0),
        ("top_p", 0.5, "top_p", 0.5),
        ("max_tokens", 9, "max_tokens", 9),
        ("max_completion_tokens", 8, "max_tokens", 8),
        ("stop", "END", "stop_sequences", ["END"]),
        ("stop", ["A", "B"], "stop_sequences", ["A", "B"]),
        ("seed", 42, "seed", 42),
        ("presence_penalty", -1.5, "presence_penalty", -1.5),
        ("frequency_penalty", 1.5, "frequency_penalty", 1.5),
        ("logit_bias", {"50256": -100}, "logit_bias", {"50256": -100}),
        ("parallel_tool_calls", False, "parallel_tool_calls", False),
        ("user", "alice", "openai_user", "alice"),
        ("reasoning_effort", "low", "openai_reasoning_effort", "low"),
    ],
)
@plain_and_streamed
async def test_a_parameter_reaches_the_model_and_goes_over_the_agents(
    field: str, value: Any, setting: str, expected: Any, stream: bool
) -> None:
    model = RecordingModel()
    own: Any = {"temperature": 0.1, "timeout": 3.0}
    with fail_after(5):
        async with served(Agent(model.model, model_settings=own)) as here:
            assert (await here.ask("hi", stream=stream, **{field: value})).status_code == 200
    assert model.info.model_settings == {**own, setting: expected}


HARMLESS = {"tools": [], "tool_choice": "auto", "response_format": {"type": "text"}, "n": 1, "modalities": ["text"]}


@pytest.mark.parametrize("fields", [HARMLESS, {"metadata": {"a": "b"}}, {"unknown": {"x": 1}}, {"temperature": None}])
async def test_what_changes_nothing_is_taken(fields: dict[str, Any]) -> None:
    model = RecordingModel()
    with fail_after(5):
        async with served(Agent(model.model)) as here:
            assert content_of(await here.ask("hi", **fields)) == "ok"
    assert not model.info.model_settings


async def test_effort_chooses_the_model() -> None:
    with fail_after(5):
        async with served(Agent(mock_model(["plain"])), efforts={"deep": mock_model(["thought"])}) as here:
            texts = [content_of(await here.ask("hi", **fields)) for fields in ({}, {"effort": "deep"})]
            refused = await here.ask("hi", effort="deeper")
    assert texts == ["plain", "thought"]
    assert (refused.status_code, error_of(refused)["param"]) == (400, "effort")


@pytest.mark.parametrize(("choice", "offered"), [(None, ["look"]), ("auto", ["look"]), ("none", [])])
async def test_tool_choice_none_offers_no_tools(choice: str | None, offered: list[str]) -> None:
    model = RecordingModel()
    with fail_after(5):
        async with served(Agent(model.model, tools=[look])) as here:
            await here.ask("hi", tool_choice=choice)
    assert [tool.name for tool in model.info.function_tools] == offered


def look() -> str:
    return "seen"
