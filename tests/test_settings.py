"""Settings: what the environment says, and what is said when it cannot be used."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import SecretStr

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
        ({"MEMORY_ENABLED": "false", "MEMORY_TYPE": "sqlite", "REDIS_URL": "redis://x"}, "memory_type", "null"),
        ({"MEMORY_ENABLED": "false", "MEMORY_TYPE": "remote"}, "memory_type", "null"),
        ({"MEMORY_ENABLED": "false", "REDIS_URL": "redis://x"}, "memory_type", "null"),
        ({"MEMORY_REDIS_URL": "redis://x"}, "memory_type", "redis"),
        ({"REDIS_URL": "redis://x"}, "memory_type", "redis"),
        ({"REDIS_URL": "redis://x", "MEMORY_TYPE": "Sqlite"}, "memory_type", "sqlite"),
        ({"MEMORY_REDIS_URL": "1", "REDIS_URL": "2"}, "memory_redis_url", SecretStr("1")),
        ({"MEMORY_SQLITE_PATH": "x.db"}, "memory_sqlite_path", "x.db"),
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
        ("MEMORY_TYPE", "remote", "is not supported; use redis with MEMORY_REDIS_URL, sqlite with"),
        ("MEMORY_TYPE", "disk", "MEMORY_TYPE cannot be used: input should be 'local', 'sqlite', 'redis' or 'null'"),
        ("MEMORY_ENABLED", "perhaps", "MEMORY_ENABLED cannot be used: input should be a valid boolean"),
        ("MEMORY_MAX_SESSIONS", "0", "MEMORY_MAX_SESSIONS cannot be used"),
        ("MEMORY_TTL_SECONDS", "inf", "MEMORY_TTL_SECONDS cannot be used"),
        ("TOOL_CALL_MODE", "json", "TOOL_CALL_MODE cannot be used: input should be 'auto', 'native' or 'string'"),
        ("VLLM_ENDPOINT", "localhost:8000", "VLLM_ENDPOINT cannot be used: must begin with http"),
        ("DEFAULT_EFFORT", "max", "DEFAULT_EFFORT cannot be used: input should be 'quick', 'standard' or 'determined'"),
        ("MODEL_API_URL", "localhost:11434", "must begin with http"),
        ("AGENTIC_LOOP_MAX_STEPS", "0", "AGENTIC_LOOP_MAX_STEPS cannot be used"),
        ("LOG_LEVEL", "LOUD", "LOG_LEVEL cannot be used"),
        ("AGENT_API_KEYS", "", "would let everyone in"),
        ("agent_api_keys", "", "would let everyone in"),
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
    assert str(raised.value).count("cannot be used") <= 1


@pytest.mark.parametrize(
    ("environment", "max_sessions", "max_messages", "ttl_s"),
    [
        ({}, 1000, 500, 0),
        ({"MEMORY_TYPE": "sqlite"}, None, None, 0),
        ({"REDIS_URL": "redis://x"}, None, None, 604_800),
        ({"REDIS_URL": "redis://x", "MEMORY_TTL_SECONDS": "0", "MEMORY_MAX_SESSIONS": "7"}, 7, None, 0),
        ({"MEMORY_TYPE": "sqlite", "MEMORY_TTL_SECONDS": "5", "MEMORY_MAX_SESSION_EVENTS": "9"}, None, 9, 5),
    ],
)
def test_what_is_kept_depends_on_the_memory_unless_it_is_said(
    monkeypatch: pytest.MonkeyPatch,
    environment: dict[str, str],
    max_sessions: int | None,
    max_messages: int | None,
    ttl_s: float,
) -> None:
    for name, text in environment.items():
        monkeypatch.setenv(name, text)
    settings = Settings()
    kept = (settings.memory_max_sessions, settings.memory_max_session_events, settings.memory_ttl_s)
    assert kept == (max_sessions, max_messages, ttl_s)


def test_unknown_variables_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MCP_SERVER_echo-tools_URL", "http://x")
    monkeypatch.setenv("AGENT_WHATEVER", "x")
    assert Settings().agent_name is None


def test_code_wins_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODEL_NAME", "environment")
    assert Settings(model_name="code").model_name == "code"


def test_keys_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODEL_API_KEY", "secret")
    monkeypatch.setenv("MEMORY_REDIS_URL", "redis://:secret@x")
    assert "secret" not in repr(Settings())
