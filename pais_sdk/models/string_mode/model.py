"""A model that calls tools by JSON in its text."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any, cast

from opentelemetry import trace
from pydantic_ai import RunContext
from pydantic_ai.messages import (
    InstructionPart,
    ModelMessage,
    ModelRequest,
    ModelResponse,
    ModelResponsePart,
    TextPart,
    ToolCallPart,
    UserPromptPart,
)
from pydantic_ai.models import Model, ModelRequestParameters, StreamedResponse
from pydantic_ai.models.wrapper import WrapperModel
from pydantic_ai.settings import ModelSettings, merge_model_settings
from pydantic_ai.usage import RequestUsage

from .again import asked_again, counted, gap, note
from .calls import Call, Malformed
from .history import in_text
from .offer import Offer, offer_of, settled, without_tools
from .prompt import tools_prompt
from .reading import Reading
from .stream import StringModeStream

_BETWEEN = "\n\n"


@dataclass(frozen=True)
class _Asked:
    """A request as the wrapped model gets it."""

    messages: list[ModelMessage]
    settings: ModelSettings | None
    params: ModelRequestParameters
    offer: Offer


class StringModeModel(WrapperModel):
    """A model in string mode: tools are described in its prompt, and what it calls is read out of its text.

        agent.run("What is 2 + 3?", model=StringModeModel("ollama:qwen3:4b"))

    The wrapped model gets no tools, no choice of tools and no format of answers; all else of a request and of an
    answer is as it is: settings, usage, finish reason, errors. What a run records are ordinary messages with ordinary
    calls, so a session can change between modes.

    Text is streamed as it comes, and held back only as long as it may be a call. What was meant as a call and is none
    goes back to the model once, with what is wrong, in the same request; then it is text. `usage.details` counts it
    under `malformed_tool_calls`, and the current span has an event.

    Args:
        wrapped: The model, or its name.
        one_system_message: Whether system prompts, instructions and the description of the tools are one system message
            at the beginning, because some chat templates take no more. False: the description is a message of its own.
    """

    one_system_message: bool

    def __init__(self, wrapped: Model | str, *, one_system_message: bool = True) -> None:
        super().__init__(wrapped)
        self.one_system_message = one_system_message

    async def request(
        self,
        messages: list[ModelMessage],
        model_settings: ModelSettings | None,
        model_request_parameters: ModelRequestParameters,
    ) -> ModelResponse:
        asked = self._in_text(messages, model_settings, model_request_parameters)
        response = await self.wrapped.request(asked.messages, asked.settings, asked.params)
        if not asked.offer.names or response.state == "suspended":
            return response
        reading = Reading(asked.offer)
        parts = _parts_of(response, reading)
        if reading.malformed is None or not reading.failed:
            return _read(response, parts, reading) if reading.called else response
        span = trace.get_current_span()
        note(span, reading.malformed, times=1)
        again = asked_again(asked.messages, reading.said, reading.malformed, asked.offer)
        usage = response.usage
        response = await self.wrapped.request(again, asked.settings, asked.params)
        reading = Reading(asked.offer)
        second, times = _parts_of(response, reading), 1
        if reading.malformed is not None and reading.failed:
            times = 2
            note(span, reading.malformed, times=times)
            _add_text(second, reading.surfaced(), None)
        said = [part for part in second if isinstance(part, TextPart)]
        if said and parts and isinstance(last := parts[-1], TextPart):
            index = second.index(said[0])
            second[index] = replace(said[0], content=gap(last.content) + said[0].content)
        return _read(response, [*parts, *second], reading, usage=counted(usage + response.usage, times))

    @asynccontextmanager
    async def request_stream(
        self,
        messages: list[ModelMessage],
        model_settings: ModelSettings | None,
        model_request_parameters: ModelRequestParameters,
        run_context: RunContext[Any] | None = None,
    ) -> AsyncGenerator[StreamedResponse]:
        asked = self._in_text(messages, model_settings, model_request_parameters)
        async with AsyncExitStack() as stack:

            async def opened(messages: list[ModelMessage]) -> StreamedResponse:
                return await stack.enter_async_context(
                    self.wrapped.request_stream(messages, asked.settings, asked.params, run_context)
                )

            async def ask_again(said: str, malformed: Malformed) -> StreamedResponse:
                await stack.aclose()  # a model that is asked one thing at a time would wait for itself
                return await opened(asked_again(asked.messages, said, malformed, asked.offer))

            inner = await opened(asked.messages)
            if asked.offer.names:
                inner = StringModeStream(
                    settled(model_request_parameters),
                    inner=inner,
                    offer=asked.offer,
                    ask_again=ask_again,
                    span=trace.get_current_span(),
                )
            yield inner

    async def count_tokens(
        self,
        messages: list[ModelMessage],
        model_settings: ModelSettings | None,
        model_request_parameters: ModelRequestParameters,
    ) -> RequestUsage:
        asked = self._in_text(messages, model_settings, model_request_parameters)
        return await self.wrapped.count_tokens(asked.messages, asked.settings, asked.params)

    def prepare_request(
        self, model_settings: ModelSettings | None, model_request_parameters: ModelRequestParameters
    ) -> tuple[ModelSettings | None, ModelRequestParameters]:
        """Prepare what is recorded of a request; a model without tools must not refuse it for having some."""
        params = settled(model_request_parameters)
        bare = replace(
            params, function_tools=[], native_tools=[], output_tools=[], output_mode="text", output_object=None
        )
        model_settings, bare = self.wrapped.prepare_request(
            model_settings, replace(bare, prompted_output_template=None, allow_text_output=True)
        )
        return model_settings, replace(
            bare,
            function_tools=params.function_tools,
            native_tools=params.native_tools,
            tool_visibility={tool.name: "visible" for tool in offer_of(params, {}).functions},
            output_tools=params.output_tools if params.output_mode == "tool" else [],
            output_mode=params.output_mode,
            output_object=params.output_object if params.output_mode in ("native", "prompted") else None,
            prompted_output_template=params.prompted_output_template,
            allow_text_output=params.allow_text_output,
        )

    def _in_text(
        self,
        messages: list[ModelMessage],
        model_settings: ModelSettings | None,
        model_request_parameters: ModelRequestParameters,
    ) -> _Asked:
        params = settled(model_request_parameters)
        settings = merge_model_settings(self.wrapped.settings, model_settings) or {}
        offer = offer_of(params, settings)
        instructions = params.instruction_parts
        if instructions is None:
            instructions = _instructions_of(messages)
        if offer.names:
            first_dynamic = next((i for i, part in enumerate(instructions) if part.dynamic), len(instructions))
            tools = InstructionPart(tools_prompt(offer))
            instructions = [*instructions[:first_dynamic], tools, *instructions[first_dynamic:]]
        prompts, messages = in_text(messages, one_system_message=self.one_system_message)
        if self.one_system_message:
            texts = [text for text in [*prompts, *(part.content for part in instructions)] if text.strip()]
            dynamic = any(part.dynamic for part in instructions)
            instructions = [InstructionPart(_BETWEEN.join(texts), dynamic=dynamic)] if texts else []
        return _Asked(
            messages=messages,
            settings=_without_choice(model_settings, settings),
            params=replace(without_tools(params, offer), instruction_parts=instructions),
            offer=offer,
        )


def _without_choice(given: ModelSettings | None, merged: ModelSettings) -> ModelSettings | None:
    """Take out the choice of tools; also the model's own settings must not name tools that it does not get."""
    if "tool_choice" not in merged and "parallel_tool_calls" not in merged:
        return given
    kept = {name: value for name, value in (given or {}).items() if name not in ("tool_choice", "parallel_tool_calls")}
    if "tool_choice" in merged:
        kept["tool_choice"] = None
    return cast("ModelSettings", kept)


