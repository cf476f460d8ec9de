"""A2A over real sockets, for the tests of the endpoint: plain JSON, and the official client in two versions."""

from __future__ import annotations

import json
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from importlib import import_module
from typing import Any

import httpx
from a2a.client import A2ACardResolver, Client, ClientConfig, ClientFactory
from a2a.types.a2a_pb2 import Message, Part, Role, SendMessageRequest, StreamResponse, TaskState

import_module("pais_sdk.server.a2a.service")  # here, so that no request of a test waits until it is loaded

CORE = {"A2A-Version": "1.0"}
DONE = "TASK_STATE_COMPLETED"


def message(text: str = "hi", **fields: Any) -> dict[str, Any]:
    """Return the params of a message of A2A 1.0; `fields` go into the message."""
    parts = fields.pop("parts", [{"text": text}])
    return {"message": {"role": "ROLE_USER", "messageId": uuid.uuid4().hex, "parts": parts, **fields}}


async def post(http: httpx.AsyncClient, method: str, params: Any, headers: Mapping[str, str] = CORE) -> httpx.Response:
    request = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
    # Escaped, so that a test may send half a character.
    return await http.post("/", content=json.dumps(request), headers={"Content-Type": "application/json", **headers})


async def call(http: httpx.AsyncClient, method: str, params: Any, headers: Mapping[str, str] = CORE) -> Any:
    """Return the result of a call."""
    answer = await post(http, method, params, headers)
    assert answer.status_code == 200, answer.text
    told = answer.json()
    assert (told["jsonrpc"], told["id"]) == ("2.0", 1)
    assert "error" not in told, told
    return told["result"]


async def error(http: httpx.AsyncClient, method: str, params: Any, headers: Mapping[str, str] = CORE) -> dict[str, Any]:
    """Return the error of a call, which must be one of A2A: with its reason."""
    answer = await post(http, method, params, headers)
    return error_in(answer)


def error_in(answer: httpx.Response) -> dict[str, Any]:
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/json"
    told = answer.json()
    assert "result" not in told
    found = told["error"]
    assert found["message"]
    assert found["data"][0]["@type"] == "type.googleapis.com/google.rpc.ErrorInfo"
    assert found["data"][0]["reason"].isupper()
    return found


async def send(http: httpx.AsyncClient, text: str = "hi", *, headers: Mapping[str, str] = {}, **fields: Any) -> Any:
    """Send a message in 1.0, wait for the end, and return the task."""
    return (await call(http, "SendMessage", message(text, **fields), {**CORE, **headers}))["task"]


async def begin(http: httpx.AsyncClient, text: str = "hi", **fields: Any) -> Any:
    """Send a message in 1.0 and return the task as it is at once."""
    params = {**message(text, **fields), "configuration": {"returnImmediately": True}}
    return (await call(http, "SendMessage", params))["task"]


@asynccontextmanager
async def streaming(
    http: httpx.AsyncClient, method: str, params: Any, headers: Mapping[str, str] = CORE
) -> AsyncGenerator[AsyncIterator[Any]]:
    """Give the results of a stream, as they come."""
    request = {"jsonrpc": "2.0", "id": 7, "method": method, "params": params}
    async with http.stream("POST", "/", json=request, headers=headers) as answer:
        assert answer.status_code == 200
        assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
        yield _results(answer)


async def _results(answer: httpx.Response) -> AsyncIterator[Any]:
    async for line in answer.aiter_lines():
        if line.startswith("data: "):
            told = json.loads(line[6:])
            assert (told["jsonrpc"], told["id"]) == ("2.0", 7)
            yield told["result"]


async def stream(http: httpx.AsyncClient, text: str = "hi", **fields: Any) -> list[Any]:
    """Send a message in 1.0 and return all that is streamed."""
    async with streaming(http, "SendStreamingMessage", message(text, **fields)) as results:
        return [result async for result in results]


def pieces(results: Sequence[Any]) -> list[str]:
    """Return the texts of the artifact updates among streamed results."""
    updates = (result["artifactUpdate"] for result in results if "artifactUpdate" in result)
    return ["".join(part.get("text", "") for part in update["artifact"]["parts"]) for update in updates]


def text_of(task: Any) -> str:
    """Return the text of a task's one artifact, which must be one part."""
    (artifact,) = task["artifacts"]
    (part,) = artifact["parts"]
    return part["text"]


def said(task: Any) -> str:
    """Return what the status says."""
    return "".join(part["text"] for part in task["status"]["message"]["parts"])


@asynccontextmanager
async def client_of(
    url: str, version: str, *, streams: bool = True, at_once: bool = False, headers: Mapping[str, str] = {}
) -> AsyncGenerator[Client]:
    """Give the official client of a server, in the version of the card that it reads."""
    async with httpx.AsyncClient(timeout=5, headers=dict(headers)) as http:
        path = {"1.0": ".well-known/agent-card.json", "0.3": ".well-known/agent.json"}[version]
        card = await A2ACardResolver(http, url).get_agent_card(path)
        assert {interface.protocol_version[:3] for interface in card.supported_interfaces} == {version}
        config = ClientConfig(httpx_client=http, streaming=streams, polling=at_once)
        yield ClientFactory(config).create(card)


def asks(text: str, **fields: Any) -> SendMessageRequest:
    """Return a message for the official client."""
    sent = Message(message_id=uuid.uuid4().hex, role=Role.ROLE_USER, parts=[Part(text=text)], **fields)
    return SendMessageRequest(message=sent)


async def heard(events: AsyncIterator[StreamResponse]) -> list[StreamResponse]:
    return [event async for event in events]


def state_name(state: int) -> str:
    return TaskState.Name(state)  # pyright: ignore[reportArgumentType]
