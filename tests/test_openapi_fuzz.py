"""What fits the description of the API, and what does not: only answers come that it describes.

`python -m benchmarks.fuzz` sends more of both.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from pydantic_ai import Agent
from schemathesis import GenerationMode, Response
from schemathesis.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from pais_sdk import Settings, mock_model, serve
from pais_sdk.server.openapi.operations import OPERATIONS

from .http_agents import user

KEY = "the-key-of-the-house"
CHECKS = [
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    response_headers_conformance,
]
CREDENTIALS: dict[str, dict[str, str]] = {
    "none": {},
    "right": {"X-API-Key": KEY},
    "right, as a token": {"Authorization": f"Bearer {KEY}"},
    "wrong": {"X-API-Key": "not-this-one"},
    "wrong, as a token": {"Authorization": "Bearer not-this-one"},
}
BREAKABLE = {"createChatCompletion", "listSessions", "listEvents", "deleteSession"}
"""The operations that take something that can be wrong."""


def looking_agent() -> Agent[Any, str]:
    """Return an agent that says something, uses a tool, and answers."""
    agent = Agent(mock_model(["Let me look.", {"tool_calls": [{"name": "look"}]}, "Nothing."]), name="looker")

    @agent.tool_plain
    def look() -> str:  # pyright: ignore[reportUnusedFunction]
        """Look around."""
        return "nothing"

    return agent


@contextmanager
def fuzzed(operation_id: str, *, keys: bool) -> Generator[Any]:
    """Serve an agent while the block runs, and give one of its operations as it describes it."""
    server = serve(looking_agent(), settings=Settings(agent_api_keys=f"someone={KEY}" if keys else None))
    config = schemathesis.Config()
    config.projects.default.generation.with_security_parameters = False
    with server.start_in_thread(port=0) as handle, httpx.Client(base_url=handle.url, trust_env=False) as client:
        schema = schemathesis.openapi.from_dict(client.get("/openapi.json").json(), config=config)
        schema.config.update(base_url=handle.url)
        yield schema.find_operation_by_id(operation_id)


def send(
    operation: Any, mode: GenerationMode, credentials: dict[str, str], *, examples: int, random: int = 0
) -> Counter[int]:
    """Send what fits an operation, or what does not, and check the answers; returns how many came of each status.

    Args:
        operation: As `fuzzed` gives it.
        mode: Which of both.
        credentials: Headers.
        examples: How many to send at the most.
        random: Where the random numbers begin.
    """
    seen: Counter[int] = Counter()

    @seed(random)
    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def one(case: Any) -> None:
        fits = mode is GenerationMode.POSITIVE
        if fits and operation.path == "/v1/chat/completions":
            follow_the_rules_between_messages(case.body)
            case.body["stream"] = bool(seen.total() % 2)
        answer = case.call(headers=credentials, timeout=10)
        case.validate_response(answer, checks=CHECKS)
        check_what_no_schema_tells(answer, fits)
        seen[answer.status_code] += 1

    one()
    return seen


def follow_the_rules_between_messages(body: Any) -> None:
    """Leave out tool results that answer no call, and end with a user message."""
    body["messages"] = [message for message in body["messages"] if message["role"] != "tool"] + user("And now?")


def check_what_no_schema_tells(answer: Response, fits: bool) -> None:
    if fits and answer.status_code == 400:
        assert answer.json()["error"]["param"] == "cursor", answer.text  # only the server knows which there are
    streamed = answer.headers.get("content-type") == ["text/event-stream; charset=utf-8"]
    if streamed and answer.request.path_url == "/v1/chat/completions":
        assert answer.text.endswith("data: [DONE]\n\n")


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:  # pyright: ignore[reportUnusedFunction]
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@pytest.mark.parametrize("keys", [False, True], ids=["open", "with keys"])
@pytest.mark.parametrize("operation_id", [operation.id for operation in OPERATIONS])
def test_what_fits_the_description_is_taken(operation_id: str, keys: bool) -> None:
    with fuzzed(operation_id, keys=keys) as operation:
        seen = send(operation, GenerationMode.POSITIVE, CREDENTIALS["right" if keys else "none"], examples=25)
    assert set(seen) <= {200, 400, 404}


@pytest.mark.parametrize("operation_id", sorted(BREAKABLE))
def test_what_does_not_fit_is_answered_as_described(operation_id: str) -> None:
    with fuzzed(operation_id, keys=False) as operation:
        seen = send(operation, GenerationMode.NEGATIVE, {}, examples=25)
    assert seen[400] > 10
    assert set(seen) <= {200, 400, 404, 405}


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.id)
def test_without_a_key_only_the_open_routes_answer(operation: Any) -> None:
    with fuzzed(operation.id, keys=True) as described:
        for name, credentials in CREDENTIALS.items():
            seen = send(described, GenerationMode.POSITIVE, credentials, examples=2)
            assert operation.is_open or (set(seen) == {401}) == (not name.startswith("right"))
