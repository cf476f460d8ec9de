"""A runtime from an agent and the environment."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypedDict

from pydantic_ai import Agent
from pydantic_ai.agent import AbstractAgent
from pydantic_ai.capabilities import AbstractCapability
from pydantic_ai.models import Model
from pydantic_ai.toolsets import AbstractToolset

from ..errors import ConfigurationError
from ..memory import Memory, OnBusy
from ..models import ResolvedModels, StringMode, choose_endpoint, resolve_models
from ..runtime import AgentRuntime, Effort
from ..settings import Settings, ignored_variables, variable_of
from ..settings.peers import identity_of
from .mcp import create_mcp
from .memory import create_memory
from .peers import create_peers

_log = logging.getLogger("pais_sdk.compose")


class RuntimeOptions(TypedDict, total=False):
    """Arguments of AgentRuntime; each one that is given wins over the environment."""

    id: str
    name: str
    description: str
    toolsets: Sequence[AbstractToolset[Any]]
    capabilities: Sequence[AbstractCapability[Any]]
    instructions: str
    deps: Any
    max_steps: int
    history_limit: int
    timeout_s: float | None
    tool_timeout_s: float | None
    max_active_runs: int
    max_queued_runs: int
    max_runs_per_scope: int | None
    on_busy: OnBusy
    busy_wait_s: float
    on_disconnect: Literal["cancel", "finish"]
    efforts: Mapping[str, Effort]
    default_effort: str | None


def create_runtime(
    agent: AbstractAgent[Any, Any] | AgentRuntime[Any],
    *,
    settings: Settings,
    memory: Memory | None = None,
    model: Model | str | None = None,
    options: RuntimeOptions | None = None,
) -> AgentRuntime[Any]:
    """Return the runtime of an agent as the environment and the arguments want it; a runtime is taken as it is.

    Raises:
        ConfigurationError: It cannot work like this; the text says what to change.
    """
    options = options or {}
    for variable, feature in ignored_variables().items():
        _log.warning("%s is set, but %s is not in this version: it is ignored", variable, feature)
    if isinstance(agent, AgentRuntime):
        _check_taken_as_it_is(settings, memory, model, options)
        return agent
    models = resolve_models(settings, given=model, own=agent.model)
    if models.model is None and agent.model is None:
        raise ConfigurationError(
            "the agent has no model; set MODEL_API_URL and MODEL_NAME, or DEBUG_MOCK_RESPONSES to try it without one"
        )
    arguments: dict[str, Any] = {
        "id": identity_of(settings),
        "name": settings.agent_name,
        "description": settings.agent_description,
        "instructions": settings.agent_instructions,
        "max_steps": settings.max_steps,
        "history_limit": settings.memory_context_limit,
        "timeout_s": settings.run_timeout_s or None,
        "tool_timeout_s": settings.tool_timeout_s or None,
        "max_active_runs": settings.max_active_runs,
        "max_queued_runs": settings.max_queued_runs,
        "max_runs_per_scope": settings.max_runs_per_scope,
        "on_busy": settings.on_busy,
        "busy_wait_s": settings.busy_wait_s,
        "on_disconnect": settings.on_disconnect,
    }
    memory = create_memory(settings) if memory is None else memory
    arguments.update(_efforts(settings, models, options))
    arguments.update(options)
    found = [toolset for toolset in (create_mcp(settings), create_peers(settings)) if toolset is not None]
    if found:
        arguments["toolsets"] = [*arguments.get("toolsets", ()), *found]
    if settings.tool_call_mode == "string" and settings.debug_mock_responses is None:
        arguments["capabilities"] = [*arguments.get("capabilities", ()), *_string_mode(agent, options)]
    return AgentRuntime(agent, memory=memory, model=models.model, **arguments)


def create_agent(settings: Settings) -> Agent[None, str]:
    """Return an agent that is nothing but AGENT_NAME and AGENT_INSTRUCTIONS, for a model of the environment."""
    if settings.debug_mock_responses is None and choose_endpoint(settings) is None:
        raise ConfigurationError(
            "there is nothing to serve: name a target (file.py, file.py:attribute or module:attribute), put an agent "
            "into server.py or agent.py here, or set MODEL_API_URL and MODEL_NAME to build one from the environment"
        )
    instructions = None if settings.agent_instructions else "You are a helpful assistant."
    return Agent(name=settings.agent_name, instructions=instructions)


def _efforts(settings: Settings, models: ResolvedModels, options: RuntimeOptions) -> dict[str, Any]:
    """Return the efforts of the environment, and of efforts that are given, the default."""
    if "efforts" not in options:
        return {"efforts": models.efforts, "default_effort": models.default_effort}
    set_here = [name for name in sorted(settings.model_fields_set) if name.startswith("effort_")]
    default = settings.default_effort
    if default is not None and default not in options["efforts"]:
        set_here, default = ["default_effort", *set_here], None
    if set_here:
        names = ", ".join(map(variable_of, set_here))
        _log.warning("efforts are given in code: %s of the environment have no effect", names)
    return {"default_effort": default}


def _string_mode(agent: AbstractAgent[Any, Any], options: RuntimeOptions) -> list[AbstractCapability[Any]]:
    """Return what puts every model into string mode; nothing where the agent or the caller has done so."""
    found: list[AbstractCapability[Any]] = list(options.get("capabilities", ()))
    agent.root_capability.apply(found.append)
    return [] if any(isinstance(capability, StringMode) for capability in found) else [StringMode()]


def _check_taken_as_it_is(
    settings: Settings, memory: Memory | None, model: Model | str | None, options: RuntimeOptions
) -> None:
    given = [name for name, value in (("memory", memory), ("model", model)) if value is not None] + list(options)
    if given:
        raise ConfigurationError(
            f"{', '.join(given)} cannot be given beside a runtime, which is served as it is; give them to AgentRuntime"
        )
    prefixes = (
        "model_",
        "llm_",
        "vllm_",
        "ollama_",
        "use_ollama",
        "fallback_",
        "default_effort",
        "effort_",
        "tool_call_mode",
        "memory_",
        "mcp_",
        "agent_sub_agents",
        "peer_",
        "delegation_",
        "agent_identity",
        "debug_mock",
        "max_",
        "run_timeout",
        "tool_timeout",
        "busy_",
        "on_",
    )
    ignored = [variable_of(name) for name in sorted(settings.model_fields_set) if name.startswith(prefixes)]
    kept = {"REDIS_URL"}  # the runtime's own code may well read that one
    if settings.agent_workers > 1:
        kept.add("AGENT_IDENTITY")  # which nobody need have set: workers get it from their parent
    ignored = [name for name in ignored if name not in kept]
    if ignored:
        names = ", ".join(ignored)
        _log.warning("a runtime is served as it is: %s of the environment have no effect on it", names)
