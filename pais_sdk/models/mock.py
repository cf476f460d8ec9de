"""Mock models: answers from a list, for tests and examples without a model."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from typing import Any, cast

from pydantic_ai.messages import ModelMessage, ModelResponse, ModelResponsePart, TextPart, ToolCallPart
from pydantic_ai.models.function import AgentInfo, DeltaToolCall, DeltaToolCalls, FunctionModel

NO_MORE = "[no more mock responses]"


def mock_model(responses: Sequence[str | dict[str, Any]] | str) -> FunctionModel:
    """Return a model that gives the n-th response to the n-th request of a run; every run starts at the first.

    It keeps no state, so any number of runs may share it. Texts are streamed word by word.

    Args:
        responses: Texts, or `{"tool_calls": [{"id": ..., "name": ..., "arguments": {...}}]}` as data or as JSON text;
            `id` may be left out. Or the whole list as JSON. After the last comes `[no more mock responses]`.
            For structured output, give the output as JSON.

    Source:
        The rules are those of DEBUG_MOCK_RESPONSES in KAOS.
    """
    script = _Script(_parse(responses) if isinstance(responses, str) else list(responses))
    return FunctionModel(script.answer, stream_function=script.stream, model_name="mock")


class _Script:
    def __init__(self, responses: list[str | dict[str, Any]]) -> None:
        self._responses = [_normalized(response) for response in responses]

    async def answer(self, messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
        text, calls = self._pick(messages, info)
        parts: list[ModelResponsePart] = [TextPart(text)] if text else []
        return ModelResponse([*parts, *(ToolCallPart(name, arguments, id_) for id_, name, arguments in calls)])

    async def stream(self, messages: list[ModelMessage], info: AgentInfo) -> AsyncIterator[str | DeltaToolCalls]:
        text, calls = self._pick(messages, info)
        words = text.split(" ")
        for index, word in enumerate(words):
            piece = word if index == len(words) - 1 else f"{word} "
            if piece:
                yield piece
        for index, (id_, name, arguments) in enumerate(calls):
            yield {index: DeltaToolCall(name=name, json_args=json.dumps(arguments), tool_call_id=id_)}
        if not text and not calls:
            yield ""

    def _pick(self, messages: list[ModelMessage], info: AgentInfo) -> tuple[str, list[tuple[str, str, Any]]]:
        run_id = messages[-1].run_id
        done = sum(isinstance(message, ModelResponse) and message.run_id == run_id for message in messages)
        response = self._responses[done] if done < len(self._responses) else NO_MORE
        if isinstance(response, str):
            output = None if info.allow_text_output or not info.output_tools else info.output_tools[0]
            if output is None:
                return response, []
            return "", [(f"call_{done}_{str(run_id)[:8]}", output.name, _json_or(response))]
        calls: list[tuple[str, str, Any]] = [
            (call.get("id") or f"call_{done}_{index}_{str(run_id)[:8]}", call["name"], call.get("arguments") or {})
            for index, call in enumerate(response["tool_calls"])
        ]
        return "", [(id_, name, _json_or(arguments)) for id_, name, arguments in calls]


def _parse(text: str) -> list[str | dict[str, Any]]:
    try:
        data: Any = json.loads(text)
    except ValueError:
        return [text]
    return cast("list[str | dict[str, Any]]", data) if isinstance(data, list) else [text]


def _normalized(response: str | dict[str, Any]) -> str | dict[str, Any]:
    data: Any = response
    if isinstance(response, str):
        try:
            data = json.loads(response)
        except ValueError:
            return response
    if isinstance(data, dict) and isinstance(cast("dict[str, Any]", data).get("tool_calls"), list):
        calls = cast("list[Any]", data["tool_calls"])
        if all(isinstance(call, dict) and isinstance(cast("dict[str, Any]", call).get("name"), str) for call in calls):
            return cast("dict[str, Any]", data)
    return response if isinstance(response, str) else json.dumps(data)


def _json_or(arguments: Any) -> Any:
    if isinstance(arguments, str):
        try:
            return json.loads(arguments)
        except ValueError:
            return arguments
    return arguments
