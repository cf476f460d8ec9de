"""Settings: the environment contract; nothing else in this package reads the environment."""

from __future__ import annotations

import os
from typing import Any, Literal

from pydantic import AliasChoices, Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from .errors import ConfigurationError


def _env(*names: str, default: Any = None, text: str, **limits: Any) -> Any:
    """Declare a field that is read from the first of these variables that is set."""
    choices = AliasChoices(*names, names[0].lower())
    return Field(default=default, validation_alias=choices, description=text, **limits)


class Settings(BaseSettings):
    """What the environment says. Read once, when it is made; values given in code win over the environment.

    Unknown variables and empty ones do not matter; no file is read.

    Raises:
        ConfigurationError: A value cannot be used; the text names the variable.
    """

    model_config = SettingsConfigDict(
        frozen=True, extra="ignore", env_ignore_empty=True, populate_by_name=True, hide_input_in_errors=True
    )

    agent_name: str | None = _env("AGENT_NAME", text="The agent's name; unset, the agent's own, else `agent`.")
    agent_description: str | None = _env("AGENT_DESCRIPTION", text="What the agent does, for its card.")
    agent_instructions: str | None = _env("AGENT_INSTRUCTIONS", text="Added to the agent's own instructions.")

    model_api_url: str | None = _env(
        "MODEL_API_URL", text="An OpenAI-compatible endpoint; `/v1` is appended where it is missing. Needs MODEL_NAME."
    )
    model_name: str | None = _env("MODEL_NAME", text="The model at MODEL_API_URL.")
    model_api_key: SecretStr | None = _env(
        "MODEL_API_KEY", text="The key for MODEL_API_URL; unset, a placeholder goes out. OPENAI_API_KEY never does."
    )
    tool_call_mode: Literal["auto", "native"] = _env(
        "TOOL_CALL_MODE", default="auto", text="How tools are offered to the model: `auto` and `native` are the same."
    )
    debug_mock_responses: str | None = _env(
        "DEBUG_MOCK_RESPONSES",
        text="A JSON list of answers in place of every model: the n-th model request of a run gets the n-th. "
        'An answer is a text, or `{"tool_calls": [{"name": ..., "arguments": {...}}]}`.',
    )

    agent_host: str = _env("AGENT_HOST", default="127.0.0.1", text="The address to listen on.")
    agent_port: int = _env(
        "AGENT_PORT", "PAI_AGENT_PORT", "PORT", default=8000, ge=0, le=65535, text="The port; 0 for a free one."
    )
    agent_public_url: str | None = _env(
        "AGENT_PUBLIC_URL", text="The URL that others reach the agent at, for its card; unset, the request's own."
    )
    agent_trust_forwarded: bool = _env(
        "AGENT_TRUST_FORWARDED",
        default=False,
        text="Whether X-Forwarded-Proto, -Host and -Prefix are believed; only behind a proxy that sets them.",
    )
    agent_access_log: bool = _env("AGENT_ACCESS_LOG", default=False, text="Whether every request is logged.")
    agent_workers: int = _env(
        "AGENT_WORKERS", default=1, ge=1, text="Processes that serve; more than 1 need a memory that they share."
    )
    agent_grace_s: float = _env(
        "AGENT_GRACE_SECONDS",
        default=20.0,
        ge=0,
        allow_inf_nan=False,
        text="Seconds that active runs have to finish after SIGTERM; keep it some seconds below Kubernetes' "
        "`terminationGracePeriodSeconds` (30).",
    )

    agent_api_keys: SecretStr | None = _env(
        "AGENT_API_KEYS",
        text="Who may call: `name=key,name=key,...`. The name is the scope of what is stored, several keys may share "
        "one, and a key without a name has a scope of its own. Unset, everyone may.",
    )
    agent_api_keys_file: str | None = _env(
        "AGENT_API_KEYS_FILE", text="A file of such keys, in lines or with commas; lines with `#` are comments."
    )
    agent_cors_origins: str | None = _env(
        "AGENT_CORS_ORIGINS",
        text="Web pages of other origins that may call: `https://a.example,https://b.example`, or `*` for all.",
    )

    agent_max_body_bytes: int = _env(
        "AGENT_MAX_BODY_BYTES", default=16 * 1024 * 1024, ge=1, text="The largest request body, in bytes."
    )
    agent_max_messages: int = _env(
        "AGENT_MAX_MESSAGES", default=1000, ge=1, text="The most messages that one request may bring."
    )
    agent_progress: Literal["chunk", "kaos-ui", "kaos-cli", "off"] = _env(
        "AGENT_PROGRESS",
        default="chunk",
        text="How tool calls show in a stream: a chunk with an empty delta and a `progress` field; `kaos-ui` adds the "
        "line that KAOS's UI reads; `kaos-cli` puts the JSON into the content, as KAOS's CLI wants it; or `off`.",
    )
    agent_keepalive_s: float = _env(
        "AGENT_KEEPALIVE_SECONDS",
        default=15.0,
        gt=0,
        allow_inf_nan=False,
        text="Seconds of silence after which a stream gets a comment line.",
    )
    agent_stream_idle_s: float = _env(
        "AGENT_STREAM_IDLE_SECONDS",
        default=60.0,
        gt=0,
        allow_inf_nan=False,
        text="Seconds that the reader of a stream may take nothing, until it counts as gone.",
    )

    max_steps: int = _env(
        "AGENTIC_LOOP_MAX_STEPS", "MAX_TURNS", default=10, ge=1, text="Model requests in one run at the most."
    )
    run_timeout_s: float = _env(
        "AGENT_RUN_TIMEOUT_SECONDS",
        default=600.0,
        ge=0,
        allow_inf_nan=False,
        text="Seconds for one run; 0 for no limit.",
    )
    tool_timeout_s: float = _env(
        "AGENT_TOOL_TIMEOUT_SECONDS",
        default=300.0,
        ge=0,
        allow_inf_nan=False,
        text="Seconds for one tool call; 0 for no limit.",
    )
    max_active_runs: int = _env("AGENT_MAX_ACTIVE_RUNS", default=100, ge=1, text="Runs at once.")
    max_queued_runs: int = _env(
        "AGENT_MAX_QUEUED_RUNS", default=100, ge=0, text="Runs that may wait for a place or a session."
    )
    max_runs_per_scope: int = _env(
        "AGENT_MAX_ACTIVE_RUNS_PER_KEY",
        default=50,
        ge=1,
        text="Runs at once, waiting ones included, for all keys of one name.",
    )
    on_busy: Literal["queue", "reject", "interrupt"] = _env(
        "AGENT_ON_BUSY",
        default="queue",
        text="A second request in a session: waits for the first, is refused, or cancels the first.",
    )
    busy_wait_s: float = _env(
        "AGENT_BUSY_WAIT_SECONDS",
        default=30.0,
        ge=0,
        allow_inf_nan=False,
        text="The longest wait for a session, and then for a place, in seconds.",
    )
    on_disconnect: Literal["cancel", "finish"] = _env(
        "AGENT_ON_DISCONNECT", default="cancel", text="What becomes of the run of a client that hangs up."
    )

    memory_type: Literal["local", "null"] = _env(
        "MEMORY_TYPE", default="local", text="`local`: sessions in this process; `null`: none are kept."
    )
    memory_enabled: bool = _env("MEMORY_ENABLED", default=True, text="`false` is the same as MEMORY_TYPE=null.")
    memory_context_limit: int = _env(
        "MEMORY_CONTEXT_LIMIT", default=6, ge=0, text="The newest messages of a session that a run sees, in whole runs."
    )
    memory_max_sessions: int = _env("MEMORY_MAX_SESSIONS", default=1000, ge=1, text="Sessions that are kept.")
    memory_max_session_events: int = _env(
        "MEMORY_MAX_SESSION_EVENTS", default=500, ge=1, text="Messages of one session that are kept."
    )
    memory_ttl_s: float = _env(
        "MEMORY_TTL_SECONDS", default=0, ge=0, text="Seconds after its last write until a session goes; 0 for never."
    )
    memory_stateless_ttl_s: float = _env(
        "MEMORY_STATELESS_TTL_SECONDS",
        default=86_400,
        ge=0,
        text="The same for sessions of callers who sent no session id; 0 keeps them as the others.",
    )

    log_level: Literal["TRACE", "DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"] = _env(
        "LOG_LEVEL", "AGENT_LOG_LEVEL", default="INFO", text="What `python -m pais_sdk.serve` logs, to stderr."
    )

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise ConfigurationError("; ".join(_line(problem) for problem in error.errors())) from None
        for field in ("agent_api_keys", "agent_api_keys_file"):
            variable = variable_of(field)
            if getattr(self, field) is None and os.environ.get(variable) == "":
                raise ConfigurationError(f"{variable} is set but empty, which would let everyone in; unset it for that")

    @field_validator("log_level", mode="before")
    @classmethod
    def _upper(cls, value: Any) -> Any:
        return value.strip().upper() if isinstance(value, str) else value

    @field_validator("memory_type", "on_busy", "on_disconnect", "tool_call_mode", "agent_progress", mode="before")
    @classmethod
    def _lower(cls, value: Any) -> Any:
        return value.strip().lower() if isinstance(value, str) else value

    @field_validator("model_api_url", "agent_public_url")
    @classmethod
    def _http(cls, value: str | None) -> str | None:
        if value is not None and not value.startswith(("http://", "https://")):
            raise ValueError("must begin with http:// or https://")
        return value

    def address(self, host: str | None, port: int | None) -> tuple[str, int]:
        """Return the host and port to listen on; what is given wins over what is set."""
        return self.agent_host if host is None else host, self.agent_port if port is None else port


