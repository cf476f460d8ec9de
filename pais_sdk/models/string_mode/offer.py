"""What a request lets the model call."""

from __future__ import annotations

from dataclasses import dataclass, replace

from pydantic_ai.models import ModelRequestParameters
from pydantic_ai.settings import ModelSettings, ToolOrOutput
from pydantic_ai.tools import ToolDefinition


@dataclass(frozen=True)
class Offer:
    """The tools of one request, and how they are to be used.

    Args:
        functions: The tools that do something.
        outputs: The tools that take the answer of the run.
        must_call: Text alone is no answer.
        one_at_a_time: At most one call in an answer.
        answer: What an answer that calls nothing has to look like; None for any text.
    """

    functions: list[ToolDefinition]
    outputs: list[ToolDefinition]
    must_call: bool
    one_at_a_time: bool
    answer: str | None

    @property
    def tools(self) -> list[ToolDefinition]:
        """All tools, functions first."""
        return [*self.functions, *self.outputs]

    @property
    def names(self) -> list[str]:
        """The names of all tools."""
        return [tool.name for tool in self.tools]


def offer_of(params: ModelRequestParameters, settings: ModelSettings) -> Offer:
    """Return what a request offers; its output mode is settled, see `settled`."""
    functions = [
        tool for tool in params.function_tools if not tool.defer_loading or tool.name in params.revealed_tool_names
    ]
    outputs = params.output_tools if params.output_mode == "tool" else []
    choice = settings.get("tool_choice")
    must_call = not (params.allow_text_output or params.allow_image_output)
    if choice == "none":
        choice = []
    if isinstance(choice, ToolOrOutput):
        functions = [tool for tool in functions if tool.name in choice.function_tools]
    elif choice == "required":
        must_call = True
    elif isinstance(choice, list):
        functions = [tool for tool in functions if tool.name in choice]
        if choice:
            outputs = [tool for tool in outputs if tool.name in choice]
            must_call = True
    return Offer(
        functions=functions,
        outputs=outputs,
        must_call=must_call and bool(functions or outputs),
        one_at_a_time=settings.get("parallel_tool_calls") is False,
        answer=_answer_of(params) if functions else None,
    )


def settled(params: ModelRequestParameters) -> ModelRequestParameters:
    """Return the parameters with an output mode: where none was chosen, a tool takes the output."""
    return params.with_default_output_mode("tool")


def without_tools(params: ModelRequestParameters, offer: Offer) -> ModelRequestParameters:
    """Return the parameters for the wrapped model: it is asked for text, and knows of no tools.

    A tool of the provider for which the agent has a function, too, is left out: the function is described.
    """
    if not offer.names and not params.function_tools:
        return params
    here = {tool.unless_native for tool in params.function_tools}
    native = [tool for tool in params.native_tools if tool.unique_id not in here]
    params = replace(params, function_tools=[], native_tools=native, tool_visibility=None)
    if not offer.names:
        return params
    return replace(
        params,
        output_tools=[],
        output_mode="text",
        output_object=None,
        prompted_output_template=None,
        allow_text_output=True,
    )


def _answer_of(params: ModelRequestParameters) -> str | None:
    """Return what native or prompted output asks for: besides tools it can only be asked for in the prompt."""
    if params.output_mode not in ("native", "prompted") or params.output_object is None:
        return None
    if params.prompted_output_template is False:
        return None
    template = params.prompted_output_template or (
        "An answer that calls no tool is one JSON object, without text or a fence around it, that fits this schema:\n\n"
        "{schema}"
    )
    return replace(params, prompted_output_template=template).prompted_output_instructions
