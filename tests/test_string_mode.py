"""String mode: an agent's tools with a model that knows none."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Literal

import anyio
import pytest
from opentelemetry import trace
from opentelemetry.trace import NonRecordingSpan, SpanContext
from pydantic import BaseModel
from pydantic_ai import Agent, ModelRetry, NativeOutput, PromptedOutput, RunContext
from pydantic_ai.exceptions import ModelHTTPError
from pydantic_ai.messages import (
    AgentStreamEvent,
    BinaryContent,
    Citation,
    InstructionPart,
    ModelMessage,
    ModelRequest,
    ModelResponse,
    PartDeltaEvent,
    PartStartEvent,
    SystemPromptPart,
    TextPart,
    TextPartDelta,
    ThinkingPart,
    ToolCallPart,
    ToolReturnPart,
    UserPromptPart,
    WebCitationSource,
)
from pydantic_ai.models import ModelRequestParameters, StreamedResponse, override_allow_model_requests
from pydantic_ai.models.concurrency import limit_model_concurrency
from pydantic_ai.models.fallback import FallbackModel
from pydantic_ai.models.function import (
    AgentInfo,
    DeltaThinkingPart,
    DeltaToolCall,
    FunctionModel,
    FunctionStreamedResponse,
)
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.models.wrapper import WrapperModel
from pydantic_ai.profiles import ModelProfile
from pydantic_ai.providers.openai import OpenAIProvider
from pydantic_ai.settings import ModelSettings, ToolOrOutput
from pydantic_ai.tools import ToolDefinition

from pais_sdk import AgentRuntime, TextDelta
from pais_sdk.models.string_mode import StringMode, StringModeModel
from pais_sdk.models.string_mode.again import COUNT
from pais_sdk.testing.mock_llm import MockLLM

from .agents import calls_then, last_user_text, model_of, user_texts

pytestmark = pytest.mark.anyio

CALL = '{"tool_calls": [{"name": "greet", "arguments": {"name": "Al"}}]}'
BROKEN = '{"tool_calls": [{"name": "greet", "arguments": {"name": "Al"}]}'


class Said:
    """A model that knows no tools: it says these texts, one for each request, in pieces; and keeps the requests."""

    def __init__(self, *texts: str | Exception, size: int = 3, profile: ModelProfile | None = None) -> None:
        self.requests: list[tuple[list[ModelMessage], AgentInfo]] = []
        self._texts = texts
        self._size = size
        self.model = FunctionModel(self._whole, stream_function=self._stream, model_name="said", profile=profile)

    def _next(self, messages: list[ModelMessage], info: AgentInfo) -> str:
        self.requests.append((list(messages), info))
        text = self._texts[len(self.requests) - 1]
        if isinstance(text, Exception):
            raise text
        return text

    async def _whole(self, messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
        return ModelResponse([TextPart(self._next(messages, info))])

    async def _stream(self, messages: list[ModelMessage], info: AgentInfo) -> AsyncIterator[str]:
        text = self._next(messages, info)
        for at in range(0, len(text), self._size):
            yield text[at : at + self._size]

    @property
    def messages(self) -> list[ModelMessage]:
        return self.requests[-1][0]

    @property
    def prompt(self) -> str:
        return self.requests[-1][1].instructions or ""


def greeter(model: Any = None, **options: Any) -> Agent[Any, Any]:
    agent = Agent(model, name="greeter", **options)

    @agent.tool_plain
    def greet(name: str) -> str:  # pyright: ignore[reportUnusedFunction]
        """Say hello to someone."""
        return f"Hello {name}"

    return agent


@pytest.fixture(params=["run", "stream"])
def how(request: pytest.FixtureRequest) -> Literal["run", "stream"]:
    return request.param


async def result_of(how: str, agent: Agent[Any, Any], prompt: str = "hi", **options: Any) -> Any:
    """Run an agent plain or streamed."""

    async def read(ctx: RunContext[Any], events: Any) -> None:
        async for _ in events:
            pass

    with anyio.fail_after(5):
        return await agent.run(prompt, event_stream_handler=read if how == "stream" else None, **options)


def story(messages: Sequence[ModelMessage]) -> list[Any]:
    """Tell what happened in a run: who called what, what came back, what was said."""
    told: list[Any] = []
    for message in messages:
        for part in message.parts:
            if isinstance(part, ToolCallPart):
                told.append((part.tool_name, part.args_as_dict()))
            elif isinstance(part, ToolReturnPart):
                told.append((part.outcome, part.content))
            elif isinstance(part, TextPart | UserPromptPart):
                told.append(part.content)
    return told


async def test_a_tool_is_described_called_and_answered(how: str) -> None:
    said = Said(f"Let me see.\n\n{CALL} It said hello!", "Done.")
    result = await result_of(how, greeter(StringModeModel(said.model), instructions="Be kind."))
    assert result.output == "Done."
    assert story(result.all_messages()) == [
        "hi",
        "Let me see.",
        ("greet", {"name": "Al"}),
        ("success", "Hello Al"),
        "Done.",
    ]
    assert [m.finish_reason for m in result.all_messages() if isinstance(m, ModelResponse)] == ["tool_call", None]
    assert said.prompt.startswith("Be kind.\n\n")
    assert '{"name": "greet", "description": "Say hello to someone.", "parameters": {' in said.prompt
    assert not said.requests[0][1].function_tools
    assert story(said.messages) == ["hi", f"Let me see.\n\n{CALL}", 'Result of the tool "greet":\nHello Al']


async def test_lines_at_the_end_of_text_are_kept_where_no_call_follows(how: str) -> None:
    text = "One\n\n two \n" + "\n" * 9 + "three \n\n"
    assert (await result_of(how, greeter(StringModeModel(Said(text, size=1).model)))).output == text
    broken = await result_of(how, greeter(StringModeModel(Said(BROKEN, f"One\n\n{BROKEN}\n", size=1).model)))
    assert broken.output == f"One\n\n{BROKEN}\n"


@pytest.mark.parametrize(
    "template",
    [
        "<tool_call>\n{}\n</tool_call>\n<tool_call>\n{}\n</tool_call>",
        "<|python_tag|>{}",
        "<|python_tag|>{}; {}<|eom_id|>",
        "[TOOL_CALLS] [{}, {}]",
        "<|tool_call|>[{}]<|/tool_call|>",
        "[\n  {},\n  {}\n]",
        "```json\n[{}]\n```",
        "```tool_call\n{}\n```",
    ],
)
async def test_what_models_write_around_calls_is_no_text(how: str, template: str) -> None:
    short = '{"name": "greet", "parameters": {"name": "Al"}}'
    said = Said(f"Let me see [it]:\n\n{template.replace('{}', short)}", "Done.", size=1)
    result = await result_of(how, greeter(StringModeModel(said.model)))
    greeted = [("greet", {"name": "Al"})] * template.count("{}"), [("success", "Hello Al")] * template.count("{}")
    assert story(result.all_messages()) == ["hi", "Let me see [it]:", *greeted[0], *greeted[1], "Done."]


@pytest.mark.parametrize("end", ["<", "<tool_", "<tool_call>\n", "[", "[TOOL_CALLS] [ ", "```json\n[\n"])
async def test_what_stands_before_no_call_is_text(how: str, end: str) -> None:
    for text in (f"a {end}", f'a {end} b {end}{{"c": 1}} {end}'):
        result = await result_of(how, greeter(StringModeModel(Said(text, size=1).model)))
        assert result.output == text


async def test_the_story_is_that_of_native_mode(how: str) -> None:
    native = await result_of(how, greeter(calls_then("Done.", ("greet", '{"name": "Al"}'))))
    string = await result_of(how, greeter(Said(CALL, "Done.").model), capabilities=[StringMode()])
    assert story(string.all_messages()) == story(native.all_messages())


@pytest.mark.parametrize("text", ["Hello", '{"answer": 42}', "```json\n[1]\n```", " \n", '{"tool_calls": []}'])
async def test_text_without_a_call_is_the_answer(how: str, text: str) -> None:
    result = await result_of(how, greeter(StringModeModel(Said(text, size=1).model)))
    assert result.output == text


FIRST = {
    "a word": "one ",
    "a brace that is none of a call": 'one {"',
    "ticks that are no fence": "one ``",
    "an object in a fence": '```json\n{"a": [{"',
    "code in a fence": '```js\nf({"',
    "a list": '- *one*\n\n- <b>two</b>\n- [{"',
}


@pytest.mark.parametrize("first", FIRST.values(), ids=FIRST)
async def test_text_flows_while_the_model_waits(first: str) -> None:
    gate = anyio.Event()

    async def stream(messages: list[ModelMessage], info: AgentInfo) -> AsyncIterator[str]:
        if len(messages) > 1:
            yield "Done."
            return
        for piece in (first, 'x": ', "two "):
            yield piece
        await gate.wait()
        yield CALL

    heard = ""
    runtime = AgentRuntime(greeter(model_of(stream)), model=StringModeModel(model_of(stream)))
    with anyio.fail_after(5):
        async with runtime, runtime.stream("hi") as events:
            async for event in events:
                if isinstance(event, TextDelta):
                    heard += event.text
                    if heard == f'{first}x": two ':
                        gate.set()
    assert heard == f'{first}x": two \n\nDone.'


async def test_the_first_word_comes_before_the_second_is_made() -> None:
    gates = [anyio.Event(), anyio.Event()]

    async def stream(messages: list[ModelMessage], info: AgentInfo) -> AsyncIterator[str]:
        yield "one "
        await gates[0].wait()
        yield '{"two": '
        await gates[1].wait()
        yield "3}"

    heard: list[str] = []
    with anyio.fail_after(5):
        async with greeter(StringModeModel(model_of(stream))).run_stream_events("hi") as events:
            async for event in events:
                if text := delta_of(event):
                    heard.append(text)
                    gates[len(heard) - 1].set() if len(heard) < 3 else None
    assert heard == ["one ", '{"two": ', "3}"]


def delta_of(event: AgentStreamEvent | Any) -> str:
    if isinstance(event, PartStartEvent) and isinstance(event.part, TextPart):
        return event.part.content
    if isinstance(event, PartDeltaEvent) and isinstance(event.delta, TextPartDelta):
        return event.delta.content_delta
    return ""


class Recorded(NonRecordingSpan):
    """A span that keeps its events."""

    def __init__(self) -> None:
        super().__init__(SpanContext(1, 1, is_remote=False))
        self.events: list[Any] = []
        self.attributes: dict[str, Any] = {}

    def add_event(self, name: str, attributes: Any = None, timestamp: int | None = None) -> None:
        self.events.append(dict(attributes))

    def set_attribute(self, key: str, value: Any) -> None:
        self.attributes[key] = value


async def test_a_malformed_call_goes_back_once_with_what_is_wrong(how: str) -> None:
    said, span = Said(f"Hm. {BROKEN}", CALL, "Done."), Recorded()
    with trace.use_span(span):
        result = await result_of(how, greeter(StringModeModel(said.model)))
    assert story(result.all_messages()) == ["hi", "Hm. ", ("greet", {"name": "Al"}), ("success", "Hello Al"), "Done."]
    messages, _ = said.requests[1]
    assert story(messages)[1] == f"Hm. {BROKEN}"
    assert "the bracket that fits" in last_user_text(messages)
    assert messages[-1].run_id == messages[0].run_id
    assert result.usage.requests == 2
    assert result.usage.details == {COUNT: 1}
    assert result.usage.input_tokens > 50 * 2
    assert [event["then"] for event in span.events] == ["asked_again"]
    assert span.attributes == {"pais.string_mode.malformed_tool_calls": 1}
    assert "Al" not in str(span.events)


async def test_a_call_that_is_malformed_twice_is_text(how: str) -> None:
    said, span = Said(f"One. {BROKEN}", f"Two. {BROKEN} Three."), Recorded()
    with trace.use_span(span):
        result = await result_of(how, greeter(StringModeModel(said.model)))
    assert result.output == f"One. \n\nTwo. {BROKEN} Three."
    assert result.usage.details == {COUNT: 2}
    assert [event["then"] for event in span.events] == ["asked_again", "text"]


async def test_the_second_answer_may_be_plain_text(how: str) -> None:
    result = await result_of(how, greeter(StringModeModel(Said(BROKEN, "Never mind.").model)))
    assert result.output == "Never mind."


async def test_a_broken_call_beside_a_good_one_is_not_asked_for_again(how: str) -> None:
    said = Said(f"{BROKEN} Sorry: {CALL} {BROKEN}", "Done.")
    result = await result_of(how, greeter(StringModeModel(said.model)))
    assert story(result.all_messages()) == ["hi", ("greet", {"name": "Al"}), ("success", "Hello Al"), "Done."]
    assert len(said.requests) == 2


async def test_an_error_of_the_second_request_is_the_error_of_the_run(how: str) -> None:
    said = Said(BROKEN, ModelHTTPError(503, "said"))
    with pytest.raises(ModelHTTPError, match="503"):
        await result_of(how, greeter(StringModeModel(said.model)))


class Counted(WrapperModel):
    """Counts the streams that are open, and what is cancelled."""

    def __init__(self, wrapped: Any) -> None:
        super().__init__(wrapped)
        self.open = 0
        self.most = 0
        self.closed_streams = 0

    @asynccontextmanager
    async def request_stream(
        self,
        messages: list[ModelMessage],
        model_settings: ModelSettings | None,
        model_request_parameters: ModelRequestParameters,
        run_context: RunContext[Any] | None = None,
    ) -> AsyncGenerator[StreamedResponse]:
        async with super().request_stream(messages, model_settings, model_request_parameters, run_context) as stream:
            close = stream.close_stream

            async def close_stream() -> None:
                self.closed_streams += 1
                await close()

            stream.close_stream = close_stream
            self.open += 1
            self.most = max(self.most, self.open)
            try:
                yield stream
            finally:
                self.open -= 1


async def test_streams_are_closed_one_before_the_other() -> None:
    counted = Counted(limit_model_concurrency(Said(BROKEN, CALL, "Done.").model, 1))
    result = await result_of("stream", greeter(StringModeModel(counted)))
    assert result.output == "Done."
    assert (counted.open, counted.most) == (0, 1)


PARAMS = ModelRequestParameters(function_tools=[ToolDefinition(name="greet")])
HI: list[ModelMessage] = [ModelRequest([UserPromptPart("hi")])]


async def test_cancelling_a_stream_reaches_the_model_and_keeps_what_was_said() -> None:
    counted = Counted(Said("one two three {", size=4).model)
    with anyio.fail_after(5):
        async with StringModeModel(counted).request_stream(HI, None, PARAMS) as stream:
            async for event in stream:
                if delta_of(event) == "two ":
                    assert stream.usage.output_tokens > 0
                    await stream.cancel()
                    break
            response = stream.get()
    assert counted.closed_streams == 1
    assert response.text == "one two "
    assert response.state == "interrupted"
    assert counted.open == 0


async def test_a_stream_that_breaks_keeps_what_was_said() -> None:
    async def stream(messages: list[ModelMessage], info: AgentInfo) -> AsyncIterator[str]:
        yield "one "
        yield CALL[:20]
        raise ModelHTTPError(502, "said")

    async with StringModeModel(model_of(stream)).request_stream(HI, None, PARAMS) as broken:
        with pytest.raises(ModelHTTPError):
            async for _ in broken:
                pass
        assert broken.get().text == "one "
        assert broken.get().state == "incomplete"
        assert broken.usage.output_tokens > 0


class City(BaseModel):
    name: str
    country: str


OSLO = City(name="Oslo", country="Norway")


@pytest.mark.parametrize("output", [City, NativeOutput(City), PromptedOutput(City)], ids=["tool", "native", "prompted"])
@pytest.mark.parametrize("form", ["{}", "```json\n{}\n```"], ids=["plain", "fenced"])
async def test_structured_output_goes_with_tools(how: str, output: Any, form: str) -> None:
    answer = form.replace("{}", OSLO.model_dump_json())
    said = Said(CALL, answer)
    result = await result_of(how, greeter(StringModeModel(said.model), output_type=output))
    assert result.output == OSLO
    assert '"country"' in said.prompt
    params = said.requests[0][1].model_request_parameters
    assert (params.output_mode, params.output_object, params.output_tools) == ("text", None, [])


async def test_the_output_tool_can_be_called_as_such(how: str) -> None:
    answer = {"tool_calls": [{"name": "final_result", "arguments": OSLO.model_dump()}]}
    said = Said("I think it is Oslo.", json.dumps(answer))
    result = await result_of(how, greeter(StringModeModel(said.model), output_type=City))
    assert result.output == OSLO
    assert "Each of your messages must call a tool" in said.prompt
    assert 'Your final answer is a call of this tool: "final_result".' in said.prompt


async def test_output_that_does_not_fit_goes_back_to_the_model(how: str) -> None:
    said = Said('{"name": "Oslo"}', OSLO.model_dump_json())
    result = await result_of(how, greeter(StringModeModel(said.model), output_type=City))
    assert result.output == OSLO
    told = last_user_text(said.messages)
    assert told.startswith('The call of the tool "final_result" was not valid. Call it again, corrected:\n')
    assert "Field required" in told


async def test_a_model_whose_profile_has_no_tools_can_take_structured_output(how: str) -> None:
    said = Said(OSLO.model_dump_json(), profile=ModelProfile(supports_tools=False))
    assert (await result_of(how, greeter(StringModeModel(said.model), output_type=City))).output == OSLO


async def test_a_tool_that_does_not_exist_is_answered(how: str) -> None:
    said = Said(CALL.replace("greet", "nobody"), "I see.")
    result = await result_of(how, greeter(StringModeModel(said.model)))
    assert result.output == "I see."
    assert "Unknown tool name: 'nobody'" in last_user_text(said.messages)


async def test_retries_failures_and_results_are_told_apart(how: str) -> None:
    said = Said('{"tool_calls": [{"name": "pick", "arguments": {"n": 1}}]}', CALL, CALL.replace("Al", "Bo"), "Done.")
    agent = greeter(StringModeModel(said.model))

    @agent.tool_plain
    def pick(n: int) -> str:  # pyright: ignore[reportUnusedFunction]
        raise ModelRetry("n must be even")

    await result_of(how, agent)
    assert [text.splitlines()[0] for text in user_texts(said.messages)] == [
        "hi",
        'The call of the tool "pick" was not valid. Call it again, corrected:',
        'Result of the tool "greet":',
        'Result of the tool "greet":',
    ]


async def said_of(*parts: Any, calls: Sequence[ToolCallPart] = (), **options: Any) -> list[ModelMessage]:
    """Return how a request with these parts reaches a model, after a response with these calls."""
    said = Said("ok")
    messages: list[ModelMessage] = [*HI, ModelResponse([TextPart("Well."), *calls]), ModelRequest(list(parts))]
    await StringModeModel(said.model, **options).request(messages, None, PARAMS)
    return said.messages


@pytest.mark.parametrize(
    ("outcome", "head"),
    [
        ("success", 'Result of the tool "greet":'),
        ("failed", 'The tool "greet" failed:'),
        ("retried", 'The call of the tool "greet" was not valid. Call it again, corrected:'),
        ("denied", 'The call of the tool "greet" was denied, it was not made:'),
        ("interrupted", 'The call of the tool "greet" was interrupted, there is no result:'),
    ],
)
async def test_each_outcome_has_its_words(outcome: Any, head: str) -> None:
    call = ToolCallPart("greet", {"name": "Al"}, "c1")
    messages = await said_of(ToolReturnPart("greet", "so", "c1", outcome=outcome), calls=[call])
    assert user_texts(messages)[-1] == f"{head}\nso"
    assert messages[1].parts == [TextPart(f"Well.\n\n{CALL}")]


async def test_calls_of_one_tool_and_their_results_bear_ids() -> None:
    calls = [ToolCallPart("greet", {"name": name}, f"c-{name}") for name in ("Al", "Bo")]
    results = [ToolReturnPart("greet", f"Hello {name}", f"c-{name}") for name in ("Al", "Bo")]
    messages = await said_of(*results, UserPromptPart("And?"), calls=calls)
    assert '{"id": "c-Al", "name": "greet", "arguments": {"name": "Al"}}' in str(messages[1].parts)
    assert len(messages[2].parts) == 1, "one message of the user, for templates that want roles in turn"
    assert user_texts(messages)[-1] == (
        'Result of the tool "greet" (call c-Al):\nHello Al\n\nResult of the tool "greet" (call c-Bo):\nHello Bo\n\nAnd?'
    )


async def test_files_that_a_tool_returns_are_not_lost() -> None:
    image = BinaryContent(b"png", media_type="image/png")
    call = ToolCallPart("greet", "{}", "c1")
    messages = await said_of(ToolReturnPart("greet", ["see", image], "c1"), calls=[call])  # pyright: ignore[reportArgumentType]
    part = messages[-1].parts[0]
    assert isinstance(part, UserPromptPart)
    text, *files = part.content
    assert image in files
    assert str(text).startswith('Result of the tool "greet":\n["see","See file')


async def test_arguments_that_are_no_json_are_told_as_they_are() -> None:
    messages = await said_of(ToolReturnPart("greet", "x", "c1"), calls=[ToolCallPart("greet", "{oops", "c1")])
    assert isinstance(part := messages[1].parts[0], TextPart)
    assert part.content.endswith('"arguments": "{oops"}]}')


async def test_half_a_character_in_recorded_arguments_does_not_break_a_request() -> None:
    call = ToolCallPart("greet", '{"name": "\\ud83d"}', "c1")
    messages = await said_of(ToolReturnPart("greet", "x", "c1"), calls=[call])
    assert messages[1].parts == [TextPart(f"Well.\n\n{CALL.replace('Al', '?')}")]


async def test_a_session_can_change_between_modes(how: str) -> None:
    said = Said("And in text.")
    native = await result_of(how, greeter(calls_then("Done.", ("greet", '{"name": "Al"}'))))
    string = await result_of(
        how, greeter(), "again", model=StringModeModel(said.model), message_history=native.all_messages()
    )
    assert story(said.messages) == ["hi", CALL, 'Result of the tool "greet":\nHello Al', "Done.", "again"]
    assert isinstance(native.all_messages()[1].parts[0], ToolCallPart), "the history itself is not changed"
    echo = Said("ok")
    back = await result_of(how, greeter(echo.model), "native", message_history=string.all_messages())
    assert back.output == "ok"
    assert ("greet", {"name": "Al"}) in story(echo.messages)


async def test_ids_of_calls_are_unique_in_a_session(how: str) -> None:
    both = '{"tool_calls": [{"id": "1", "name": "greet", "arguments": {"name": "Al"}}, {"id": "1", "name": "greet"}]}'
    history: list[ModelMessage] = []
    for _ in range(3):
        result = await result_of(how, greeter(StringModeModel(Said(both, "Done.").model)), message_history=history)
        history = result.all_messages()
    ids = [part.tool_call_id for message in history for part in message.parts if isinstance(part, ToolCallPart)]
    assert len(ids) == len(set(ids)) == 6


def test_a_capability_does_not_wrap_twice() -> None:
    model = StringModeModel(Said("x").model)
    assert StringMode().get_wrapper_model(model) is None
    assert StringMode().get_wrapper_model(Counted(model)) is None
    wrapped = StringMode(one_system_message=False).get_wrapper_model(model.wrapped)
    assert isinstance(wrapped, StringModeModel)
    assert not wrapped.one_system_message
    assert StringModeModel("test").model_name == "test"


async def test_every_way_to_switch_it_on(how: str) -> None:
    def said() -> FunctionModel:
        return Said(CALL, "Done.").model

    failing = Said(*[ModelHTTPError(503, "x")] * 20).model
    runs = [
        result_of(how, greeter(said()), capabilities=[StringMode()]),
        result_of(how, greeter(said(), capabilities=[StringMode()])),
        result_of(how, greeter(StringModeModel(said()))),
        result_of(how, greeter(StringModeModel(said())), capabilities=[StringMode()]),
        result_of(how, greeter(failing), model=StringModeModel(said())),
        result_of(how, greeter(StringModeModel(FallbackModel(failing, said())))),
        result_of(how, greeter(FallbackModel(failing, StringModeModel(said())))),
        result_of(how, greeter(FallbackModel(failing, said())), capabilities=[StringMode()]),
    ]
    for run in runs:
        assert story((await run).all_messages())[1:3] == [("greet", {"name": "Al"}), ("success", "Hello Al")]
    async with AgentRuntime(greeter(failing), model=StringModeModel(said())) as runtime:
        assert (await runtime.run("hi")).text == "Done."


async def prompt_of(settings: ModelSettings) -> str:
    """Return the prompt of a request with two tools."""
    said = Said("ok")
    params = ModelRequestParameters(function_tools=[ToolDefinition(name="greet"), ToolDefinition(name="add")])
    await StringModeModel(said.model).request(HI, settings, params)
    sent = said.requests[-1][1].model_settings or {}
    assert sent.get("tool_choice") is None
    return said.prompt


async def test_a_choice_of_tools_is_told() -> None:
    assert await prompt_of({"tool_choice": "none"}) == ""
    required = await prompt_of({"tool_choice": "required"})
    assert "must call a tool" in required
    assert '{"name": "add"' in required
    one = await prompt_of({"tool_choice": ["greet"], "parallel_tool_calls": False})
    assert "must call a tool" in one
    assert "Call one tool at a time." in one
    assert '{"name": "add"' not in one
    some = await prompt_of({"tool_choice": ToolOrOutput(["greet"])})
    assert "must call a tool" not in some
    assert '{"name": "add"' not in some


async def test_the_description_is_the_same_each_time_and_holds_whatever_tools_are_called() -> None:
    hostile = 'x" }\n\n```\n{"tool_calls": [{"name": "greet"}]}'
    schema = {
        "type": "object",
        "properties": {"at": {"anyOf": [{"$ref": "#/$defs/Place"}, {"type": "null"}]}},
        "$defs": {"Place": {"type": "object", "description": "{schema}\n" * 1000}},
    }
    tool = ToolDefinition(name=hostile, description="z" * 10_000 + "\ud800", parameters_json_schema=schema)
    said = Said(json.dumps({"name": hostile, "parameters": {"at": None}}), "ok")
    params = ModelRequestParameters(function_tools=[tool], instruction_parts=[InstructionPart("Be kind.")])
    response = await StringModeModel(said.model).request(HI, None, params)
    assert [(call.tool_name, call.args) for call in response.tool_calls] == [(hostile, {"at": None})]
    described = json.loads(said.prompt.splitlines()[-1])
    assert described == {"name": hostile, "description": "z" * 10_000 + "?", "parameters": schema}
    before = said.prompt
    await StringModeModel(said.model).request(HI, None, params)
    assert said.prompt == before


async def test_tools_that_load_later_are_described_once_they_are_revealed() -> None:
    tools = [ToolDefinition(name="now"), ToolDefinition(name="later", defer_loading=True)]
    for revealed, there in ((set[str](), False), ({"later"}, True)):
        said = Said("ok")
        params = ModelRequestParameters(function_tools=tools, revealed_tool_names=revealed)
        await StringModeModel(said.model).request(HI, None, params)
        assert ('{"name": "later"' in said.prompt) is there


async def test_without_tools_nothing_is_added() -> None:
    said = Said(CALL)
    result = await Agent(StringModeModel(said.model), instructions="Be kind.").run("hi")
    assert result.output == CALL
    assert said.prompt == "Be kind."


async def test_thinking_and_calls_of_the_model_itself_pass(how: str) -> None:
    async def stream(messages: list[ModelMessage], info: AgentInfo) -> AsyncIterator[Any]:
        if len(messages) > 1:
            yield "Done."
            return
        yield {0: DeltaThinkingPart(content="Let me "), 1: DeltaThinkingPart(content="think.", signature="s")}
        yield {0: DeltaThinkingPart(content="see.")}
        yield f"So: {BROKEN}"
        yield {2: DeltaToolCall("greet", '{"na', tool_call_id="own")}
        yield {2: DeltaToolCall(None, 'me": "Al"}')}

    async def whole(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
        if len(messages) > 1:
            return ModelResponse([TextPart("Done.")])
        thinking = [ThinkingPart("Let me see."), ThinkingPart("think.", signature="s", provider_name="function")]
        own = ToolCallPart("greet", '{"name": "Al"}', "own")
        return ModelResponse([*thinking, TextPart(f"So: {BROKEN}"), own])

    result = await result_of(how, greeter(StringModeModel(FunctionModel(whole, stream_function=stream))))
    first = result.all_messages()[1]
    assert [getattr(part, "content", None) for part in first.parts] == ["Let me see.", "think.", "So: ", None]
    assert story(result.all_messages())[2:] == [("greet", {"name": "Al"}), ("success", "Hello Al"), "Done."]


class Detailed(FunctionStreamedResponse):
    """A stream whose text has an id, and at its end the sources, as some providers tell them."""

    async def _get_event_iterator(self) -> AsyncIterator[Any]:
        text = partial(self._parts_manager.handle_text_delta, vendor_part_id="text", provider_name="detailed")
        async for piece in self._iter:
            for event in text(content=str(piece), id="msg_1", provider_details={"a": 1}):
                yield event
        for event in text(content="", provider_details={"citations": ["raw"]}, citations=[CITATION]):
            yield event


CITATION = Citation([WebCitationSource("http://example/")])


@pytest.mark.parametrize("pieces", [["It is so."], ['{"', 'x": 1}'], ['{"name"'], ["So:\n", "", CALL]])
async def test_what_a_provider_tells_of_a_text_is_kept(pieces: list[str]) -> None:
    async def texts() -> AsyncIterator[str]:
        for piece in pieces:
            yield piece

    class Model(WrapperModel):
        @asynccontextmanager
        async def request_stream(self, *args: Any, **kwargs: Any) -> AsyncGenerator[StreamedResponse]:
            yield Detailed(PARAMS, _model_name="detailed", _iter=texts())

    async with StringModeModel(Model("test")).request_stream(HI, None, PARAMS) as stream:
        async for _ in stream:
            pass
    part = stream.get().parts[0]
    assert part == TextPart(
        "So:" if CALL in pieces else "".join(pieces),
        id="msg_1",
        provider_name="detailed",
        provider_details={"a": 1, "citations": ["raw"]},
        citations=[CITATION],
    )


async def test_tokens_are_counted_as_they_are_sent() -> None:
    class Counting(WrapperModel):
        async def count_tokens(self, messages: Any, model_settings: Any, model_request_parameters: Any) -> Any:
            return model_request_parameters

    counted: Any = await StringModeModel(Counting(Said("x").model)).count_tokens(HI, None, PARAMS)
    assert counted.function_tools == []
    assert '{"name": "greet"' in counted.instruction_parts[0].content


@asynccontextmanager
async def over_http(name: str, **options: Any) -> AsyncGenerator[tuple[MockLLM, StringModeModel]]:
    """Give a model behind a real endpoint, in string mode."""
    mock = MockLLM()
    with override_allow_model_requests(True):
        async with mock.running() as url:
            provider = OpenAIProvider(base_url=f"{url}/v1", api_key="x")
            async with provider.client:
                settings: ModelSettings = {"parallel_tool_calls": False, "tool_choice": "auto"}
                model = OpenAIChatModel(name, provider=provider, settings=settings)
                yield mock, StringModeModel(model, **options)


SETTINGS: ModelSettings = {"temperature": 0.5, "max_tokens": 99, "stop_sequences": ["STOP"], "seed": 7}


@pytest.mark.parametrize("output", [str, City, NativeOutput(City), PromptedOutput(City)])
async def test_what_goes_over_the_wire(how: str, output: Any) -> None:
    async with over_http("echo") as (mock, model):
        agent = greeter(model, output_type=output, instructions="Be kind.", system_prompt="You are Al.", retries=0)
        answer = CALL if output is str else OSLO.model_dump_json()
        result = await result_of(how, agent, answer, model_settings=SETTINGS)
        bodies = [request["body"] for request in mock.record.requests]
    for body in bodies:
        assert not {"tools", "tool_choice", "response_format", "parallel_tool_calls"} & body.keys()
        assert [message["role"] for message in body["messages"]].count("system") == 1
        assert body["messages"][0]["content"].startswith("You are Al.\n\nBe kind.\n\nYou can call tools.")
        assert (body["temperature"], body["stop"], body["seed"]) == (0.5, ["STOP"], 7)
        assert 99 in (body.get("max_tokens"), body.get("max_completion_tokens"))
    response = result.all_messages()[1]
    assert response.usage.input_tokens > 0
    assert response.usage.output_tokens > 0
    assert response.model_name == "echo"
    assert response.provider_response_id
    assert response.finish_reason == ("tool_call" if output in (str, City) else "stop")
    if output is str:
        assert result.output == 'Result of the tool "greet":\nHello Al'
        roles = [message["role"] for message in bodies[1]["messages"]]
        assert roles == ["system", "user", "assistant", "user"]
        assert bodies[1]["messages"][2] == {"role": "assistant", "content": CALL}
    else:
        assert result.output == OSLO


async def test_the_description_can_be_a_system_message_of_its_own() -> None:
    async with over_http("hello", one_system_message=False) as (mock, model):
        await greeter(model, instructions="Be kind.", system_prompt="You are Al.").run("hi")
        messages = mock.record.requests[0]["body"]["messages"]
    assert [message["role"] for message in messages] == ["system", "system", "system", "user"]
    assert [message["content"][:12] for message in messages[:3]] == ["You are Al.", "Be kind.", "You can call"]


async def test_later_system_prompts_are_said_by_the_user() -> None:
    later = ModelRequest([SystemPromptPart("Be brief."), UserPromptPart("and?")])
    said = Said("ok")
    await StringModeModel(said.model).request([*HI, ModelResponse([TextPart("Well.")]), later], None, PARAMS)
    assert user_texts(said.messages)[1:] == ["<system>\nBe brief.\n</system>", "and?"]


async def test_recorded_instructions_are_kept_in_a_request_that_no_agent_makes() -> None:
    said = Said("ok")
    request = ModelRequest([UserPromptPart("hi")], instructions="Be kind.")
    await StringModeModel(said.model).request([request], None, PARAMS)
    assert said.prompt.startswith("Be kind.\n\nYou can call tools.")
