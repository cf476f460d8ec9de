"""Auto mode: a model whose endpoint may turn out to have no tools."""

from __future__ import annotations

import re
from logging import getLogger
from typing import cast

from pydantic_ai.exceptions import ModelAPIError, ModelHTTPError
from pydantic_ai.models import Model, ModelRequestParameters

from .second_try import SecondTryModel
from .string_mode import StringModeModel

_log = getLogger("pais_sdk.models")


class AutoModeModel(SecondTryModel):
    """Offers tools in the API's own way until the endpoint answers that it has none, and in the prompt from then on.

    The request that found it out is sent again, in string mode. Where that is answered, what was found out is
    remembered for the life of this object; where it fails, too, the refusal may have been about something else.

    Args:
        wrapped: A model of one endpoint; for a FallbackModel, wrap each of its models.
    """

    async def _second(self, asked: Model, error: ModelAPIError, parameters: ModelRequestParameters) -> Model | None:
        return StringModeModel(asked) if _is_about_tools(error, asked, parameters) else None

    def _answered(self, asked: Model, second: Model) -> None:
        if self.wrapped is not asked:
            return  # another request found it out meanwhile
        _log.warning("model %r has no tools at its endpoint: it is used in string mode from now on", self.model_name)
        self.wrapped = second


def _is_about_tools(error: ModelAPIError, asked: Model, parameters: ModelRequestParameters) -> bool:
    brought_tools = parameters.function_tools or parameters.output_tools
    return bool(brought_tools) and not isinstance(asked, StringModeModel) and refuses_tools(error)


_STATUSES = (400, 404, 422, 500, 501)
_TOOLS = r"(?:tools|tool[ _-](?:calling|calls?|use)|function[ _-]?call(?:ing|s)?)\b"
_REFUSALS = re.compile(
    "|".join(
        (
            # Ollama: "... does not support tools"; Bedrock, DeepSeek and others in the same words
            rf"(?:does not|doesn't|do not|don't) support (?:the )?{_TOOLS}(?! (?:with|that|whose|named)\b)",
            # OpenAI, Groq, Gemini, Mistral: "`tools` is not supported with this model"
            rf"(?<!parallel )\b{_TOOLS}['\"`]* (?:is|are) not (?:supported|enabled)",
            r"--enable-auto-tool-choice|requires --tool-call-parser",  # vLLM
            r"tools param requires --jinja|unsupported param: tools\b",  # llama.cpp
            r"does not support parameters: [\[{][^\]}]{0,200}['\"]tools['\"]",  # LiteLLM
            r"no endpoints found that support tool use",  # OpenRouter
            r"only \[.{0,2000}\] support tool calls",  # Xinference
        )
    ),
    flags=re.IGNORECASE | re.DOTALL,
)


def refuses_tools(error: ModelAPIError) -> bool:
    """Return whether an endpoint says in an error that it, or its model, has no tools."""
    if isinstance(error, ModelHTTPError):
        return error.status_code in _STATUSES and _says_so(_text_of(error.body))
    return type(error) is ModelAPIError and _says_so(error.message)  # in an event of a stream it may have no status


def _says_so(text: str) -> bool:
    return _REFUSALS.search(text[:10_000]) is not None


def _text_of(body: object, depth: int = 5) -> str:
    """Return what an error says, without what it repeats of the request."""
    if isinstance(body, str):
        return body
    if not depth:
        return ""
    if isinstance(body, list):
        return " ".join(_text_of(one, depth - 1) for one in cast("list[object]", body))
    if isinstance(body, dict):
        fields = cast("dict[str, object]", body)
        return " ".join(_text_of(fields[name], depth - 1) for name in _SAYING if name in fields)
    return ""


_SAYING = ("message", "msg", "detail", "error", "metadata", "raw")