def _instructions_of(messages: list[ModelMessage]) -> list[InstructionPart]:
    """Return the instructions that are recorded in messages, for a request that no agent makes."""
    for message in reversed(messages):
        if isinstance(message, ModelRequest):
            if message.instructions is not None:
                return [InstructionPart(message.instructions)]
            if any(isinstance(part, UserPromptPart) for part in message.parts):
                break
    return []


def _parts_of(response: ModelResponse, reading: Reading) -> list[ModelResponsePart]:
    parts: list[ModelResponsePart] = []
    for part in response.parts:
        if isinstance(part, TextPart):
            for piece in reading.feed(part.content):
                _add(parts, piece, part)
        else:
            if isinstance(part, ToolCallPart):
                reading.called_otherwise()
            parts.append(part)
    for piece in reading.finish():
        _add(parts, piece, None)
    return parts


def _add(parts: list[ModelResponsePart], piece: str | Call, source: TextPart | None) -> None:
    if isinstance(piece, Call):
        parts.append(ToolCallPart(piece.name, piece.arguments))
    else:
        _add_text(parts, piece, source)


def _add_text(parts: list[ModelResponsePart], text: str, source: TextPart | None) -> None:
    if parts and isinstance(last := parts[-1], TextPart):
        parts[-1] = replace(last, content=last.content + text)
    else:
        parts.append(TextPart(text) if source is None else replace(source, content=text))


def _read(
    response: ModelResponse, parts: list[ModelResponsePart], reading: Reading, usage: RequestUsage | None = None
) -> ModelResponse:
    return replace(
        response,
        parts=parts,
        usage=usage or response.usage,
        finish_reason="tool_call" if reading.called else response.finish_reason,
    )
