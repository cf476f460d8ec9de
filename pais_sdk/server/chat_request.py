"""The body of a chat completions request, and what of it is honoured or refused."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal, TypeVar, cast

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic_ai.settings import ModelSettings

from .errors import WireError, invalid

ModelT = TypeVar("ModelT", bound=BaseModel)
Role = Literal["system", "developer", "user", "assistant", "tool", "task-delegation"]


def _whole(value: Any) -> Any:
    return int(value) if isinstance(value, float) and value.is_integer() else value


WHOLE = BeforeValidator(_whole)  # to JSON, 2.0 is a whole number
_MOST = 2**63 - 1


class _Lenient(BaseModel):
    model_config = ConfigDict(extra="ignore", strict=True)


class FunctionCall(_Lenient):
    """Which function, and with what."""

    name: str
    arguments: str | None = Field(default=None, description="A JSON object.")


class ToolCall(_Lenient):
    """A tool that the assistant called; it is history, and never carried out."""

    id: str
    type: Literal["function"] = "function"
    function: FunctionCall


class ChatMessage(_Lenient):
    """One message."""

    role: Role = Field(
        description="`system` and `developer` are instructions of this run; `user` and `task-delegation` are input; "
        "`assistant` is history; `tool` is the result of a tool call of an assistant message before it."
    )
    content: str | list[dict[str, Any]] | None = Field(
        default=None, description="A user message must have some; all other messages hold text only."
    )
    refusal: str | None = Field(default=None, description="Of an assistant message without text.")
    tool_calls: list[ToolCall] | None = Field(default=None, description="Of an assistant message.")
    tool_call_id: str | None = Field(default=None, description="Of a tool message: the call that it answers.")


class StreamOptions(_Lenient):
    """How a stream is sent."""

    include_usage: bool | None = Field(default=None, description="Whether it ends with a chunk that has the usage.")


class ChatRequest(_Lenient):
    """What is asked of the agent. Unknown fields are ignored."""

    messages: list[ChatMessage] = Field(
        min_length=1,
        description="At least one user message, or tool result, after the last assistant message. In a session, what "
        "comes up to that message is ignored: the history is the memory's.",
    )
    model: str | None = Field(default=None, description="Is repeated in the answer and chooses nothing.")
    stream: bool | None = Field(default=None, description="Whether the answer comes as server-sent events.")
    stream_options: StreamOptions | None = None
    session_id: str | None = Field(
        default=None,
        description="The session to go on with; without one, here or in `X-Session-ID`, a new one is made.",
    )
    effort: str | None = Field(default=None, description="Which of the agent's levels of effort; not of OpenAI's API.")
    store: bool | None = Field(default=None, description="False keeps nothing of this run.")
    metadata: dict[str, str] | None = Field(default=None, description="For telemetry; the model does not see it.")
    user: str | None = Field(default=None, description="Is passed on to the model.")
    tool_choice: Any = Field(default=None, description="`none`: no tools in this run.")
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(ge=0, le=1)] | None = None
    max_tokens: Annotated[int, Field(ge=1, le=_MOST), WHOLE] | None = Field(
        default=None, description="For each model request."
    )
    max_completion_tokens: Annotated[int, Field(ge=1, le=_MOST), WHOLE] | None = Field(
        default=None, description="The same; wins over `max_tokens`."
    )
    stop: str | list[str] | None = Field(default=None, description="Texts that end the answer.")
    seed: Annotated[int, Field(ge=-_MOST, le=_MOST), WHOLE] | None = None
    presence_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    frequency_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    logit_bias: dict[str, Annotated[int, Field(ge=-100, le=100), WHOLE]] | None = None
    parallel_tool_calls: bool | None = None
    reasoning_effort: Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"] | None = None

    def model_settings(self) -> ModelSettings | None:
        """Return what the request says about sampling, in Pydantic AI's names; None where it says nothing."""
        values = {
            "temperature": self.temperature,
            "top_p": self.top_p,
            "max_tokens": self.max_tokens if self.max_completion_tokens is None else self.max_completion_tokens,
            "stop_sequences": [self.stop] if isinstance(self.stop, str) else self.stop,
            "seed": self.seed,
            "presence_penalty": self.presence_penalty,
            "frequency_penalty": self.frequency_penalty,
            "logit_bias": self.logit_bias,
            "parallel_tool_calls": self.parallel_tool_calls,
            "openai_user": self.user,
            "openai_reasoning_effort": self.reasoning_effort,
        }
        given = {name: value for name, value in values.items() if value is not None}
        return cast("ModelSettings", given) or None


