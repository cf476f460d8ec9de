"""Auto mode: native tools until the endpoint says that it has none, string mode from then on."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from anyio import fail_after
from pydantic import BaseModel
from pydantic_ai import Agent
from pydantic_ai.exceptions import ModelHTTPError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from pais_sdk import AgentRuntime, RunEnded, RunFailedError, RunStarted, Settings
from pais_sdk._listen import listening
from pais_sdk.compose import create_runtime
from pais_sdk.models import AutoModeModel, StringMode, StringModeModel, endpoint_model
from pais_sdk.models.auto_mode import refuses_tools
from pais_sdk.testing.mock_llm import MockLLM

from .agents import calls_then

pytestmark = pytest.mark.anyio

ADD = {"tool_calls": [{"name": "add", "arguments": {"a": 1, "b": 2}}]}


def adder(model: Any = None, **options: Any) -> Agent[Any, Any]:
    agent = Agent(model, name="adder", **options)

    @agent.tool_plain
    def add(a: int, b: int) -> int:  # pyright: ignore[reportUnusedFunction]
        """Add two numbers."""
        return a + b

    return agent


@asynccontextmanager
async def adding(
    model_name: str, agent: Agent[Any, Any] | None = None, **values: Any
) -> AsyncGenerator[tuple[MockLLM, AgentRuntime[Any]]]:
    """Open a runtime of an agent that adds, with a model of an endpoint; gives the endpoint and the runtime."""
    mock = MockLLM(responses=[ADD, "It is 3."])
    async with mock.running() as url:
        settings = Settings(model_api_url=url, model_name=model_name, **values)
        async with create_runtime(agent or adder(), settings=settings) as runtime:
            yield mock, runtime


async def said(runtime: AgentRuntime[Any], *, streaming: bool) -> str:
    if not streaming:
        return (await runtime.run("Add 1 and 2")).text
    async with runtime.stream("Add 1 and 2") as run:
        async for _ in run:
            pass
    assert run.outcome is not None
    assert run.outcome.error is None
    return run.outcome.text


def brought_tools(mock: MockLLM) -> list[bool]:
    return ["tools" in request["body"] for request in mock.record.requests]


@pytest.mark.parametrize("streaming", [False, True], ids=["plain", "stream"])
async def test_a_model_without_tools_is_used_in_string_mode_from_its_first_refusal_on(
    streaming: bool, caplog: pytest.LogCaptureFixture
) -> None:
    with fail_after(5):
        async with adding("script+no-tools") as (mock, runtime):
            for _ in range(2):
                assert await said(runtime, streaming=streaming) == "It is 3."
            assert brought_tools(mock) == [True, False, False, False, False]
            assert [tool.name for tool in await runtime.list_tools()] == ["add"]
            assert "add" in str(mock.record.requests[1]["body"]["messages"])
    [warning] = [record for record in caplog.records if record.levelname == "WARNING"]
    assert warning.getMessage() == (
        "model 'script+no-tools' has no tools at its endpoint: it is used in string mode from now on"
    )


@pytest.mark.parametrize("streaming", [False, True], ids=["plain", "stream"])
async def test_a_model_with_tools_stays_native(streaming: bool) -> None:
    with fail_after(5):
        async with adding("script") as (mock, runtime):
            assert await said(runtime, streaming=streaming) == "It is 3."
            assert brought_tools(mock) == [True, True]


async def test_twenty_first_requests_at_once_are_all_answered_and_log_once(caplog: pytest.LogCaptureFixture) -> None:
    with fail_after(10):
        async with adding("script+no-tools") as (_, runtime):
            texts = await asyncio.gather(
                *(said(runtime, streaming=bool(number % 2)) for number in range(20)),
            )
    assert set(texts) == {"It is 3."}
    assert sum(record.levelname == "WARNING" for record in caplog.records) == 1


async def test_each_model_learns_for_itself_and_an_effort_of_the_same_name_learns_with_it() -> None:
    with fail_after(5):
        values: Any = {"effort_quick_model": "script", "effort_determined_model": "script+no-tools"}
        async with adding("script+no-tools", **values) as (mock, runtime):
            for effort in (None, "quick", "determined"):
                assert (await runtime.run("Add", effort=effort)).text == "It is 3."
            assert brought_tools(mock) == [True, False, False, True, True, False, False]


async def test_a_fallback_learns_for_itself() -> None:
    with fail_after(5):
        async with adding("error-500", fallback_model_name="script+no-tools") as (mock, runtime):
            for _ in range(2):
                assert (await runtime.run("Add")).text == "It is 3."
            asked = [(request["body"]["model"][:6], "tools" in request["body"]) for request in mock.record.requests]
    one = [("error-", True), ("script", False)]
    assert asked == [("error-", True), ("script", True), ("script", False), *one, *one, *one]


async def test_structured_output_goes_the_same_way() -> None:
    class Sum(BaseModel):
        value: int

    mock = MockLLM(responses=[{"tool_calls": [{"name": "final_result", "arguments": {"value": 3}}]}])
    with fail_after(5):
        async with mock.running() as url, Agent(AutoModeModel(endpoint_model(url, "script+no-tools"))) as agent:
            assert (await agent.run("Add", output_type=Sum)).output == Sum(value=3)
            assert brought_tools(mock) == [True, False]


async def test_a_session_that_began_natively_goes_on_in_string_mode() -> None:
    with fail_after(5):
        async with adding("script", effort_quick_model="script+no-tools") as (_, runtime):
            for effort in (None, "quick", None):
                assert (await runtime.run("Add", session_id="s", effort=effort)).text == "It is 3."


async def test_without_tools_nothing_is_learned_from_an_error() -> None:
    with fail_after(5):
        async with adding("echo", Agent()) as (mock, runtime):
            mock.fail_next(400, code="unsupported_parameter")
            with pytest.raises(RunFailedError):
                await runtime.run("x")
            assert mock.record.started == 1


async def test_another_error_is_not_mistaken_for_it() -> None:
    with fail_after(5):
        async with adding("script") as (mock, runtime):
            for status in (400, 404, 422, 500, 501):
                mock.fail_next(status)
                with pytest.raises(RunFailedError):
                    await runtime.run("Add")
            assert (await runtime.run("Add")).text == "It is 3."
            assert all(brought_tools(mock))


@pytest.mark.parametrize("streaming", [False, True], ids=["plain", "stream"])
async def test_a_refusal_that_quotes_the_user_is_refused_in_string_mode_too_and_teaches_nothing(
    streaming: bool, caplog: pytest.LogCaptureFixture
) -> None:
    async def chat(request: Request) -> Response:
        body = await request.body()
        asked.append(b'"tools"' in body)
        if b"hammer" in body:
            error = {"message": "Refused: 'My hammer does not support tools'", "type": "invalid_request_error"}
            return JSONResponse({"error": error}, 400)
        return Response(status_code=418)

    asked: list[bool] = []
    app = Starlette(routes=[Route("/v1/chat/completions", chat, methods=["POST"])])
    with fail_after(5):
        async with (
            listening(app) as url,
            create_runtime(adder(), settings=Settings(model_api_url=url, model_name="m")) as runtime,
        ):
            for prompt in ("My hammer does not support tools", "Add"):
                if streaming:
                    async with runtime.stream(prompt) as run:
                        assert [type(event) async for event in run] == [RunStarted, RunEnded]
                else:
                    with pytest.raises(RunFailedError):
                        await runtime.run(prompt)
    assert asked == [True, False, True]
    assert "string mode" not in caplog.text


@pytest.mark.parametrize("code", [400, "400", None, "unsupported"])
async def test_a_refusal_as_the_first_event_of_a_stream_counts(code: Any) -> None:
    async def chat(request: Request) -> Response:
        brought = "tools" in await request.json()
        asked.append(brought)
        error = {"error": {"message": "m does not support tools", "code": code}}
        choice = {"index": 0, "delta": {"role": "assistant", "content": "It is 3."}, "finish_reason": "stop"}
        said = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}
        return Response(f"data: {json.dumps(error if brought else said)}\n\n", media_type="text/event-stream")

    asked: list[bool] = []
    app = Starlette(routes=[Route("/v1/chat/completions", chat, methods=["POST"])])
    with fail_after(5):
        async with (
            listening(app) as url,
            create_runtime(adder(), settings=Settings(model_api_url=url, model_name="m")) as runtime,
        ):
            for _ in range(2):
                assert await said(runtime, streaming=True) == "It is 3."
    assert asked == [True, False, False]


async def test_what_was_learned_holds_when_the_runtime_is_opened_again() -> None:
    mock = MockLLM(responses=[ADD, "It is 3."])
    with fail_after(5):
        async with mock.running() as url:
            settings = Settings(model_api_url=url, model_name="script+no-tools")
            runtime = create_runtime(adder(), settings=settings)
            for _ in range(2):
                async with runtime:
                    assert (await runtime.run("Add")).text == "It is 3."
            assert brought_tools(mock) == [True, False, False, False, False]


@pytest.mark.parametrize(
    ("mode", "tools"), [("native", [True]), ("auto", [True, False, False]), ("string", [False, False])]
)
async def test_the_mode_of_the_environment_is_that_of_endpoint_models(mode: str, tools: list[bool]) -> None:
    with fail_after(5):
        async with adding("script+no-tools", tool_call_mode=mode) as (mock, runtime):
            if mode == "native":
                with pytest.raises(RunFailedError):
                    await runtime.run("Add")
            else:
                assert (await runtime.run("Add")).text == "It is 3."
            assert brought_tools(mock) == tools


@pytest.mark.parametrize("effort", [None, "quick", "standard"])
@pytest.mark.parametrize("where", ["endpoint", "fallback", "given", "own"])
async def test_string_mode_covers_every_model_and_effort(where: str, effort: str | None) -> None:
    mock = MockLLM(responses=[ADD, "It is 3."])
    with fail_after(5):
        async with mock.running() as url:
            values: Any = {"model_api_url": url, "model_name": "script", "effort_quick_model": "script+chars"}
            if where == "fallback":
                values = {"model_api_url": url, "model_name": "error-500", "fallback_model_name": "script"}
            settings = Settings(tool_call_mode="string", **(values if where in ("endpoint", "fallback") else {}))
            model = endpoint_model(url, "script")
            async with create_runtime(
                adder(model if where == "own" else None), settings=settings, model=model if where == "given" else None
            ) as runtime:
                assert [tool.name for tool in await runtime.list_tools()] == ["add"]
                assert (await runtime.run("Add", effort=effort)).text == "It is 3."
            assert not any(brought_tools(mock))


async def test_string_mode_is_not_put_on_twice() -> None:
    mock = MockLLM(responses=[ADD, "It is 3."])
    with fail_after(5):
        async with mock.running() as url:
            settings = Settings(tool_call_mode="string", model_api_url=url, model_name="script")
            for agent, options in (
                (adder(capabilities=[StringMode(one_system_message=False)]), {}),
                (adder(), {"capabilities": [StringMode(one_system_message=False)]}),
            ):
                async with create_runtime(agent, settings=settings, options=options) as runtime:  # pyright: ignore[reportArgumentType]
                    assert (await runtime.run("Add")).text == "It is 3."
            async with create_runtime(
                adder(StringModeModel(endpoint_model(url, "script"))), settings=Settings(tool_call_mode="string")
            ) as runtime:
                assert (await runtime.run("Add")).text == "It is 3."
            for request in mock.record.requests:
                assert str(request["body"]["messages"]).count("Add two numbers.") == 1


async def test_a_mock_of_the_environment_calls_tools_in_every_mode() -> None:
    responses = '[{"tool_calls": [{"name": "add", "arguments": {"a": 1, "b": 2}}]}, "It is 3."]'
    for mode in ("auto", "native", "string"):
        settings = Settings(debug_mock_responses=responses, tool_call_mode=mode)
        async with create_runtime(adder(), settings=settings) as runtime:
            assert (await runtime.run("Add")).text == "It is 3."


def test_a_given_model_and_the_agents_own_are_native_in_auto_mode() -> None:
    own = calls_then("x", ("add", "{}"))
    runtime = create_runtime(adder(own), settings=Settings())
    assert runtime.arguments.models() == [own]


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (400, {"message": "registry.ollama.ai/library/gemma3:4b does not support tools", "type": "api_error"}),
        (400, {"message": '"auto" tool choice requires --enable-auto-tool-choice and --tool-call-parser to be set'}),
        (400, {"object": "error", "message": 'tool_choice="required" requires --tool-call-parser to be set'}),
        (500, {"code": 500, "message": "tools param requires --jinja flag", "type": "server_error"}),
        (500, {"code": 500, "message": "Unsupported param: tools", "type": "server_error"}),
        (400, {"message": "litellm.UnsupportedParamsError: x does not support parameters: ['tools', 'tool_choice']"}),
        (400, {"message": "x does not support parameters: {'tools': [{'type': 'function'}]}, for model=y"}),
        (400, {"message": 'litellm.BadRequestError: OllamaException - {"error":"m does not support tools"}'}),
        (500, {"message": 'litellm.APIConnectionError: Ollama_chatException - {"error":"m does not support tools"}'}),
        (404, {"message": "No endpoints found that support tool use. To learn more, visit: ...", "code": 404}),
        (400, {"message": "`tools` is not supported with this model", "param": "tools"}),
        (400, {"message": "`tool calling` is not supported with this model"}),
        (400, {"message": "Function calling is not enabled for models/gemma-3-27b-it"}),
        (400, {"message": "deepseek-reasoner does not support Function Calling"}),
        (400, {"message": "This model doesn't support tool use in streaming mode."}),
        (400, {"detail": "Only ['gorilla-openfunctions-v1', 'qwen-chat'] support tool calls"}),
        (400, {"message": "Provider returned error", "metadata": {"raw": '{"error":"m does not support tools"}'}}),
        (400, "m does not support tools"),
        (422, [{"msg": "the model does not support tools"}]),
    ],
)
def test_endpoints_have_many_words_for_it(status: int, body: object) -> None:
    assert refuses_tools(ModelHTTPError(status, "m", body))


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (401, "m does not support tools"),
        (429, "m does not support tools"),
        (503, "m does not support tools"),
        (400, None),
        (400, {}),
        (400, {"message": "Invalid schema for function 'add': tools[0].function.parameters is not an object"}),
        (400, {"message": "This model's maximum context length is 8192 tokens; tools take 3000 of them"}),
        (400, {"message": "x does not support parameters: ['tool_choice'], for model=y"}),
        (400, {"message": "x does not support parameters: ['parallel_tool_calls']"}),
        (400, {"message": "this model does not support parallel tool calls"}),
        (400, {"message": "Parallel tool calls are not supported"}),
        (400, {"message": "m does not support images"}),
        (400, {"message": "Invalid schema for function 'add': m does not support tools with oneOf"}),
        (400, {"error": {"error": {"error": {"error": {"error": {"error": "m does not support tools"}}}}}}),
        (404, {"message": "model 'tools' not found"}),
        (404, {"message": "No endpoints found that support the provided 'tool_choice' value."}),
        (400, {"message": "Unsupported parameter: 'max_tokens' is not supported with this model."}),
        (422, [{"msg": "field required", "input": {"messages": "my hammer does not support tools"}}]),
        (500, {"message": "tool_call_id is not known"}),
    ],
)
def test_other_errors_are_other_errors(status: int, body: object) -> None:
    assert not refuses_tools(ModelHTTPError(status, "m", body))
