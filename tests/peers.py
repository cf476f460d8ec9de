"""Remote agents of other makes, and ones that misbehave, behind real sockets: `async with peer(kaos_old()) as here`."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from a2a.server.agent_execution import AgentExecutor, RequestContext
from a2a.server.events import EventQueue
from a2a.server.request_handlers import DefaultRequestHandler
from a2a.server.routes import create_jsonrpc_routes
from a2a.server.tasks import InMemoryTaskStore, TaskUpdater
from a2a.types import AgentCapabilities, AgentCard, AgentInterface, Part, Task, TaskState, TaskStatus
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from pais_sdk._listen import listening, open_socket, url_of

NEW_CARD = "/.well-known/agent-card.json"
OLD_CARD = "/.well-known/agent.json"
CHAT = "/v1/chat/completions"


@dataclass(frozen=True)
class Seen:
    """A request that came."""

    method: str
    path: str
    headers: dict[str, str]
    body: Any


Answer = Callable[[Seen], Any]
"""What is said to a request: a Response, or JSON; None for 404."""


@dataclass
class Peer:
    """A remote agent, and what it was asked."""

    url: str
    seen: list[Seen] = field(default_factory=list)

    @property
    def posts(self) -> list[Seen]:
        return [seen for seen in self.seen if seen.method == "POST"]

    @property
    def methods(self) -> list[str]:
        """The JSON-RPC methods that were called."""
        return [seen.body["method"] for seen in self.posts]


@asynccontextmanager
async def peer(answer: Answer) -> AsyncGenerator[Peer]:
    """Answer requests while the block runs."""
    here = Peer("")

    async def handle(request: Request) -> Response:
        body = await request.body()
        seen = Seen(request.method, request.url.path, dict(request.headers), json.loads(body) if body else None)
        here.seen.append(seen)
        said = answer(seen)
        if isinstance(said, Awaitable):
            said = await said
        if said is None:
            return Response("not found", status_code=404)
        # Escaped, so that half a character can be said.
        return said if isinstance(said, Response) else Response(json.dumps(said), media_type="application/json")

    app = Starlette(routes=[Route("/{path:path}", handle, methods=["GET", "POST"])])
    async with listening(app, grace_s=0.1) as here.url:
        yield here


# Answers to build peers of


def at(**answers: Any) -> Answer:
    """Return answers by place: `new_card`, `old_card`, `chat`, `rpc` (POST /); values or functions of the request."""
    places = {NEW_CARD: "new_card", OLD_CARD: "old_card", CHAT: "chat", "/": "rpc"}

    def answer(seen: Seen) -> Any:
        said = answers.get(places.get(seen.path, ""))
        return said(seen) if callable(said) and not isinstance(said, Response) else said

    return answer


def sse(*events: Any, ends: Callable[[], Awaitable[Any]] | None = None) -> Response:
    """Return a stream of events, each text or JSON; at its end `ends` is awaited."""

    async def lines() -> AsyncGenerator[str]:
        for event in events:
            yield f"data: {event if isinstance(event, str) else json.dumps(event)}\n\n"
        if ends is not None:
            await ends()

    return StreamingResponse(lines(), media_type="text/event-stream")


def rpc(seen: Seen, result: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": seen.body["id"], "result": result}


def rpc_error(seen: Seen, code: int, message: str = "no") -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": seen.body["id"], "error": {"code": code, "message": message}}


def card_1_0(url: str = "http://elsewhere.example/", *, streaming: bool = True) -> dict[str, Any]:
    return {
        "name": "newcomer",
        "description": "Speaks 1.0.",
        "supportedInterfaces": [{"url": url, "protocolBinding": "JSONRPC", "protocolVersion": "1.0"}],
        "capabilities": {"streaming": streaming},
        "skills": [{"id": "s", "name": "look", "description": "Looks.", "tags": []}],
    }


def task_1_0(state: str, *texts: str, words: str = "", **more: Any) -> dict[str, Any]:
    """Return a task of A2A 1.0 whose one artifact has these texts."""
    status: dict[str, Any] = {"state": f"TASK_STATE_{state}"}
    if words:
        status["message"] = {"messageId": "m", "role": "ROLE_AGENT", "parts": [{"text": words}]}
    parts = [{"text": text} for text in texts]
    artifacts = [{"artifactId": "a", "parts": parts}] if parts else []
    return {"id": "task-1", "contextId": "context-1", "status": status, "artifacts": artifacts, **more}


def status_1_0(state: str, words: str = "", **metadata: Any) -> dict[str, Any]:
    status = task_1_0(state, words=words)["status"]
    update = {"taskId": "task-1", "contextId": "context-1", "status": status, "metadata": metadata}
    return {"statusUpdate": update}


def piece_1_0(text: str, *, append: bool = True, artifact_id: str = "a") -> dict[str, Any]:
    artifact = {"artifactId": artifact_id, "parts": [{"text": text}]}
    return {"artifactUpdate": {"taskId": "task-1", "contextId": "context-1", "artifact": artifact, "append": append}}


def a2a_1_0(answer: Callable[[Seen], Any], *, streaming: bool = True) -> Answer:
    """Return an agent of A2A 1.0; what `answer` gives is a Response, a JSON-RPC message, or None for an odd method."""
    return at(new_card=card_1_0(streaming=streaming), rpc=lambda seen: answer(seen) or rpc_error(seen, -32601))


# Agents of other makes


def kaos_old() -> Answer:
    """Return an agent as KAOS's were in February 2026: chat completions, and progress as text of the answer."""
    card = {"name": "elder", "description": "An elder.", "capabilities": {"streaming": True}, "skills": []}

    def chat(seen: Seen) -> Any:
        roles = [message["role"] for message in seen.body["messages"]]
        if "user" not in roles:
            return JSONResponse({"detail": "No user or task-delegation message found"}, 400)
        session = seen.headers.get("x-session-id", "session_0123456789ab")
        head = {"id": session, "object": "chat.completion.chunk", "created": 1, "model": "m"}
        step = {"type": "progress", "step": 1, "max_steps": 5, "action": "tool_call", "target": "add"}
        texts = [json.dumps(step), f"elder heard {seen.body['messages'][-1]['content']}"]
        deltas = [{"content": text} for text in texts]
        chunks = [{**head, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]} for delta in deltas]
        last = {**head, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
        return sse(*chunks, last, "[DONE]")

    return at(old_card=card, chat=chat)


def kaos_new() -> Answer:
    """Return an agent as KAOS's are since spring 2026: its own dialect of A2A, and a card that says localhost."""
    card = {
        "name": "cousin",
        "description": "A cousin.",
        "url": "http://localhost:8000",
        "protocolVersion": "0.3.0",
        "supportedProtocols": ["jsonrpc"],
        "capabilities": {"streaming": True, "stateTransitionHistory": True},
        "skills": [{"id": "a", "name": "a", "description": "", "tags": []}],
    }

    def answer(seen: Seen) -> Any:
        assert seen.body["method"] == "SendMessage"
        assert "a2a-version" not in seen.headers
        parts = seen.body["params"]["message"]["parts"]
        assert {part["type"] for part in parts} == {"text"}
        said = {"role": "agent", "parts": [{"type": "text", "text": f"cousin heard {parts[-1]['text']}"}]}
        task = {
            "id": "task_0123456789ab",
            "sessionId": seen.body["params"].get("contextId", "session_1"),
            "status": {"state": "completed", "timestamp": "2026-06-01T00:00:00Z", "message": "done"},
            "history": [{"role": "user", "parts": parts}, said],
            "artifacts": [],
            "metadata": {},
            "events": [],
            "autonomous": False,
            "output": "",
        }
        return rpc(seen, task)

    return at(old_card=card, rpc=answer)


class Listener(AgentExecutor):
    """Says what it heard, in two pieces; waits at the gate between them, and tells when it was cancelled there."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.gate.set()
        self.said_first = asyncio.Event()
        self.cancelled = asyncio.Event()
        self.heard: list[Any] = []

    async def execute(self, context: RequestContext, event_queue: EventQueue) -> None:
        assert context.task_id is not None
        assert context.context_id is not None
        assert context.message is not None
        self.heard.append(context.message)
        updater = TaskUpdater(event_queue, context.task_id, context.context_id)
        submitted = TaskStatus(state=TaskState.TASK_STATE_SUBMITTED)
        await event_queue.enqueue_event(Task(id=context.task_id, context_id=context.context_id, status=submitted))
        await updater.start_work()
        await updater.add_artifact([Part(text="official ")], artifact_id="answer", append=False)
        self.said_first.set()
        try:
            await self.gate.wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        heard = context.message.parts[-1].text
        await updater.add_artifact([Part(text=f"heard {heard}")], artifact_id="answer", append=True, last_chunk=True)
        await updater.complete()

    async def cancel(self, context: RequestContext, event_queue: EventQueue) -> None:
        assert context.task_id is not None
        assert context.context_id is not None
        self.cancelled.set()
        await TaskUpdater(event_queue, context.task_id, context.context_id).cancel()


@asynccontextmanager
async def official(listener: Listener, *, version: str, streaming: bool) -> AsyncGenerator[Peer]:
    """Serve an agent of the official library, whose card names one version of A2A."""
    listener_socket = open_socket("127.0.0.1", 0)
    url = url_of(listener_socket)
    listener_socket.close()
    interface = AgentInterface(url=f"{url}/", protocol_binding="JSONRPC", protocol_version="1.0")
    capabilities = AgentCapabilities(streaming=streaming)
    card = AgentCard(
        name="official",
        description="d",
        version="1",
        capabilities=capabilities,
        supported_interfaces=[interface],
        default_input_modes=["text/plain"],
        default_output_modes=["text/plain"],
    )
    old = {
        "name": "official",
        "description": "d",
        "url": f"{url}/",
        "preferredTransport": "JSONRPC",
        "protocolVersion": "0.3.0",
        "capabilities": {"streaming": streaming},
        "skills": [],
    }
    shown = card_1_0(f"{url}/", streaming=streaming) if version == "1.0" else old
    handler = DefaultRequestHandler(agent_executor=listener, task_store=InMemoryTaskStore(), agent_card=card)

    async def show(request: Request) -> Response:
        return JSONResponse(shown)

    routes = [Route(NEW_CARD, show), *create_jsonrpc_routes(handler, "/", enable_v0_3_compat=True)]
    async with listening(Starlette(routes=routes), port=int(url.rpartition(":")[2]), grace_s=0.1) as here:
        yield Peer(here)


# Peers that misbehave below HTTP


@asynccontextmanager
async def raw_peer(behave: Callable[[bytes, asyncio.StreamWriter], Awaitable[None]]) -> AsyncGenerator[Peer]:
    """Let `behave` do what it likes with each request's bytes and its connection, which is cut when it returns."""
    here = Peer("")
    tasks: set[asyncio.Task[Any]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            request = await reader.readuntil(b"\r\n\r\n")
            line, *rest = request.decode("latin-1").split("\r\n")
            headers = {name.lower(): value for name, _, value in (item.partition(": ") for item in rest if item)}
            body = await reader.readexactly(int(headers.get("content-length", 0)))
            method, path, _ = line.split(" ")
            here.seen.append(Seen(method, path, headers, json.loads(body) if body else None))
            await behave(request, writer)
        except asyncio.IncompleteReadError:
            pass
        finally:
            tasks.discard(task)
            writer.transport.abort()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    here.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield here
    finally:
        server.close()
        for task in [*tasks]:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def says(writer: asyncio.StreamWriter, status: str, content_type: str, chunks: Iterable[bytes]) -> None:
    """Write an answer of HTTP whose end is never said."""
    writer.write(f"HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nContent-Length: 1000000000\r\n\r\n".encode())
    for chunk in chunks:
        writer.write(chunk)
        await writer.drain()


def unused_url() -> str:
    """Return a URL where nobody listens."""
    listener = open_socket("127.0.0.1", 0)
    url = url_of(listener)
    listener.close()
    return url
