"""Efforts: models and settings by name, of a runtime, of the environment, and on the wire."""

from __future__ import annotations

from typing import Any

import pytest
from anyio import fail_after
from pydantic_ai import Agent

from pais_sdk import AgentRuntime, ConfigurationError, InvalidRequestError, Settings, mock_model, serve
from pais_sdk.compose import create_runtime
from pais_sdk.models import endpoint_model, resolve_models
from pais_sdk.testing.mock_llm import MockLLM

from .http_agents import RecordingModel, content_of, error_of, served

pytestmark = pytest.mark.anyio

URL = "http://localhost:1"


# Of a runtime


async def test_an_effort_chooses_model_and_settings_and_none_keeps_the_runtimes_own() -> None:
    seen = RecordingModel()
    agent = Agent(seen.model, model_settings={"temperature": 0.1, "max_tokens": 1, "seed": 1})
    efforts: Any = {
        "other": mock_model(["other"]),
        "own": None,
        "set": (None, {"max_tokens": 5, "top_p": 0.5}),
        "both": (mock_model(["both"]), {"max_tokens": 5}),
    }
    with fail_after(5):
        async with AgentRuntime(agent, efforts=efforts) as runtime:
            texts = [(await runtime.run("x", effort=effort)).text for effort in (None, *efforts)]
            assert texts == ["ok", "other", "ok", "ok", "both"]
            settings = [info.model_settings for _, info in seen.requests]
            agents = {"temperature": 0.1, "max_tokens": 1, "seed": 1}
            assert settings == [agents, agents, {**agents, "max_tokens": 5, "top_p": 0.5}]
            await runtime.run("x", effort="set", model_settings={"max_tokens": 7, "seed": 2})
            assert seen.info.model_settings == {"temperature": 0.1, "max_tokens": 7, "seed": 2, "top_p": 0.5}
    assert efforts["set"] == (None, {"max_tokens": 5, "top_p": 0.5})


async def test_a_run_that_names_no_effort_gets_the_default_one() -> None:
    efforts: Any = {"one": mock_model(["one"]), "two": mock_model(["two"])}
    with fail_after(5):
        async with AgentRuntime(Agent(mock_model(["own"])), efforts=efforts, default_effort="two") as runtime:
            assert [(await runtime.run("x", effort=effort)).text for effort in (None, "one")] == ["two", "one"]
            async with runtime.stream("x") as run:
                async for _ in run:
                    pass
            assert run.outcome is not None
            assert run.outcome.text == "two"


@pytest.mark.parametrize("effort", ["max", "", "ONE", 5, {}, ["one"]])
async def test_an_unknown_effort_is_refused_with_the_names_of_the_known(effort: Any) -> None:
    runtime = AgentRuntime(Agent(mock_model(["x"])), efforts={"one": None, "a": None})
    with pytest.raises(InvalidRequestError, match="use one of a, one") as raised:
        await runtime.run("x", effort=effort)
    assert raised.value.param == "effort"
    with pytest.raises(InvalidRequestError, match="this agent has no effort levels"):
        AgentRuntime(Agent(mock_model(["x"]))).stream("x", effort=effort)


@pytest.mark.parametrize(
    ("efforts", "text"),
    [
        ({5: None}, "has the name 5"),
        ({" ": None}, "has the name ' '"),
        ({"a": 5}, "'a' has 5 for a model"),
        ({"a": ""}, "'a' has '' for a model"),
        ({"a": Agent()}, "'a' has Agent"),
        ({"a": (None,)}, r"'a' is \(None,\); with settings, write it as \(model, settings\)"),
        ({"a": (None, 5)}, "write it as"),
        ({"a": (5, {})}, "'a' has 5 for a model"),
    ],
)
def test_what_is_no_effort_is_refused_at_construction(efforts: Any, text: str) -> None:
    with pytest.raises(ConfigurationError, match=text):
        AgentRuntime(Agent("test"), efforts=efforts)


def test_a_default_that_is_no_effort_is_refused_at_construction() -> None:
    with pytest.raises(ConfigurationError, match="default_effort 'c' is not one of efforts; use one of a, b"):
        AgentRuntime(Agent("test"), efforts={"b": None, "a": None}, default_effort="c")
    with pytest.raises(ConfigurationError, match="this agent has no effort levels"):
        AgentRuntime(Agent("test"), default_effort="c")


# Of the environment


async def test_every_served_agent_has_three_efforts_that_limit_the_output() -> None:
    mock = MockLLM()
    with fail_after(5):
        async with mock.running() as url:
            settings = Settings(model_api_url=url, model_name="echo", effort_determined_model="hello")
            async with served(Agent(), settings=settings) as here:
                for effort in (None, "quick", "standard", "determined"):
                    await here.ask("x", effort=effort)
                await here.ask("x", effort="quick", max_tokens=9)
            sent = [request["body"] for request in mock.record.requests]
    assert [(body["model"], body.get("max_tokens")) for body in sent] == [
        ("echo", None),
        ("echo", 2048),
        ("echo", 4096),
        ("hello", 8192),
        ("echo", 9),
    ]


