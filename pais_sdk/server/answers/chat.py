"""What POST /v1/chat/completions answers, plain and as the chunks of a stream."""

from __future__ import annotations

from typing import Annotated, Any, Literal, NotRequired, TypeAlias

from pydantic import Field
from typing_extensions import TypedDict

from .common import SessionId, Timestamp

FinishReason: TypeAlias = Literal["stop", "length", "content_filter"]


class AnswerHead(TypedDict):
    """What the whole answer and each chunk of a stream begin with."""

    id: str
    created: Timestamp
    model: Annotated[str, Field(description="What the request said, else the agent's name.")]


class ChatCompletion(AnswerHead):
    """The whole answer."""

    object: Literal["chat.completion"]
    choices: Annotated[list[Choice], Field(min_length=1, max_length=1)]
    usage: Usage
    session_id: SessionId


class Choice(TypedDict):
    """The one answer."""

    index: Literal[0]
    message: AnswerMessage
    logprobs: None
    finish_reason: FinishReason


class AnswerMessage(TypedDict):
    """What the agent says."""

    role: Literal["assistant"]
    content: Annotated[
        str,
        Field(
            description="The texts of all steps, joined by blank lines; JSON where the agent's output is structured."
        ),
    ]
    refusal: None


class ChatCompletionChunk(AnswerHead):
    """The data of one event of a stream."""

    object: Literal["chat.completion.chunk"]
    choices: Annotated[
        list[ChunkChoice], Field(max_length=1, description="Empty in the chunk that has the usage, else one.")
    ]
    usage: NotRequired[
        Annotated[Usage | None, Field(description="With `stream_options.include_usage`: null but in the last chunk.")]
    ]
    progress: NotRequired[
        Annotated[
            Progress,
            Field(description="Beside an empty delta, before a tool is called, and for what other agents do."),
        ]
    ]


class ChunkChoice(TypedDict):
    """What is new in the one answer."""

    index: Literal[0]
    delta: Delta
    logprobs: None
    finish_reason: Annotated[FinishReason | None, Field(description="Set after the text.")]


class Delta(TypedDict):
    """The next piece of the message; empty where there is none."""

    role: NotRequired[Annotated[Literal["assistant"], Field(description="In the first chunk.")]]
    content: NotRequired[str]


class Progress(TypedDict):
    """A tool is about to be called, or another agent has a task or says how it goes on with it."""

    type: Literal["progress"]
    step: Annotated[int, Field(ge=1, description="Counts the answers of the model that call tools.")]
    max_steps: Annotated[int, Field(ge=1)]
    action: Literal["tool_call", "delegate"]
    target: Annotated[str, Field(description="The tool, or the agent by its own name.")]
    detail: NotRequired[
        Annotated[
            dict[str, Any],
            Field(
                description="With `delegate`, what that agent does now: its `action` and `target`, and more where "
                "it says more. Left out when it gets the task."
            ),
        ]
    ]


class Usage(TypedDict):
    """The sum of all model requests of the run."""

    prompt_tokens: Annotated[int, Field(ge=0)]
    completion_tokens: Annotated[int, Field(ge=0)]
    total_tokens: Annotated[int, Field(ge=0)]
    prompt_tokens_details: PromptTokens
    completion_tokens_details: CompletionTokens
    requests: Annotated[int, Field(ge=0, description="How many they were.")]
    details: NotRequired[
        Annotated[DelegatedUsage, Field(description="What other agents used for this run; not in the numbers above.")]
    ]


class DelegatedUsage(TypedDict):
    """What other agents used for a run, as far as they say so, that of agents who worked for them included."""

    delegated_input_tokens: Annotated[int, Field(ge=0)]
    delegated_output_tokens: Annotated[int, Field(ge=0)]
    delegated_requests: Annotated[int, Field(ge=0)]


class PromptTokens(TypedDict):
    """Of the prompt's tokens."""

    cached_tokens: Annotated[int, Field(ge=0)]


class CompletionTokens(TypedDict):
    """Of the answer's tokens."""

    reasoning_tokens: Annotated[int, Field(ge=0)]
