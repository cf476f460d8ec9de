"""A look at the tools of an agent as its model sees them: a run that ends before its first request is sent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from opentelemetry.metrics import NoOpMeterProvider
from opentelemetry.trace import NoOpTracerProvider
from pydantic_ai import RunContext
from pydantic_ai.agent import AbstractAgent
from pydantic_ai.capabilities import AbstractCapability, CapabilityOrdering, Instrumentation
from pydantic_ai.exceptions import SkipModelRequest
from pydantic_ai.messages import ModelResponse, TextPart
from pydantic_ai.models import ModelRequestContext
from pydantic_ai.models.instrumented import InstrumentationSettings
from pydantic_ai.tools import ToolDefinition

QUESTION = "What can you do?"


async def look_at_tools(agent: AbstractAgent[Any, Any], arguments: Mapping[str, Any]) -> list[ToolDefinition]:
    """Return the function tools that a run of the agent with these arguments offers to its model.

    The model is not asked, and no hook hears of an error: the run is left like a loop, with `break`.
    """
    look = _Look()
    # Takes the place of whatever would record the run, which is none that anybody asked for.
    silent = Instrumentation(
        InstrumentationSettings(tracer_provider=NoOpTracerProvider(), meter_provider=NoOpMeterProvider())
    )
    arguments = {**arguments, "capabilities": [*(arguments["capabilities"] or ()), silent, look]}
    if arguments["model"] is None and agent.model is None:
        from pydantic_ai.models.test import TestModel

        arguments["model"] = TestModel()  # an agent without a model cannot run, and has tools all the same
    async with agent.iter(QUESTION, **arguments) as run:
        async for _ in run:
            if look.seen is not None:
                return look.seen
    raise RuntimeError("the agent answered without asking a model, so its tools cannot be listed")


@dataclass
class _Look(AbstractCapability[Any]):
    """Sees what a model request is about to carry, and keeps it from being sent."""

    seen: list[ToolDefinition] | None = None
    id: str | None = "pais_sdk.tool_look"

    def get_ordering(self) -> CapabilityOrdering | None:
        return CapabilityOrdering(position="innermost")  # all others have changed the request by then

    async def prepare_model_request(
        self, ctx: RunContext[Any], request_context: ModelRequestContext
    ) -> ModelRequestContext:
        # What a model leaves out (tools to be searched for, stand-ins for what it has itself) is for it to say. A model
        # without tools may have them by a wrapper that comes later, so it must not be asked for an output by a tool.
        wanted = replace(
            request_context.model_request_parameters,
            output_tools=[],
            output_mode="text",
            output_object=None,
            allow_text_output=True,
        )
        _, sent = request_context.model.prepare_request(request_context.model_settings, wanted)
        declared = {tool.name for tool in sent.declared_function_tools}
        self.seen = [tool for tool in wanted.function_tools if tool.name in declared]
        raise SkipModelRequest(ModelResponse([TextPart("")]))
