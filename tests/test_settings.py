"""Settings: what the environment says, and what is said when it cannot be used."""

from __future__ import annotations

from typing import Any

import pytest

from pais_sdk import ConfigurationError, Settings


def test_an_empty_environment_gives_the_embedded_defaults() -> None:
    settings = Settings()
    assert (settings.agent_host, settings.agent_port) == ("127.0.0.1", 8000)
    assert (settings.memory_type, settings.memory_context_limit, settings.max_steps) == ("local", 6, 10)
    assert settings.model_api_url is None


@pytest.mark.parametrize(
    ("environment", "field", "value"),
    [
        ({"AGENT_PORT": "1", "PAI_AGENT_PORT": "2", "PORT": "3"}, "agent_port", 1),
        ({"PAI_AGENT_PORT": "2", "PORT": "3"}, "agent_port", 2),
        ({"PORT": "3"}, "agent_port", 3),
        ({"AGENTIC_LOOP_MAX_STEPS": "4", "MAX_TURNS": "5"}, "max_steps", 4),
        ({"MAX_TURNS": "5"}, "max_steps", 5),
        ({"LOG_LEVEL": "warning", "AGENT_LOG_LEVEL": "DEBUG"}, "log_level", "WARNING"),
        ({"AGENT_LOG_LEVEL": "debug"}, "log_level", "DEBUG"),
        ({"MEMORY_TYPE": "NULL"}, "memory_type", "null"),
        ({"MEMORY_ENABLED": "false"}, "memory_enabled", False),
        ({"AGENT_NAME": ""}, "agent_name", None),
        ({"agent_name": "lower"}, "agent_name", "lower"),
    ],
)
def test_variables_are_read_in_their_order(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], field: str, value: Any
) -> None:
    for name, text in environment.items():
        monkeypatch.setenv(name, text)
    assert getattr(Settings(), field) == value


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("AGENT_PORT", "eighty", "AGENT_PORT cannot be used"),
        ("PORT", "70000", "PORT cannot be used: input should be less"),
        ("MEMORY_TYPE", "redis", "not in this version"),
        ("TOOL_CALL_MODE", "string", "not in this version"),
        ("MODEL_API_URL", "localhost:11434", "must begin with http"),
        ("AGENTIC_LOOP_MAX_STEPS", "0", "AGENTIC_LOOP_MAX_STEPS cannot be used"),
        ("LOG_LEVEL", "LOUD", "LOG_LEVEL cannot be used"),
        ("AGENT_API_KEYS", "", "would let everyone in"),
        ("AGENT_API_KEYS_FILE", "", "would let everyone in"),
    ],
)
def test_a_value_that_cannot_be_used_is_named(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, words: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigurationError) as raised:
        Settings()
    assert words in str(raised.value)
    assert "\n" not in str(raised.value)


def test_unknown_variables_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MCP_SERVER_echo-tools_URL", "http://x")
    monkeypatch.setenv("AGENT_WHATEVER", "x")
    assert Settings().agent_name is None


def test_code_wins_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODEL_NAME", "environment")
    assert Settings(model_name="code").model_name == "code"


def test_keys_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODEL_API_KEY", "secret")
    assert "secret" not in repr(Settings())
