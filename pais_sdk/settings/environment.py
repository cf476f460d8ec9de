"""What the environment says."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, Literal

from pydantic import SecretStr, ValidationInfo, field_validator

from ..errors import ConfigurationError
from .telemetry import TelemetrySettings
from .variables import env, names_of

_WEEK_S = 604_800

# Secrets that come from files end with a line break as a rule.
_OF_MODELS = (
    "model_api_url",
    "model_name",
    "model_api_key",
    "llm_endpoint",
    "llm_api_key",
    "vllm_endpoint",
    "vllm_api_key",
    "ollama_endpoint",
    "fallback_model_name",
    "fallback_model_api_url",
    "fallback_model_api_key",
    "effort_quick_model",
    "effort_standard_model",
    "effort_determined_model",
)


def _memory_type(before: dict[str, Any]) -> str:
    if not before["memory_enabled"]:
        return "null"
    return "local" if before["memory_redis_url"] is None else "redis"


def _memory_ttl_s(before: dict[str, Any]) -> float:
    return _WEEK_S if before["memory_type"] == "redis" else 0


def _of_local(limit: int) -> Callable[[dict[str, Any]], int | None]:
    return lambda before: limit if before["memory_type"] == "local" else None


class Settings(TelemetrySettings):
    """What the environment says. Read once, when it is made; values given in code win over the environment.

    Unknown variables and empty ones do not matter; no file is read.

    Raises:
        ConfigurationError: A value cannot be used; the text names the variable.
    """

    agent_description: str | None = env("AGENT_DESCRIPTION", text="What the agent does, for its card.")
    agent_instructions: str | None = env("AGENT_INSTRUCTIONS", text="Added to the agent's own instructions.")

    model_api_url: str | None = env(
        "MODEL_API_URL", text="An OpenAI-compatible endpoint; `/v1` is appended where it is missing. Needs MODEL_NAME."
    )
    model_name: str | None = env(
        "MODEL_NAME",
        text="The model at the endpoint. MODEL_API_URL needs it; with LLM_ENDPOINT, VLLM_ENDPOINT and USE_OLLAMA the "
        "efforts have default models where it is not set.",
    )
    model_api_key: SecretStr | None = env(
        "MODEL_API_KEY", text="The key for MODEL_API_URL; unset, a placeholder goes out. OPENAI_API_KEY never does."
    )
    llm_endpoint: str | None = env(
        "LLM_ENDPOINT", text="An OpenAI-compatible endpoint, where MODEL_API_URL is not set."
    )
    llm_api_key: SecretStr | None = env("LLM_API_KEY", text="The key for LLM_ENDPOINT.")
    vllm_endpoint: str | None = env(
        "VLLM_ENDPOINT", text="An OpenAI-compatible endpoint, where none of the above is set."
    )
    vllm_api_key: SecretStr | None = env("VLLM_API_KEY", text="The key for VLLM_ENDPOINT.")
    ollama_endpoint: str | None = env(
        "OLLAMA_ENDPOINT",
        text="Ollama's endpoint, where none of the above is set. Needs MODEL_NAME, or USE_OLLAMA.",
    )
    use_ollama: bool = env(
        "USE_OLLAMA",
        default=False,
        text="Whether Ollama is the endpoint, at `http://localhost:11434/v1` unless one of the above is set, and the "
        "models' names are Ollama's.",
    )
    fallback_model_name: str | None = env(
        "FALLBACK_MODEL_NAME",
        text="The model that is asked where the first one fails before its first word. It needs an endpoint: that of "
        "the first one, or its own.",
    )
    fallback_model_api_url: str | None = env(
        "FALLBACK_MODEL_API_URL", text="The endpoint of that model; unset, the same as the first one's."
    )
    fallback_model_api_key: SecretStr | None = env("FALLBACK_MODEL_API_KEY", text="The key for FALLBACK_MODEL_API_URL.")
    default_effort: Literal["quick", "standard", "determined"] | None = env(
        "DEFAULT_EFFORT",
        text="The effort of a run that names none. Unset, such runs have the model of all runs and no limit of output "
        "tokens; where the default models apply, it is `standard`.",
    )
    effort_quick_model: str | None = env(
        "EFFORT_QUICK_MODEL",
        text="The model of effort `quick` (2048 output tokens), at the endpoint; without one, as `provider:model`. "
        "Unset, the model of all runs.",
    )
    effort_standard_model: str | None = env(
        "EFFORT_STANDARD_MODEL",
        text="The model of effort `standard` (4096 output tokens), at the endpoint; without one, as `provider:model`. "
        "Unset, the model of all runs.",
    )
    effort_determined_model: str | None = env(
        "EFFORT_DETERMINED_MODEL",
        text="The model of effort `determined` (8192 output tokens), at the endpoint; without one, as "
        "`provider:model`. Unset, the model of all runs.",
    )
    tool_call_mode: Literal["auto", "native", "string"] = env(
        "TOOL_CALL_MODE",
        default="auto",
        text="How tools are offered to the model: `native`, in the API's own way; `string`, described in the prompt "
        "and called in text; `auto`, native until the endpoint says that it has no tools, then `string`.",
    )
    debug_mock_responses: str | None = env(
        "DEBUG_MOCK_RESPONSES",
        text="A JSON list of answers in place of every model: the n-th model request of a run gets the n-th. "
        'An answer is a text, or `{"tool_calls": [{"name": ..., "arguments": {...}}]}`.',
    )

    mcp_servers: str | None = env(
        "MCP_SERVERS",
        text="Names of MCP servers, `one,two`; the URL of each is `MCP_SERVER_<NAME>_URL`, with the name as it is or "
        "in upper case with `_`. `/mcp` is appended where it is missing.",
    )
    mcp_config: str | None = env(
        "MCP_CONFIG",
        text="The path of a JSON file with `mcpServers`, of commands and URLs; `${VAR:-default}` is filled in.",
    )
    mcp_required: str | None = env(
        "MCP_REQUIRED", text="Names of MCP servers without which the agent is not ready: `one,two`."
    )

    agent_sub_agents: str | None = env(
        "AGENT_SUB_AGENTS",
        text="Other agents that this one may delegate to: `name:url,name:url`. Merged with PEER_AGENTS.",
    )
    peer_agents: str | None = env(
        "PEER_AGENTS",
        text="Names of such agents, `one,two`; the base URL of each is `PEER_AGENT_<NAME>_CARD_URL`, and its key, if "
        "it wants one, `PEER_AGENT_<NAME>_API_KEY`, with the name in upper case and `_` for `-`.",
    )
    agent_identity: str | None = env(
        "AGENT_IDENTITY",
        text="Tells this agent from all others where agents delegate to each other in a circle; unset, each server has "
        "one of its own.",
    )
    delegation_timeout_s: float = env(
        "AGENT_DELEGATION_TIMEOUT_SECONDS",
        default=240.0,
        gt=0,
        allow_inf_nan=False,
        text="Seconds for one delegated task; what is left of the run and of AGENT_TOOL_TIMEOUT_SECONDS holds too.",
    )
    delegation_max_depth: int = env(
        "AGENT_DELEGATION_MAX_DEPTH",
        default=5,
        ge=1,
        text="Agents that may delegate to each other in a row, until the next one has to do without.",
    )

    a2a: bool | None = env(
        "AGENT_A2A",
        text="Whether A2A is served at `POST /`, with its cards; unset, where the extra `a2a` is installed.",
    )
    a2a_task_url: SecretStr | None = env(
        "A2A_TASK_URL",
        text="The database where A2A tasks are kept, `sqlite:///tasks.db` or `postgresql://...`, with the extra `sql` "
        "or `postgres`; unset, in this process. Needed where AGENT_WORKERS is more than 1.",
    )
    a2a_max_tasks: int = env(
        "A2A_MAX_TASKS", default=1000, ge=1, text="Tasks that are kept where they are in this process."
    )
    a2a_task_ttl_s: float = env(
        "A2A_TASK_TTL_SECONDS",
        default=_WEEK_S,
        ge=0,
        allow_inf_nan=False,
        text="Seconds after its end until a task is forgotten; 0 for never.",
    )
    autonomous_goal: str | None = env("AUTONOMOUS_GOAL", text="Refused: an autonomous mode is not in this version.")

    agent_host: str = env("AGENT_HOST", default="127.0.0.1", text="The address to listen on.")
    agent_port: int = env(
        "AGENT_PORT", "PAI_AGENT_PORT", "PORT", default=8000, ge=0, le=65535, text="The port; 0 for a free one."
    )
    agent_public_url: str | None = env(
        "AGENT_PUBLIC_URL", text="The URL that others reach the agent at, for its card; unset, the request's own."
    )
    agent_trust_forwarded: bool = env(
        "AGENT_TRUST_FORWARDED",
        default=False,
        text="Whether X-Forwarded-Proto, -Host and -Prefix are believed; only behind a proxy that sets them.",
    )
    agent_access_log: bool = env("AGENT_ACCESS_LOG", default=False, text="Whether every request is logged.")
    agent_workers: int = env(
        "AGENT_WORKERS",
        default=1,
        ge=1,
        text="Processes that serve; more than 1 need a memory that they share, and for A2A a database (A2A_TASK_URL).",
    )
    agent_grace_s: float = env(
        "AGENT_GRACE_SECONDS",
        default=20.0,
        ge=0,
        allow_inf_nan=False,
        text="Seconds that active runs have to finish after SIGTERM; keep it some seconds below Kubernetes' "
        "`terminationGracePeriodSeconds` (30).",
    )

    agent_api_keys: SecretStr | None = env(
        "AGENT_API_KEYS",
        text="Who may call: `name=key,name=key,...`. The name is the scope of what is stored, several keys may share "
        "one, and a key without a name has a scope of its own. Unset, everyone may.",
    )
    agent_api_keys_file: str | None = env(
        "AGENT_API_KEYS_FILE", text="A file of such keys, in lines or with commas; lines with `#` are comments."
    )
    agent_cors_origins: str | None = env(
        "AGENT_CORS_ORIGINS",
        text="Web pages of other origins that may call: `https://a.example,https://b.example`, or `*` for all.",
    )

    agent_max_body_bytes: int = env(
        "AGENT_MAX_BODY_BYTES", default=16 * 1024 * 1024, ge=1, text="The largest request body, in bytes."
    )
    agent_max_messages: int = env(
        "AGENT_MAX_MESSAGES", default=1000, ge=1, text="The most messages that one request may bring."
    )
    agent_progress: Literal["chunk", "kaos-ui", "kaos-cli", "off"] = env(
        "AGENT_PROGRESS",
        default="chunk",
        text="How tool calls show in a stream: a chunk with an empty delta and a `progress` field; `kaos-ui` adds the "
        "line that KAOS's UI reads; `kaos-cli` puts the JSON into the content, as KAOS's CLI wants it; or `off`.",
    )
    agent_keepalive_s: float = env(
        "AGENT_KEEPALIVE_SECONDS",
        default=15.0,
        gt=0,
        allow_inf_nan=False,
        text="Seconds of silence after which a stream gets a comment line.",
    )
    agent_stream_idle_s: float = env(
        "AGENT_STREAM_IDLE_SECONDS",
        default=60.0,
        gt=0,
        allow_inf_nan=False,
        text="Seconds that the reader of a stream may take nothing, until it counts as gone.",
    )

    max_steps: int = env(
        "AGENTIC_LOOP_MAX_STEPS", "MAX_TURNS", default=10, ge=1, text="Model requests in one run at the most."
    )
    run_timeout_s: float = env(
        "AGENT_RUN_TIMEOUT_SECONDS",
        default=600.0,
        ge=0,
        allow_inf_nan=False,
        text="Seconds for one run; 0 for no limit.",
    )
    tool_timeout_s: float = env(
        "AGENT_TOOL_TIMEOUT_SECONDS",
        default=300.0,
        ge=0,
        allow_inf_nan=False,
        text="Seconds for one tool call; 0 for no limit.",
    )
    max_active_runs: int = env("AGENT_MAX_ACTIVE_RUNS", default=100, ge=1, text="Runs at once.")
    max_queued_runs: int = env(
        "AGENT_MAX_QUEUED_RUNS", default=100, ge=0, text="Runs that may wait for a place or a session."
    )
    max_runs_per_scope: int = env(
        "AGENT_MAX_ACTIVE_RUNS_PER_KEY",
        default=50,
        ge=1,
        text="Runs at once, waiting ones included, for all keys of one name.",
    )
    on_busy: Literal["queue", "reject", "interrupt"] = env(
        "AGENT_ON_BUSY",
        default="queue",
        text="A second request in a session: waits for the first, is refused, or cancels the first.",
    )
    busy_wait_s: float = env(
        "AGENT_BUSY_WAIT_SECONDS",
        default=30.0,
        ge=0,
        allow_inf_nan=False,
        text="The longest wait for a session, and then for a place, in seconds.",
    )
    on_disconnect: Literal["cancel", "finish"] = env(
        "AGENT_ON_DISCONNECT", default="cancel", text="What becomes of the run of a client that hangs up."
    )

    memory_enabled: bool = env("MEMORY_ENABLED", default=True, text="`false` is the same as MEMORY_TYPE=null.")
    memory_redis_url: SecretStr | None = env(
        "MEMORY_REDIS_URL",
        "REDIS_URL",
        text="`redis://`, `rediss://` (with TLS) or `unix://`; a user and a password go in front of the host.",
    )
    memory_type: Literal["local", "sqlite", "redis", "null"] = env(
        "MEMORY_TYPE",
        default_factory=_memory_type,
        text="`local`: sessions in this process; `sqlite`: in a file; `redis`: in Redis; `null`: none are kept. Unset, "
        "`redis` where a URL of one is set, else `local`.",
    )
    memory_sqlite_path: str = env(
        "MEMORY_SQLITE_PATH", default="pais.db", text="The file of `sqlite`; its folder is made where it is missing."
    )
    memory_context_limit: int = env(
        "MEMORY_CONTEXT_LIMIT", default=6, ge=0, text="The newest messages of a session that a run sees, in whole runs."
    )
    memory_max_sessions: int | None = env(
        "MEMORY_MAX_SESSIONS",
        default_factory=_of_local(1000),
        ge=1,
        text="Sessions that are kept; unset, 1000 with `local`, and no limit with `sqlite` and `redis`.",
    )
    memory_max_session_events: int | None = env(
        "MEMORY_MAX_SESSION_EVENTS",
        default_factory=_of_local(500),
        ge=1,
        text="Messages of one session that are kept; unset, 500 with `local`, and no limit with `sqlite` and `redis`.",
    )
    memory_ttl_s: float = env(
        "MEMORY_TTL_SECONDS",
        default_factory=_memory_ttl_s,
        ge=0,
        allow_inf_nan=False,
        text="Seconds after its last write until a session goes; 0 for never. Unset, a week (604800) with `redis`, and "
        "never with the others.",
    )
    memory_stateless_ttl_s: float = env(
        "MEMORY_STATELESS_TTL_SECONDS",
        default=86_400,
        ge=0,
        allow_inf_nan=False,
        text="The same for sessions of callers who sent no session id; 0 keeps them as the others.",
    )

    log_level: Literal["TRACE", "DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"] = env(
        "LOG_LEVEL", "AGENT_LOG_LEVEL", default="INFO", text="What `python -m pais_sdk.serve` logs, to stderr."
    )
    log_format: Literal["plain", "json"] = env(
        "LOG_FORMAT", default="plain", text="How it logs: `plain` lines, or one JSON object in each line."
    )

    def __init__(self, **values: Any) -> None:
        super().__init__(**values)
        for field in ("agent_api_keys", "agent_api_keys_file"):
            variable = variable_of(field)
            is_empty = any(name.upper() == variable and not value for name, value in os.environ.items())
            if getattr(self, field) is None and is_empty:
                raise ConfigurationError(f"{variable} is set but empty, which would let everyone in; unset it for that")

    @field_validator("log_level", mode="before")
    @classmethod
    def _upper(cls, value: Any) -> Any:
        return value.strip().upper() if isinstance(value, str) else value

    @field_validator("memory_type", mode="before")
    @classmethod
    def _memory(cls, value: Any, info: ValidationInfo) -> Any:
        if not info.data.get("memory_enabled", True):
            return "null"
        if value == "remote":
            raise ValueError(
                "remote, KAOS's MemoryStore, is not supported; use redis with MEMORY_REDIS_URL, sqlite with "
                "MEMORY_SQLITE_PATH, local or null"
            )
        return value

    @field_validator("autonomous_goal")
    @classmethod
    def _no_goal(cls, value: str | None) -> str | None:
        if value is not None:
            raise ValueError("an autonomous mode is not in this version; unset it, and send the goal as a message")
        return value

    # The last one here is asked first.
    @field_validator(
        "memory_type",
        "on_busy",
        "on_disconnect",
        "tool_call_mode",
        "default_effort",
        "agent_progress",
        "log_format",
        mode="before",
    )
    @classmethod
    def _lower(cls, value: Any) -> Any:
        return value.strip().lower() if isinstance(value, str) else value

    @field_validator(*_OF_MODELS, mode="before")
    @classmethod
    def _stripped(cls, value: Any) -> Any:
        return value.strip() or None if isinstance(value, str) else value

    @field_validator(
        "model_api_url",
        "llm_endpoint",
        "vllm_endpoint",
        "ollama_endpoint",
        "fallback_model_api_url",
        "agent_public_url",
    )
    @classmethod
    def _http(cls, value: str | None) -> str | None:
        if value is not None and not value.lower().startswith(("http://", "https://")):
            raise ValueError("must begin with http:// or https://")
        return value

    def address(self, host: str | None, port: int | None) -> tuple[str, int]:
        """Return the host and port to listen on; what is given wins over what is set."""
        return self.agent_host if host is None else host, self.agent_port if port is None else port


def variable_of(field: str) -> str:
    """Return the variable that a field of Settings is read from: of several, the first that is set, else the first."""
    names = names_of(Settings.model_fields[field])
    return next((name for name in names if os.environ.get(name)), names[0])
