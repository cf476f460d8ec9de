"""Pydantic AI's own adapters for user interfaces keep their conversations in our memories."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic_ai.messages import ModelRequest, TextPart
from pydantic_ai.ui.ag_ui import AGUIAdapter
from pydantic_ai.ui.vercel_ai import VercelAIAdapter
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from pais_sdk import LocalMemory
from pais_sdk.memory import Memory, SQLiteMemory

from .agents import echo_agent, user_texts

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["local", "sqlite", "view"])
async def memory(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncGenerator[Memory]:
    async with SQLiteMemory(tmp_path / "pais.db") if request.param == "sqlite" else LocalMemory() as memory:
        yield memory.scoped("alice") if request.param == "view" else memory


def client_of(adapter: Any, memory: Memory) -> httpx.AsyncClient:
    """Return a client of an application that serves an agent with an adapter, for the user alice."""

    async def chat(request: Request) -> Response:
        return await adapter.dispatch_request(
            request, agent=echo_agent(), conversation_store=memory, conversation_scope="alice"
        )

    app = Starlette(routes=[Route("/", chat, methods=["POST"])])
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://agent")


def vercel_message(number: int, text: str) -> dict[str, Any]:
    return {"id": f"m{number}", "role": "user", "parts": [{"type": "text", "text": text}]}


def vercel_request(number: int, text: str) -> dict[str, Any]:
    return {"trigger": "submit-message", "id": "c", "messages": [vercel_message(number, text)]}


def ag_ui_request(number: int, text: str) -> dict[str, Any]:
    message = {"id": f"m{number}", "role": "user", "content": text}
    request = {"threadId": "c", "runId": f"r{number}", "messages": [message]}
    return {**request, "state": {}, "tools": [], "context": [], "forwardedProps": {}}


@pytest.mark.parametrize(
    ("adapter", "request_of"),
    [(VercelAIAdapter, vercel_request), (AGUIAdapter, ag_ui_request)],
    ids=["vercel", "ag-ui"],
)
async def test_a_conversation_goes_on_in_the_next_request(memory: Memory, adapter: Any, request_of: Any) -> None:
    async with client_of(adapter, memory) as client:
        for number, text in enumerate(["one", "two"]):
            answer = await client.post("/", json=request_of(number, text))
            assert answer.status_code == 200
            assert "error" not in answer.text.lower()
            assert f"({2 * number + 1})" in answer.text
    conversation = await memory.load("c", scope="alice")
    assert conversation is not None
    assert user_texts(conversation.messages) == ["one", "two"]
    assert [event.event_type for event in await memory.get_events("c")] == ["user_message", "agent_response"] * 2


async def test_a_turn_that_is_edited_leaves_the_old_one_as_a_branch(memory: Memory) -> None:
    async with client_of(VercelAIAdapter, memory) as client:
        for number, text in enumerate(["one", "two"]):
            await client.post("/", json=vercel_request(number, text))
        conversation = await memory.load("c")
        assert conversation is not None
        messages = VercelAIAdapter.dump_messages(conversation.messages)
        again = {
            "trigger": "regenerate-message",
            "id": "c",
            "messageId": messages[-1].id,
            "messages": [json.loads(message.model_dump_json(by_alias=True)) for message in messages[:-1]],
        }
        answer = await client.post("/", json=again)
        assert answer.status_code == 200
        assert "error" not in answer.text.lower()
    regenerated = await memory.load("c")
    record = await memory.read_record("c")
    assert regenerated is not None
    assert record is not None
    assert user_texts(regenerated.messages) == ["one", "two"]
    assert regenerated.messages[:2] == conversation.messages[:2]  # what the user said is sent again, too
    assert len(record.branches) == 1
    left = [entry.message for entry in await memory.read_history(record.branches[0])]
    assert left == conversation.messages
    assert isinstance(left[0], ModelRequest)
    assert isinstance(left[-1].parts[0], TextPart)


async def test_a_conversation_of_another_user_is_not_found(memory: Memory) -> None:
    async with client_of(VercelAIAdapter, memory) as client:
        await client.post("/", json=vercel_request(0, "one"))

    async def chat(request: Request) -> Response:
        return await VercelAIAdapter[None, str].dispatch_request(
            request, agent=echo_agent(), conversation_store=memory, conversation_scope="bob"
        )

    app = Starlette(routes=[Route("/", chat, methods=["POST"])])
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://agent") as client:
        answer = await client.post("/", json=vercel_request(1, "two"))
    assert answer.status_code == 404