_PLAIN_TEXT = ({"type": "text"}, None)

# A field that is refused, the values that are harmless all the same, and why.
REFUSED: dict[str, tuple[tuple[Any, ...], str]] = {
    "tools": (([], None), "the agent's tools are its own; clients cannot add any"),
    "functions": (([], None), "the agent's tools are its own; clients cannot add any"),
    "tool_choice": (("auto", "none", None), "only auto and none are supported"),
    "function_call": (("auto", "none", None), "only auto and none are supported"),
    "response_format": (_PLAIN_TEXT, "the form of the answer is the agent's own; only text is supported"),
    "modalities": ((["text"], None), "only text is supported"),
    "audio": ((None,), "only text is supported"),
    "n": ((1, None), "only one answer is given"),
    "logprobs": ((False, None), "log probabilities are not supported"),
    "top_logprobs": ((0, None), "log probabilities are not supported"),
    "web_search_options": ((None,), "the agent's tools are its own"),
    "verbosity": (("medium", None), "only the default is supported"),
}


def parse_chat_request(body: bytes, *, max_messages: int) -> ChatRequest:
    """Return a checked request.

    Raises:
        WireError: The body is not JSON, a field is of the wrong type or out of range, or asks for what is refused.
    """
    data = parse_json(body)
    messages: Any = data.get("messages")
    if isinstance(messages, list) and len(cast("list[Any]", messages)) > max_messages:
        raise invalid(f"messages: there are more than {max_messages}; send the newest ones", param="messages")
    for field, (harmless, reason) in REFUSED.items():
        if field in data and not any(_same(data[field], value) for value in harmless):
            raise invalid(f"{field} is not supported here: {reason}", param=field, code="unsupported_parameter")
    return parse_model(ChatRequest, data)


def parse_json(body: bytes) -> dict[str, Any]:
    """Return a JSON object; WireError where it is none."""
    try:
        data: Any = json.loads(body.decode("utf-8-sig"))
        if b"\\ud" in body.lower():  # only an escape can hide half a character, which nothing can store or send
            json.dumps(data, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        what = "is not JSON in UTF-8" if body.strip() else "is empty; send a JSON object"
        raise invalid(f"the body {what}") from None
    if not isinstance(data, dict):
        raise invalid("the body must be a JSON object")
    return cast("dict[str, Any]", data)


def parse_model(model: type[ModelT], data: dict[str, Any]) -> ModelT:
    """Return checked data; WireError naming the field that is wrong."""
    try:
        return model.model_validate(data)
    except ValidationError as error:
        raise _problem(error) from None


def _problem(error: ValidationError) -> WireError:
    problem = error.errors(include_url=False, include_input=False, include_context=False)[0]
    location = [
        part
        for part in problem["loc"]
        if not (isinstance(part, str) and ("[" in part or part in ("str", "float", "int")))
    ]
    field = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location).lstrip(".")
    text = _MUST.get(problem["type"]) or f"{problem['msg'][0].lower()}{problem['msg'][1:]}"
    return invalid(f"{field}: {text}", param=field or None)


_MUST = {
    "model_type": "must be an object",
    "model_attributes_type": "must be an object",
    "dict_type": "must be an object",
    "list_type": "must be a list",
    "string_type": "must be a string",
    "int_type": "must be a whole number",
    "float_type": "must be a number",
    "bool_type": "must be true or false",
}


def _same(value: Any, other: Any) -> bool:
    return value == other and isinstance(value, bool) == isinstance(other, bool)  # to Python, 1 equals true
