"""A2A: what the parts of a message become for the agent, and what of them is kept."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any

import anyio
import pytest
from pydantic_ai import Agent
from pydantic_ai.messages import (
    AudioUrl,
    BinaryContent,
    DocumentUrl,
    ImageUrl,
    ModelMessage,
    ModelRequest,
    UserPromptPart,
    VideoUrl,
)

from .a2a_calls import call, send
from .http_agents import RecordingModel, served

pytestmark = pytest.mark.anyio

BYTES = bytes(range(256))
RAW = base64.b64encode(BYTES).decode()


def prompt_of(messages: Sequence[ModelMessage]) -> Any:
    (prompt,) = (
        part.content
        for message in messages
        if isinstance(message, ModelRequest)
        for part in message.parts
        if isinstance(part, UserPromptPart)
    )
    return prompt


@pytest.mark.parametrize(
    ("parts", "prompt"),
    [
        ([{"text": "one"}], "one"),
        ([{"text": "one"}, {"text": ""}, {"text": "two"}], "one\ntwo"),
        ([{"data": {"a": 1, "b": [1.5, None, "ü"]}}], '{"a": 1, "b": [1.5, null, "ü"]}'),
        ([{"data": [1, 2]}], "[1, 2]"),
        ([{"text": "look"}, {"data": "x"}], 'look\n"x"'),
        (
            [{"text": "look"}, {"raw": RAW, "mediaType": "image/png"}],
            ["look", BinaryContent(BYTES, media_type="image/png")],
        ),
        ([{"raw": RAW, "mediaType": "Application/PDF; x=y"}], [BinaryContent(BYTES, media_type="application/pdf")]),
        ([{"raw": RAW, "filename": "a.mp3"}], [BinaryContent(BYTES, media_type="audio/mpeg")]),
        ([{"raw": RAW, "mediaType": "text/x-python"}], [BinaryContent(BYTES, media_type="text/x-python")]),
        ([{"raw": RAW, "mediaType": "application/json"}], [BinaryContent(BYTES, media_type="application/json")]),
        ([{"url": "https://a/b.png"}], [ImageUrl("https://a/b.png", media_type="image/png")]),
        ([{"url": "http://a/b", "mediaType": "audio/wav"}], [AudioUrl("http://a/b", media_type="audio/wav")]),
        ([{"url": "http://a/b.mp4?x=1"}], [VideoUrl("http://a/b.mp4?x=1", media_type="video/mp4")]),
        (
            [{"url": "http://a/b", "filename": "c.pdf"}],
            [DocumentUrl("http://a/b", media_type="application/pdf")],
        ),
    ],
)
async def test_parts_reach_the_model(parts: list[Any], prompt: Any) -> None:
    model = RecordingModel()
    with anyio.fail_after(10):
        async with served(Agent(model.model)) as here:
            await send(here.http, parts=parts)
            assert prompt_of(model.messages) == prompt


async def test_parts_of_0_3_reach_the_model() -> None:
    model = RecordingModel()
    parts = [
        {"kind": "text", "text": "look"},
        {"kind": "data", "data": {"a": 1}},
        {"kind": "file", "file": {"bytes": RAW, "mimeType": "image/png", "name": "a.png"}},
        {"kind": "file", "file": {"uri": "https://a/b.pdf"}},
    ]
    message = {"role": "user", "messageId": "m", "parts": parts}
    with anyio.fail_after(10):
        async with served(Agent(model.model)) as here:
            await call(here.http, "message/send", {"message": message}, {})
            assert prompt_of(model.messages) == [
                "look",
                '{"a": 1}',
                BinaryContent(BYTES, media_type="image/png"),
                DocumentUrl("https://a/b.pdf", media_type="application/pdf"),
            ]


async def test_context_is_instructions_and_not_what_the_user_said() -> None:
    model = RecordingModel()
    parts = [{"text": "before: a, b", "metadata": {"role": "developer"}}, {"text": "the task"}]
    with anyio.fail_after(10):
        async with served(Agent(model.model, instructions="Be kind.")) as here:
            task = await send(here.http, parts=parts, contextId="s")
            assert prompt_of(model.messages) == "the task"
            instructions = model.info.instructions
            assert instructions is not None
            assert "Be kind." in instructions
            assert "before: a, b" in instructions
            assert await here.events("s") == [("user_message", "the task"), ("agent_response", "ok")]
            assert task["history"][0]["parts"] == parts


async def test_a_task_keeps_the_name_of_a_file_and_not_its_bytes() -> None:
    with anyio.fail_after(10):
        async with served(Agent(RecordingModel().model)) as here:
            task = await send(here.http, parts=[{"raw": RAW, "mediaType": "image/png", "filename": "a.png"}])
            assert task["history"][0]["parts"] == [{"raw": "", "mediaType": "image/png", "filename": "a.png"}]
            assert await call(here.http, "GetTask", {"id": task["id"]}) == task
