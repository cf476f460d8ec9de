"""DelegationToolset: other agents as tools."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from functools import partial
from typing import Any, Self

from pydantic_ai import RunContext
from pydantic_ai.messages import ToolKind, ToolReturn
from pydantic_ai.tools import ToolDefinition
from pydantic_ai.toolsets import AbstractToolset, ToolsetTool
from pydantic_core import SchemaValidator, core_schema

from .._current_run import current_run
from ..errors import ConfigurationError
from ..events import DELEGATION
from .context import context_of
from .delegates import Delegate, target_of
from .failure import DelegationFailedError, no_time, too_deep, too_slow
from .holding import Holding
from .names import tool_names
from .progress import ProgressTeller
from .result import answered, failed
from .sessions import DelegatedSessions
from .target import DelegateAnswer, DelegatedTask, Target
from .telemetry import traced
from .time_left import time_left_s
from .usage import add_delegated

_log = logging.getLogger("pais_sdk.delegation")

_LONGEST_DESCRIPTION = 1000
_TASK = "What the agent is to do, with all that it needs to know for it."
_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"task": {"type": "string", "description": _TASK}},
    "required": ["task"],
    "additionalProperties": False,
}
_ARGUMENTS = SchemaValidator(
    core_schema.typed_dict_schema(
        {"task": core_schema.typed_dict_field(core_schema.str_schema(min_length=1), required=True)},
        extra_behavior="forbid",
    )
)


class DelegationToolset(AbstractToolset[Any]):
    """Each agent becomes a tool `delegate_to_<name>(task)`; one object serves any number of agents and runs.

    Tasks are worked on at the same time where the model asks for that. A delegate that fails, is down or takes too
    long is a failed result that the model can act on. What it took is in the run's `usage.details`, as
    `delegated_input_tokens`, `delegated_output_tokens` and `delegated_requests`.

    Args:
        agents: URLs, RemoteAgents, AgentRuntimes and Pydantic AI agents by their names. What is not a letter or a digit
            becomes `_` in the tool's name. An agent gets a runtime of its own, with a LocalMemory.
        id: Distinguishes it from other toolsets of an agent.
        context_messages: The newest texts of the conversation that go along with a task; 0 for none.
        timeout_s: Seconds that one task may take; what is left of the run, and of the time of a tool call, holds too.
        max_depth: Agents that may hand on a task to each other in a row; the next one does the work itself.

    Raises:
        ConfigurationError: An argument cannot work, or two names would share a tool.
    """

    def __init__(
        self,
        agents: Mapping[str, Delegate],
        *,
        id: str = "delegation",
        context_messages: int = 6,
        timeout_s: float = 240,
        max_depth: int = 5,
    ) -> None:
        if not isinstance(agents, Mapping):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise ConfigurationError(
                f"agents is no mapping, but of type {type(agents).__name__}; give them by their names"
            )
        if context_messages < 0:
            raise ConfigurationError(f"context_messages={context_messages!r} must be 0 or more")
        if not 0 < timeout_s < float("inf"):
            raise ConfigurationError(f"timeout_s={timeout_s!r} must be more than 0, and finite")
        if max_depth < 1:
            raise ConfigurationError(f"max_depth={max_depth!r} must be 1 or more")
        self._id = id
        self._context_messages = context_messages
        self._timeout_s = timeout_s
        self._max_depth = max_depth
        self._targets = {tool: target_of(name, agents[name]) for tool, name in tool_names(agents).items()}
        self._kinds = {tool: ToolKind(DELEGATION, target.name) for tool, target in self._targets.items()}
        self._holding = Holding(list(self._targets.values()))
        self._sessions = DelegatedSessions()
        self._given: tuple[Any, dict[str, ToolsetTool[Any]]] | None = None

    @property
    def id(self) -> str:
        return self._id

    @property
    def agents(self) -> dict[str, str]:
        """The names of the agents, by the names of their tools."""
        return {tool: target.name for tool, target in self._targets.items()}

    @property
    def fixed_tool_names(self) -> frozenset[str]:
        """The names that its tools have in every run; tools of MCP servers give way to them."""
        return frozenset(self._targets)

    async def __aenter__(self) -> Self:
        self._holding.enter()
        return self

    async def __aexit__(self, *args: Any) -> None:
        await self._holding.leave()

    async def get_tools(self, ctx: RunContext[Any]) -> dict[str, ToolsetTool[Any]]:
        """Return a tool for each agent; it waits for nobody, and describes those that are known by now."""
        descriptions = [target.description for target in self._targets.values()]
        key = (descriptions, ctx.max_retries)
        if self._given is None or self._given[0] != key:
            self._given = (key, {name: self._tool(name, ctx.max_retries) for name in self._targets})
        return dict(self._given[1])

    def _tool(self, name: str, max_retries: int) -> ToolsetTool[Any]:
        target = self._targets[name]
        description = f"Give a task to the agent {target.name!r}; returns its answer."
        if told := _one_line(target.description):
            description += f" What it does: {told[:_LONGEST_DESCRIPTION]}"
        definition = ToolDefinition(
            name=name, parameters_json_schema=_SCHEMA, description=description, tool_kind=self._kinds[name]
        )
        return ToolsetTool(toolset=self, tool_def=definition, max_retries=max_retries, args_validator=_ARGUMENTS)

    async def call_tool(
        self, name: str, tool_args: dict[str, Any], ctx: RunContext[Any], tool: ToolsetTool[Any]
    ) -> ToolReturn[str]:
        target = self._targets[name]
        teller = ProgressTeller(ctx, target.name, owned=tool.tool_def.capability_id is not None)
        run = current_run()
        scope, chain, agent = (None, (), None) if run is None else (run.scope, run.chain, run.agent)
        with self._sessions.taken(scope, ctx.conversation_id, by=agent, to=target.name) as session_id:
            try:
                with traced(target.name):
                    task = DelegatedTask(
                        text=tool_args["task"],
                        session_id=session_id,
                        scope=scope,
                        context=context_of(ctx.messages, self._context_messages),
                        timeout_s=self._allowed_s(target, chain, ctx),
                        chain=chain,
                        progress=run is None or run.streaming,
                        store=run is None or run.store,
                        spent=partial(add_delegated, ctx.usage),
                    )
                    answer = await self._answer(target, task, teller)
            except DelegationFailedError as failure:
                raise failed(target.name, failure, session_id, ctx) from failure
        return answered(target.name, answer)

    def _allowed_s(self, target: Target, chain: tuple[str, ...], ctx: RunContext[Any]) -> float:
        """Return the seconds that a task may take; DelegationFailedError where it may not be handed on at all."""
        if len(chain) >= self._max_depth:
            raise too_deep(target.name, len(chain))
        timeout_s = time_left_s(ctx, self._timeout_s)
        if timeout_s <= 0:
            raise no_time(target.name)
        return timeout_s

    async def _answer(self, target: Target, task: DelegatedTask, teller: ProgressTeller) -> DelegateAnswer:
        limit = asyncio.timeout(task.timeout_s)  # it holds while the delegate is opened, and waits for its session, too
        try:
            answer: DelegateAnswer | None = None
            async with limit, await self._holding.keep(target), target.stream(task) as events:
                async for event in events:
                    if isinstance(event, DelegateAnswer):
                        answer = event
                    else:
                        await teller.tell(event)
            await teller.end()
            assert answer is not None, "the last event is the answer"
            return answer
        except DelegationFailedError:
            raise
        except Exception as error:
            if limit.expired() and isinstance(error, TimeoutError):
                raise too_slow(target.name, task.timeout_s) from None
            # Whatever it is, a bare agent's run would end with it, and its text is not for the model.
            _log.exception("the delegation to %r failed", target.name)
            message = f"The agent {target.name!r} failed. Go on without it, or ask it again later."
            raise DelegationFailedError(message, "failed") from error


def _one_line(description: str) -> str:
    """Return what an agent says of itself without line breaks and the like: in our prompt it is another's text."""
    return " ".join("".join(one if one.isprintable() else " " for one in description).split())
