"""What a runtime adds to every run of its agent, as run arguments; the agent itself stays as it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast

from pydantic_ai import Agent
from pydantic_ai.agent import AbstractAgent
from pydantic_ai.capabilities import AbstractCapability
from pydantic_ai.exceptions import UserError
from pydantic_ai.models import Model, infer_model
from pydantic_ai.settings import merge_model_settings
from pydantic_ai.tools import DeferredToolRequests, ToolDefinition
from pydantic_ai.toolsets import AbstractToolset, FunctionToolset
from pydantic_ai.usage import UsageLimits

from ..memory import Memory
from .deps import DepsFactory
from .efforts import Efforts
from .guard import LoneGuard, NobodyApproves, ToolGuard
from .request import RunOptions, RunRequest, check_request
from .tool_look import QUESTION, look_at_tools

_NOBODY_APPROVES = NobodyApproves()


def _capabilities_of(agent: AbstractAgent[Any, Any]) -> list[AbstractCapability[Any]]:
    found: list[AbstractCapability[Any]] = []
    agent.root_capability.apply(found.append)
    return found


_WITHOUT_TOOLS = {type(capability) for capability in _capabilities_of(Agent())}
"""What every agent has; it brings no tools of its own."""


_CHOICES = ("get_model", "resolve_model_id")


class RunArguments:
    """Makes the arguments of each run; see AgentRuntime for what they mean."""

    def __init__(
        self,
        agent: AbstractAgent[Any, Any],
        *,
        model: Model | str | None,
        toolsets: Sequence[AbstractToolset[Any]],
        capabilities: Sequence[AbstractCapability[Any]],
        instructions: str | None,
        deps: Any,
        max_steps: int,
        tool_timeout_s: float | None,
        efforts: Efforts,
    ) -> None:
        self._agent = agent
        self._model = model
        self._toolsets = list(toolsets)
        self._capabilities = list(capabilities)
        self._instructions = instructions
        self._deps = DepsFactory(agent, deps)
        self._limits = UsageLimits(request_limit=max_steps)
        self._guard = ToolGuard(timeout_s=tool_timeout_s)
        self._lone_guard = LoneGuard(timeout_s=tool_timeout_s)
        self._efforts = efforts
        self._named: dict[str, Model] = {}
        # A capability may have a say in which model a run has, or in what a name means.
        kinds = [type(capability) for capability in (*capabilities, *_capabilities_of(agent))]
        self._models_are_chosen = any(
            getattr(kind, name) is not getattr(AbstractCapability, name) for kind in kinds for name in _CHOICES
        )

    @property
    def efforts(self) -> list[str]:
        """The names that a run may choose its effort from."""
        return self._efforts.names

    @property
    def speaks_text(self) -> bool:
        """Whether the agent's output is text, and so can be told while it is made."""
        kinds = self._output_kinds()
        return str in kinds and all(kind in (str, DeferredToolRequests) for kind in kinds)

    def models(self) -> list[Model]:
        """Return the models that runs use, to be kept open; those that are given by name are made here."""
        own = self._agent.model if self._model is None else self._model
        found = (self._by_name(model) for model in (own, *self._efforts.models))
        return [model for model in found if isinstance(model, Model)]

    def _by_name(self, model: Model | str | None) -> Model | str | None:
        """Return the model of a name, always the same one, so that its client is; the name where it cannot be made."""
        if not isinstance(model, str) or self._models_are_chosen:
            return model
        if model not in self._named:
            try:
                self._named[model] = infer_model(model)
            except (UserError, ValueError, ImportError):
                return model  # a run that wants it says why
        return self._named[model]

    def toolsets(self) -> list[AbstractToolset[Any]]:
        """Return the toolsets that runs use, to be kept open."""
        of_capabilities = (capability.get_toolset() for capability in self._capabilities)
        found = [*self._agent.toolsets, *self._toolsets, *of_capabilities]
        return [toolset for toolset in found if isinstance(toolset, AbstractToolset)]

    @property
    def may_wait(self) -> bool:
        """Whether making the arguments may take time."""
        return self._deps.may_wait

    async def make(self, request: RunRequest, memory: Memory) -> dict[str, Any]:
        """Return the arguments of one run."""
        model, settings = self._efforts.chosen(request.effort)
        own = None if self._models_are_chosen else self._agent.model
        return {
            "deps": await self._deps.make(request.session_id, memory),
            "model": self._by_name(model or self._model or (own if isinstance(own, str) else None)),
            "model_settings": merge_model_settings(settings, request.model_settings),
            "toolsets": self._toolsets or None,
            "capabilities": [*self._capabilities, *self._guards(request)] or None,
            "instructions": [text for text in (self._instructions, request.instructions) if text] or None,
            "usage_limits": self._limits,
            "metadata": dict(request.metadata) if request.metadata else None,
        }

    async def list_tools(self, memory: Memory) -> list[ToolDefinition]:
        """Return the tools that a run offers to the model, one that asks for nothing special."""
        options: RunOptions = {"session_id": "tools", "store": False}
        request = check_request(QUESTION, options, efforts=self._efforts, timeout_s=None, streaming=False)
        return await look_at_tools(self._agent, await self.make(request, memory))

    def _guards(self, request: RunRequest) -> list[AbstractCapability[Any]]:
        """Return what stands around the tools of a run; nothing where there cannot be any."""
        has_capabilities = self._has_capabilities()
        if not has_capabilities and not self._has_toolsets():
            return []
        answers_deferred = DeferredToolRequests not in self._output_kinds()
        guard = self._lone_guard if answers_deferred and not has_capabilities else self._guard
        if request.tools is not None:
            guard = replace(guard, allowed=request.tools)
        return [guard, _NOBODY_APPROVES] if answers_deferred and has_capabilities else [guard]

    def _has_capabilities(self) -> bool:
        if self._capabilities:
            return True
        return any(type(capability) not in _WITHOUT_TOOLS for capability in _capabilities_of(self._agent))

    def _has_toolsets(self) -> bool:
        if self._toolsets:
            return True
        own = self._agent.toolsets
        return len(own) > 1 or any(not isinstance(toolset, FunctionToolset) or toolset.tools for toolset in own)

    def _output_kinds(self) -> list[Any]:
        kind = self._agent.output_type
        return list(cast("Sequence[Any]", kind)) if isinstance(kind, (list, tuple)) else [kind]
