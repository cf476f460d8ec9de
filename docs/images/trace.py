"""Draws docs/images/trace.svg: the trace of a run with two tools and a delegation, as it was recorded.

    python docs/images/trace.py [file]

The models are stand-ins that take their time; everything else is real, also the worker's server on a socket.
"""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from html import escape
from pathlib import Path

from pydantic_ai import Agent
from pydantic_ai.messages import ModelMessage, ModelResponse, TextPart, ToolCallPart
from pydantic_ai.models.function import AgentInfo, FunctionModel

from pais_sdk import AgentRuntime, DelegationToolset, RemoteAgent, RunTrace, serve, setup_telemetry
from pais_sdk.traces.groups import COLOURS, group_of
from pais_sdk.traces.tree import TreeRow, tree_of
from pais_sdk.traces.words import label_of, time_of, tokens_of

WIDTH, ROW, LEFT, BAR, TIMES = 880, 24, 330, 320, 720


def model(name: str, *responses: ModelResponse) -> FunctionModel:
    """Return a model that gives these responses in turn."""

    async def answer(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
        await asyncio.sleep(0.12)
        return responses[sum(isinstance(message, ModelResponse) for message in messages)]

    async def stream(messages: list[ModelMessage], info: AgentInfo) -> AsyncIterator[str]:
        for part in (await answer(messages, info)).parts:
            if isinstance(part, TextPart):
                yield part.content

    return FunctionModel(answer, stream_function=stream, model_name=name)


worker = Agent(
    model("small-model", ModelResponse([TextPart("Bern is the warmer one, by three degrees.")])),
    name="worker",
    description="Compares numbers.",
)
orchestrator = Agent(
    model(
        "large-model",
        ModelResponse([ToolCallPart("weather", {"city": "Bern"}), ToolCallPart("weather_archive", {"city": "Oslo"})]),
        ModelResponse([ToolCallPart("delegate_to_worker", {"task": "Compare 21 and 18 degrees."})]),
        ModelResponse([TextPart("Bern is warmer than Oslo, by three degrees.")]),
    ),
    name="orchestrator",
)


@orchestrator.tool_plain
async def weather(city: str) -> str:
    """Tell the weather now."""
    await asyncio.sleep(0.05)
    return f"{city}: 21 degrees"


@orchestrator.tool_plain
async def weather_archive(city: str) -> str:
    """Tell the weather of yesterday."""
    await asyncio.sleep(0.09)
    return f"{city}: 18 degrees"


async def recorded() -> RunTrace:
    """Run the orchestrator, whose worker is served in another place, and return the trace."""
    async with serve(worker).running(port=0) as url, AsyncExitStack() as stack:
        runtime = AgentRuntime(
            orchestrator, toolsets=[DelegationToolset({"worker": RemoteAgent(url, protocol="chat")})]
        )
        await stack.enter_async_context(runtime)
        await runtime.run("Where is it warmer?")  # for the connections, and whatever else is made once
        outcome = await runtime.run("Where is it warmer, in Bern or in Oslo?")
    if outcome.trace is None:
        raise SystemExit("telemetry is switched off by the environment")
    return outcome.trace


def svg(rows: list[TreeRow]) -> str:
    """Return the picture of a trace."""
    began = min(row.span.start_ns for row in rows)
    length = max((row.span.end_ns or began) - began for row in rows)
    height = ROW * (len(rows) + 2)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img">',
        "<title>The trace of a run with two tools and a delegation</title>",
        "<style>text{font:13px system-ui,sans-serif;fill:#1f2328}.back{fill:#fff}.line{fill:#8883}",
        "@media(prefers-color-scheme:dark){text{fill:#e6edf3}.back{fill:#0d1117}}</style>",
        f'<rect class="back" width="{WIDTH}" height="{height}"/>',
    ]
    for number, row in enumerate(rows):
        span, top = row.span, number * ROW + ROW // 2
        left = (span.start_ns - began) / length * BAR
        width = max(((span.end_ns or began) - span.start_ns) / length * BAR, 2)
        parts += [
            f'<text x="{12 + row.depth * 16}" y="{top + 16}">{escape(label_of(span))}</text>',
            f'<rect class="line" x="{LEFT}" y="{top + 7}" width="{BAR}" height="10"/>',
            f'<rect x="{LEFT + min(left, BAR - width):.1f}" y="{top + 7}" width="{width:.1f}" height="10" rx="2" '
            f'fill="{COLOURS[group_of(span)]}"/>',
            f'<text x="{TIMES}" y="{top + 16}" text-anchor="end">{time_of(span)}</text>',
            f'<text x="{TIMES + 16}" y="{top + 16}">{tokens_of(span)}</text>',
        ]
    for number, group in enumerate(dict.fromkeys(group_of(row.span) for row in rows)):
        left, top = 12 + number * 110, ROW * (len(rows) + 1)
        parts.append(f'<rect x="{left}" y="{top}" width="12" height="12" rx="2" fill="{COLOURS[group]}"/>')
        parts.append(f'<text x="{left + 18}" y="{top + 11}">{group}</text>')
    return "\n".join([*parts, "</svg>", ""])


def main() -> None:
    """Run it, and draw it."""
    file = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).with_suffix(".svg")
    with setup_telemetry("orchestrator"):
        trace = asyncio.run(recorded())
    print(trace)
    file.write_text(svg(tree_of(trace.spans, trace.span_id)))


if __name__ == "__main__":
    main()
