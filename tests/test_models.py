"""Mock models."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from anyio import fail_after
from pydantic import BaseModel
from pydantic_ai import Agent

from pais_sdk import AgentRuntime, Settings, TextDelta, mock_model
from pais_sdk.models import resolve_models

pytestmark = pytest.mark.anyio

CALL = {"tool_calls": [{"name": "greet", "arguments": {"name": "World"}}]}


def greeter(responses: Any) -> Agent[None, str]:
    agent = Agent(mock_model(responses), name="greeter")

    @agent.tool_plain
    def greet(name: str) -> str:
        return f"Hello, {name}!"

    return agent


@pytest.mark.parametrize(
    "responses",
    [
        [CALL, "Done."],
        [json.dumps(CALL), "Done."],
        json.dumps([json.dumps(CALL), "Done."]),
        json.dumps([{"tool_calls": [{"id": "c", "name": "greet", "arguments": '{"name": "World"}'}]}, "Done."]),
    ],
    ids=["data", "text", "environment", "arguments as text"],
)
async def test_a_mock_calls_tools_and_then_answers(responses: Any) -> None:
    outcome = await AgentRuntime(greeter(responses)).run("Greet")
    assert outcome.text == "Done."
    assert "Hello, World!" in str(outcome.messages)


@pytest.mark.parametrize(
    ("responses", "text"),
    [
        (["one"], "one"),
        ("plain text", "plain text"),
        ('{"not": "a list"}', '{"not": "a list"}'),
        ("[]", "[no more mock responses]"),
        (["", "an empty answer is none: the next"], "an empty answer is none: the next"),
    ],
)
async def test_a_mock_takes_a_list_or_one_text(responses: Any, text: str) -> None:
    runtime = AgentRuntime(Agent(mock_model(responses)))
    assert (await runtime.run("x")).text == text


async def test_every_run_begins_at_the_first_response_and_streams_words() -> None:
    async with AgentRuntime(greeter([CALL, "It is done now."])) as runtime:
        for _ in range(2):
            async with runtime.stream("x", session_id="s") as run:
                texts = [event.text async for event in run if isinstance(event, TextDelta)]
            assert texts == ["It ", "is ", "done ", "now."]


async def test_fifty_runs_share_one_mock() -> None:
    async with AgentRuntime(greeter([CALL, "Done."])) as runtime:
        with fail_after(5):
            outcomes = await asyncio.gather(*(runtime.run("x") for _ in range(50)))
    assert {outcome.text for outcome in outcomes} == {"Done."}
    assert {outcome.usage.requests for outcome in outcomes} == {2}


async def test_a_mock_gives_structured_output_as_json() -> None:
    class City(BaseModel):
        name: str

    async with AgentRuntime(Agent(mock_model(['{"name": "Oslo"}']), output_type=City)) as runtime:
        assert (await runtime.run("x")).output == City(name="Oslo")


def test_the_mock_of_the_environment_wins_over_everything(caplog: pytest.LogCaptureFixture) -> None:
    settings = Settings(
        debug_mock_responses='["x"]',
        model_api_url="http://localhost:1",
        effort_quick_model="no-provider",
        fallback_model_api_url="http://localhost:2",
        default_effort="quick",
    )
    models = resolve_models(settings, given=mock_model(["given"]))
    assert getattr(models.model, "model_name", None) == "mock"
    assert {effort: model for effort, (model, _) in models.efforts.items()} == {
        "quick": None,
        "standard": None,
        "determined": None,
    }
    assert models.default_effort == "quick"
    assert "no model is asked" in caplog.text
