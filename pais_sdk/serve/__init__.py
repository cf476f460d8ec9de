"""Serve an agent: the function `serve`, and the command `python -m pais_sdk.serve`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Unpack

if TYPE_CHECKING:
    from pydantic_ai.agent import AbstractAgent
    from pydantic_ai.models import Model

    from ..compose import RuntimeOptions
    from ..memory import Memory
    from ..runtime import AgentRuntime
    from ..server import AgentServer
    from ..server.auth import Authenticate
    from ..settings import Settings

__all__ = ["serve"]


def serve(
    agent: AbstractAgent[Any, Any] | AgentRuntime[Any],
    *,
    settings: Settings | None = None,
    memory: Memory | None = None,
    model: Model | str | None = None,
    authenticate: Authenticate | None = None,
    **options: Unpack[RuntimeOptions],
) -> AgentServer:
    """Return an ASGI application that serves an agent; nothing is opened yet.

    The environment is read here, once. What is given as an argument wins over it, except that
    DEBUG_MOCK_RESPONSES replaces every model.

    Args:
        agent: An agent, or a runtime, which is served as it is.
        settings: In place of the environment.
        memory: Where sessions live; by default what MEMORY_TYPE says.
        model: In place of MODEL_API_URL's and of the agent's own.
        authenticate: Who may call, in place of AGENT_API_KEYS: takes a request without its body and returns the
            caller's scope, the namespace of its sessions, or None for a 401; sync, without blocking, or async.
        options: Arguments of AgentRuntime, such as `deps`, `toolsets` or `max_steps`.

    Raises:
        ConfigurationError: It cannot work like this; the text says what to change.
    """
    from ..compose import create_runtime
    from ..server import AgentServer
    from ..settings import Settings

    settings = Settings() if settings is None else settings
    runtime = create_runtime(agent, settings=settings, memory=memory, model=model, options=options)
    return AgentServer(runtime, settings=settings, authenticate=authenticate)
