"""The context of tool calls that no run makes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, NoReturn

from pydantic_ai.exceptions import UserError
from pydantic_ai.messages import ModelMessage
from pydantic_ai.models.function import AgentInfo, FunctionModel
from pydantic_ai.tools import RunContext
from pydantic_ai.usage import RunUsage


async def _refuse(messages: list[ModelMessage], info: AgentInfo) -> NoReturn:
    raise UserError("this tool was called without a run, so there is no model that it could ask")


async def _refuse_streamed(messages: list[ModelMessage], info: AgentInfo) -> AsyncIterator[str]:
    await _refuse(messages, info)
    yield ""


@dataclass(repr=False, kw_only=True)
class LoneContext(RunContext[Any]):
    """A context without a run: no agent, no messages, and a model that refuses every request."""

    async def emit(self, event: Any, /) -> Any:
        """Return the event; nobody listens to the progress of a call without a run."""
        return event


def lone_context(deps: Any, run_id: str) -> LoneContext:
    """Return a context with these deps; calls with the same id count as those of one run."""
    model = FunctionModel(_refuse, stream_function=_refuse_streamed, model_name="none")
    return LoneContext(deps=deps, model=model, usage=RunUsage(), run_id=run_id)
