"""POST /v1/chat/completions as real clients read it: the same text, usage and reason in every one of them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import anyio
import openai
import pytest
from anyio import fail_after
from langchain_core.messages import AIMessageChunk
from langchain_openai import ChatOpenAI
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from pydantic_ai import Agent
from pydantic_ai.models import override_allow_model_requests
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider

from .http_agents import CHAT, SUM, Served, adding_agent, body, chunks_of, cut_off_agent, served, text_of, user

pytestmark = pytest.mark.anyio

USAGE: Any = {"include_usage": True}


@dataclass(frozen=True)
class Said:
    """What a client makes of an answer."""

    text: str | None
    tokens: tuple[int, int]
    """In and out."""
    finish_reason: str | None


def _said(answer: ChatCompletion) -> Said:
    assert answer.object == "chat.completion"
    assert answer.id.startswith("chatcmpl-")
    assert answer.model == "any-name"
    assert answer.choices[0].message.role == "assistant"
    assert answer.usage is not None
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens
    tokens = (answer.usage.prompt_tokens, answer.usage.completion_tokens)
    return Said(answer.choices[0].message.content, tokens, answer.choices[0].finish_reason)


def _joined(chunks: list[ChatCompletionChunk]) -> Said:
    choices = [chunk.choices[0] for chunk in chunks if chunk.choices]
    assert choices[0].delta.role == "assistant"
    usage = chunks[-1].usage
    assert usage is not None
    text = "".join(choice.delta.content or "" for choice in choices)
    return Said(text, (usage.prompt_tokens, usage.completion_tokens), choices[-1].finish_reason)


async def openai_sync(here: Served) -> Said:
    def call() -> ChatCompletion:
        with openai.OpenAI(base_url=f"{here.url}/v1", api_key="x", timeout=5) as client:
            return client.chat.completions.create(model="any-name", messages=user("add"))

    return _said(await anyio.to_thread.run_sync(call))


async def openai_sync_streamed(here: Served) -> Said:
    def call() -> list[ChatCompletionChunk]:
        with openai.OpenAI(base_url=f"{here.url}/v1", api_key="x", timeout=5) as client:
            create = client.chat.completions.create
            return list(create(model="any-name", messages=user("add"), stream=True, stream_options=USAGE))

    return _joined(await anyio.to_thread.run_sync(call))


async def openai_async(here: Served) -> Said:
    return _said(await here.openai.chat.completions.create(model="any-name", messages=user("add")))


async def openai_async_streamed(here: Served) -> Said:
    create = here.openai.chat.completions.create
    stream = await create(model="any-name", messages=user("add"), stream=True, stream_options=USAGE)
    return _joined([chunk async for chunk in stream])


async def openai_stream_helper(here: Served) -> Said:
    stream = here.openai.chat.completions.stream
    async with stream(model="any-name", messages=user("add"), stream_options=USAGE) as events:
        deltas = [event.delta async for event in events if event.type == "content.delta"]
        try:
            completion: ChatCompletion = await events.get_final_completion()
        except openai.LengthFinishReasonError as cut_off:  # how this helper tells it
            completion = cut_off.completion
    said = _said(completion)
    assert "".join(deltas) == said.text
    return said


def _langchain(here: Served) -> ChatOpenAI:
    return ChatOpenAI(model="any-name", base_url=f"{here.url}/v1", api_key="x", max_retries=0, timeout=5)  # type: ignore


def _langchain_said(message: Any) -> Said:
    tokens = (message.usage_metadata["input_tokens"], message.usage_metadata["output_tokens"])
    return Said(message.content, tokens, message.response_metadata["finish_reason"])


async def langchain_invoke(here: Served) -> Said:
    return _langchain_said(await anyio.to_thread.run_sync(lambda: _langchain(here).invoke("add")))


async def langchain_ainvoke(here: Served) -> Said:
    return _langchain_said(await _langchain(here).ainvoke("add"))


async def langchain_astream(here: Served) -> Said:
    whole: Any = AIMessageChunk(content="")
    async for chunk in _langchain(here).astream("add", stream_usage=True):
        whole += chunk
    return _langchain_said(whole)


def _pydantic_ai(here: Served) -> Agent[None, str]:
    provider = OpenAIProvider(openai_client=here.openai)
    return Agent(OpenAIChatModel("any-name", provider=provider))


async def pydantic_ai_run(here: Served) -> Said:
    with override_allow_model_requests(True):
        result = await _pydantic_ai(here).run("add")
    return Said(result.output, (result.usage.input_tokens, result.usage.output_tokens), result.response.finish_reason)


async def pydantic_ai_run_stream(here: Served) -> Said:
    with override_allow_model_requests(True):
        async with _pydantic_ai(here).run_stream("add") as result:
            text = await result.get_output()
    return Said(text, (result.usage.input_tokens, result.usage.output_tokens), result.response.finish_reason)


Client = Callable[[Served], Awaitable[Said]]
CLIENTS: list[Client] = [
    openai_sync,
    openai_sync_streamed,
    openai_async,
    openai_async_streamed,
    openai_stream_helper,
    langchain_invoke,
    langchain_ainvoke,
    langchain_astream,
    pydantic_ai_run,
    pydantic_ai_run_stream,
]
every_client = pytest.mark.parametrize("client", CLIENTS, ids=lambda client: client.__name__)


async def stored_tokens(here: Served) -> tuple[int, int]:
    """Return what the runtime says the one run used."""
    (record,) = await here.runtime.memory.read_records()
    return record.usage.input_tokens, record.usage.output_tokens


@every_client
async def test_every_client_reads_all_text_and_the_usage_of_all_model_requests(client: Client) -> None:
    with fail_after(5):
        async with served(adding_agent()) as here:
            said = await client(here)
            used = await stored_tokens(here)
    assert said == Said(SUM, used, "stop")
    assert said.tokens[0] >= 100  # the test model counts at least 50 a request, and the run made two


@every_client
async def test_every_client_learns_that_an_answer_was_cut_off(client: Client) -> None:
    with fail_after(5):
        async with served(cut_off_agent()) as here:
            said = await client(here)
            assert said == Said("So far and no", await stored_tokens(here), "length")


async def test_usage_is_what_the_agent_itself_reports() -> None:
    async def listen(_: Any, events: Any) -> None:
        async for _event in events:
            pass

    with fail_after(5):
        plain = (await adding_agent().run("add")).usage
        streamed = (await adding_agent().run("add", event_stream_handler=listen)).usage
        async with served(adding_agent()) as here:
            assert (await openai_async(here)).tokens == (plain.input_tokens, plain.output_tokens)
            assert (await openai_async_streamed(here)).tokens == (streamed.input_tokens, streamed.output_tokens)


async def test_without_a_name_the_model_is_the_agent() -> None:
    with fail_after(5):
        async with served(adding_agent()) as here:
            request = {"messages": user("add")}
            answer = (await here.http.post(CHAT, json=request)).json()
            chunks = await chunks_of(here, request)
    assert answer["model"] == "adder"
    assert {chunk["model"] for chunk in chunks} == {"adder"}


async def test_a_plain_answer_has_every_field_that_openai_requires() -> None:
    with fail_after(5):
        async with served(adding_agent()) as here:
            raw = await here.ask("add")
    answer = raw.json()
    assert ChatCompletion.model_validate(answer).choices[0].message.content == SUM
    assert answer["choices"] == [
        {
            "index": 0,
            "message": {"role": "assistant", "content": SUM, "refusal": None},
            "logprobs": None,
            "finish_reason": "stop",
        }
    ]
    assert isinstance(answer["created"], int)
    assert answer["session_id"] == raw.headers["x-session-id"]


@pytest.mark.parametrize("options", [None, {}, {"include_usage": False}, {"include_usage": True}])
async def test_every_chunk_is_strict_and_usage_comes_last_and_only_when_asked(options: Any) -> None:
    with fail_after(5):
        async with served(adding_agent()) as here:
            chunks = await chunks_of(here, body("add", stream_options=options))
            used = await stored_tokens(here)
    for chunk in chunks:
        ChatCompletionChunk.model_validate(chunk)
    assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}
    assert {chunk["model"] for chunk in chunks} == {"any-name"}
    assert len({chunk["id"] for chunk in chunks}) == 1
    assert chunks[0]["id"].startswith("chatcmpl-")
    assert chunks[0]["choices"][0]["delta"]["role"] == "assistant"
    if options and options["include_usage"]:
        usage = chunks.pop()
        assert usage["choices"] == []
        assert (usage["usage"]["prompt_tokens"], usage["usage"]["completion_tokens"]) == used
        assert all(chunk["usage"] is None for chunk in chunks)
    else:
        assert all("usage" not in chunk for chunk in chunks)
    assert all(chunk["choices"][0]["index"] == 0 for chunk in chunks)
    assert [chunk["choices"][0]["finish_reason"] for chunk in chunks] == [None] * (len(chunks) - 1) + ["stop"]
    assert text_of(chunks) == SUM


async def test_a_stream_is_told_as_one_and_ends_with_done() -> None:
    with fail_after(5):
        async with served(adding_agent()) as here:
            answer = await here.ask("add", stream=True)
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.headers["cache-control"] == "no-cache"
    assert answer.headers["x-accel-buffering"] == "no"
    assert answer.text.endswith("\n\ndata: [DONE]\n\n")


async def test_langchain_goes_on_in_a_session_by_its_header() -> None:
    with fail_after(5):
        async with served(adding_agent()) as here:
            model = _langchain(here).bind(extra_headers={"X-Session-ID": "chain"})
            await model.ainvoke("add")
            await model.ainvoke("add again")
            events = await here.events("chain")
    assert [content for kind, content in events if kind == "user_message"] == ["add", "add again"]