@pytest.mark.parametrize("model", [None, "given"])
async def test_efforts_hold_for_the_agents_own_model_and_a_given_one(model: str | None) -> None:
    own, given = RecordingModel(), RecordingModel()
    with fail_after(5):
        async with create_runtime(
            Agent(own.model), settings=Settings(default_effort="quick"), model=given.model if model else None
        ) as runtime:
            await runtime.run("x")
            await runtime.run("x", effort="determined")
    seen, unseen = (given, own) if model else (own, given)
    assert [info.model_settings for _, info in seen.requests] == [{"max_tokens": 2048}, {"max_tokens": 8192}]
    assert unseen.requests == []


async def test_default_models_hold_where_an_endpoint_has_no_model_name() -> None:
    mock = MockLLM()
    with fail_after(5):
        async with mock.running() as url:
            settings = Settings(vllm_endpoint=url, effort_determined_model="big")
            async with create_runtime(Agent(), settings=settings) as runtime:
                for effort in (None, "quick", "determined"):
                    await runtime.run("x", effort=effort)
            sent = [request["body"] for request in mock.record.requests]
    assert [(body["model"], body["max_tokens"]) for body in sent] == [
        ("Qwen/Qwen2.5-32B-Instruct", 4096),
        ("Qwen/Qwen2.5-7B-Instruct", 2048),
        ("big", 8192),
    ]


def test_an_effort_without_an_endpoint_is_a_name_with_a_provider(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigurationError, match="EFFORT_QUICK_MODEL names a model at an endpoint, and there is none"):
        serve(Agent("test"), settings=Settings(effort_quick_model="small"))
    with pytest.raises(ConfigurationError, match=r"EFFORT_QUICK_MODEL cannot be used: .*OPENAI_API_KEY"):
        serve(Agent("test"), settings=Settings(effort_quick_model="openai-chat:gpt-5"))
    with pytest.raises(ConfigurationError, match=r"EFFORT_STANDARD_MODEL cannot be used: .*no-such"):
        serve(Agent("test"), settings=Settings(effort_standard_model="no-such:model"))
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    model, settings = resolve_models(Settings(effort_quick_model="openai-chat:gpt-5")).efforts["quick"]
    assert model is not None
    assert (model.model_name, settings) == ("gpt-5", {"max_tokens": 2048})


async def test_efforts_given_in_code_win_over_the_environment(caplog: pytest.LogCaptureFixture) -> None:
    settings = Settings(
        debug_mock_responses='["mock"]', default_effort="quick", effort_quick_model="a", effort_determined_model="b"
    )
    with fail_after(5):
        async with served(Agent("test"), settings=settings, efforts={"deep": mock_model(["deep"])}) as here:
            assert content_of(await here.ask("x")) == "mock"
            assert content_of(await here.ask("x", effort="deep")) == "deep"
            assert (await here.ask("x", effort="quick")).status_code == 400
    assert (
        "DEFAULT_EFFORT, EFFORT_DETERMINED_MODEL, EFFORT_QUICK_MODEL of the environment have no effect" in caplog.text
    )
    fits = create_runtime(
        Agent("test"), settings=Settings(default_effort="quick"), options={"efforts": {"quick": mock_model(["q"])}}
    )
    assert (await fits.run("x")).text == "q"
    told = create_runtime(
        Agent("test"), settings=Settings(default_effort="quick"), options={"default_effort": "determined"}
    )
    assert told.arguments.efforts == ["quick", "standard", "determined"]


async def test_a_runtime_is_served_with_its_own_efforts_alone() -> None:
    with fail_after(5):
        async with served(AgentRuntime(Agent(mock_model(["x"])))) as here:
            refused = await here.ask("x", effort="quick")
            assert (refused.status_code, error_of(refused)["param"]) == (400, "effort")


# On the wire


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("effort", ["max", "", "x" * 10_000, 5, {}, []], ids=lambda effort: repr(effort)[:5])
async def test_an_effort_that_is_not_known_is_a_bad_request(effort: Any, stream: bool) -> None:
    with fail_after(5):
        async with served(Agent(mock_model(["x"]))) as here:
            refused = await here.ask("x", effort=effort, stream=stream)
            assert (refused.status_code, error_of(refused)["param"]) == (400, "effort")
            assert error_of(refused)["type"] == "invalid_request_error"
            assert len(refused.content) < 400
            if effort == "max":
                assert "use one of determined, quick, standard" in error_of(refused)["message"]


async def test_a_model_that_takes_no_limit_of_tokens_is_asked_without_one_unless_an_effort_is_named() -> None:
    mock = MockLLM()
    with fail_after(5):
        async with (
            mock.running() as url,
            Agent(endpoint_model(url, "echo")) as agent,
            served(agent) as here,
        ):
            assert content_of(await here.ask("x")) == "x"
            assert "max_tokens" not in mock.record.requests[0]["body"]
