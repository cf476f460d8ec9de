"""What our server is compared with: Starlette and Hypercorn around an agent. `python -m benchmarks.bare --help`."""

from __future__ import annotations

import argparse
import asyncio
import gc
import importlib
import json
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from hypercorn.asyncio import serve  # pyright: ignore[reportUnknownVariableType]
from hypercorn.config import Config
from pydantic_ai import Agent
from pydantic_ai.messages import PartDeltaEvent, PartStartEvent, TextPart, TextPartDelta
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route


def chat_route(agent: Agent[Any, str]) -> Callable[[Request], Awaitable[Response]]:
    """Return the least that answers a chat completions request with an agent."""

    async def handle(request: Request) -> Response:
        body = await request.json()
        prompt = body["messages"][-1]["content"]
        if body.get("stream"):
            return StreamingResponse(chunks(prompt), media_type="text/event-stream")
        result = await agent.run(prompt)
        return JSONResponse({"choices": [{"message": {"role": "assistant", "content": result.output}}]})

    async def chunks(prompt: str) -> AsyncIterator[str]:
        async with agent.run_stream_events(prompt) as events:
            async for event in events:
                text = ""
                if isinstance(event, PartStartEvent) and isinstance(event.part, TextPart):
                    text = event.part.content
                elif isinstance(event, PartDeltaEvent) and isinstance(event.delta, TextPartDelta):
                    text = event.delta.content_delta
                if text:
                    yield f"data: {json.dumps({'choices': [{'index': 0, 'delta': {'content': text}}]})}\n\n"
        yield "data: [DONE]\n\n"

    return handle


async def _health(request: Request) -> Response:
    return JSONResponse({"status": "healthy"})


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("agent", help="its module here and its name there: agents:tool_agent")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--frozen", action="store_true", help="gc.freeze() once it has started")
    arguments = parser.parse_args()
    module, _, name = arguments.agent.partition(":")
    agent = getattr(importlib.import_module(f"benchmarks.{module}"), name)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncGenerator[None]:
        if arguments.frozen:
            gc.collect()
            gc.freeze()
        yield

    route = Route("/v1/chat/completions", chat_route(agent), methods=["POST"])
    app: Any = Starlette(routes=[route, Route("/health", _health)], lifespan=lifespan)
    config = Config()
    config.bind = [f"127.0.0.1:{arguments.port}"]
    config.loglevel = "ERROR"
    asyncio.run(serve(app, config))


if __name__ == "__main__":
    main()