_NOT_IN_THIS_VERSION = {
    "AGENT_SYSTEM_PROMPT": "a system prompt of the environment",
    "AGENT_SUB_AGENTS": "delegation",
    "AUTONOMOUS_GOAL": "an autonomous mode",
    "MCP_SERVERS": "a connection to MCP servers",
    "PEER_AGENTS": "delegation",
}


def ignored_variables() -> dict[str, str]:
    """Return the variables that are set, as KAOS's operator does, and have no effect here, with what they ask for."""
    return {name: feature for name, feature in _NOT_IN_THIS_VERSION.items() if os.environ.get(name)}


def environment_table() -> str:
    """Return all variables as a Markdown table: names in order of precedence, default, meaning."""
    rows = ["| variable | default | meaning |", "|---|---|---|"]
    for field in Settings.model_fields.values():
        names = ", ".join(f"`{name}`" for name in _names(field))
        default = (
            ""
            if field.default is None
            else f"`{str(field.default).lower() if isinstance(field.default, bool) else field.default}`"
        )
        rows.append(f"| {names} | {default} | {field.description} |")
    return "\n".join(rows)


def variable_of(field: str) -> str:
    """Return the variable that a field of Settings is read from first."""
    return _names(Settings.model_fields[field])[0]


def _aliases(field: Any) -> list[str]:
    return [str(name) for name in field.validation_alias.choices]


def _names(field: Any) -> list[str]:
    return [name for name in _aliases(field) if name == name.upper()]


def _line(problem: Any) -> str:
    location = str(problem["loc"][0])
    names = next(
        (_names(field) for name, field in Settings.model_fields.items() if location in (name, *_aliases(field))),
        [location],
    )
    variable = next((name for name in names if os.environ.get(name)), names[0])
    text = problem["msg"].removeprefix("Value error, ")
    return f"{variable} cannot be used: {text[0].lower()}{text[1:]}{_HINTS.get(variable, '')}"


_HINTS = {
    "MEMORY_TYPE": " (sqlite and redis are not in this version)",
    "TOOL_CALL_MODE": " (string is not in this version)",
}
