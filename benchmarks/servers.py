"""The servers that are compared: the agent behind a bare route, and behind pais_sdk. Run as a process each."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from typing import Any

from hypercorn.asyncio import serve as hypercorn_serve  # pyright: ignore[reportUnknownVariableType]
from hypercorn.config import Config
from pydantic_ai import Agent
from pydantic_ai.messages import ModelMessage, ModelResponse, PartDeltaEvent, PartStartEvent, TextPart, TextPartDelta
from pydantic_ai.models.function import AgentInfo, FunctionModel
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

CHUNKS = 200


async def _whole(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
    return ModelResponse([TextPart("An answer of a few words.")])


async def _pieces(messages: list[ModelMessage], info: AgentInfo) -> AsyncIterator[str]:
    for _ in range(CHUNKS):
        yield "word "


agent = Agent(FunctionModel(_whole, stream_function=_pieces, model_name="bench"), name="bench")


async def _bare(request: Request) -> Response:
    body = await request.json()
    prompt = body["messages"][-1]["content"]
    if not body.get("stream"):
        result = await agent.run(prompt)
        return JSONResponse({"choices": [{"message": {"role": "assistant", "content": result.output}}]})

    async def chunks() -> AsyncIterator[str]:
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

    return StreamingResponse(chunks(), media_type="text/event-stream")


def main(kind: str, port: int) -> None:
    """Serve until the process is ended."""
    app: Any
    if kind == "bare":
        app = Starlette(routes=[Route("/v1/chat/completions", _bare, methods=["POST"])])
    else:
        from pais_sdk import Settings, serve

        app = serve(agent, settings=Settings())
    config = Config()
    config.bind = [f"127.0.0.1:{port}"]
    config.loglevel = "ERROR"
    asyncio.run(hypercorn_serve(app, config))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
