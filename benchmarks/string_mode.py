"""What string mode costs: CPU per streamed chunk against native mode, and a megabyte of nasty text.

    python -m benchmarks.string_mode [--rounds 15]

The ratio is of two runtimes that stream the same text, of an agent with tools, one after the other in each round; it
should be at most 1.3. A megabyte is read at once, and in pieces of 4 characters; a table says what a tenth of it takes,
too, ten times as long being linear.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import statistics
import time
from collections.abc import AsyncIterator

from pydantic_ai import Agent, Tool
from pydantic_ai.messages import ModelMessage
from pydantic_ai.models.function import AgentInfo, FunctionModel

from pais_sdk import AgentRuntime
from pais_sdk.models import StringModeModel
from pais_sdk.models.string_mode.scanner import Scanner

from .agents import QUESTION

CHUNKS = 500
MEGABYTE = 1_000_000
AIM = 1.3
CALL = '{"name": "add", "arguments": {"a": 1}}'
NASTY = {
    "prose": "some words of an answer, ",
    "all `{`": "{",
    'all `"`': '"',
    "all backticks": "`",
    "fences": "```json\n{",
    '`{"name":`': '{"name":',
    '`{"arguments":`': '{"arguments":',
    '`{"`': '{"',
    "lists in a call": '{"tool_calls":[[',
    "calls": CALL,
    "calls in an object": f'{{"a":[{CALL},',
    "a call without an end": '{"name": "add", "arguments": {"text": "' + '\\"x' * (MEGABYTE // 3),
}


async def _words(messages: list[ModelMessage], info: AgentInfo) -> AsyncIterator[str]:
    for _ in range(CHUNKS):
        yield "word "


async def _braces(messages: list[ModelMessage], info: AgentInfo) -> AsyncIterator[str]:
    for _ in range(CHUNKS // 2):
        yield '{"a": '
        yield '"b"},'


async def _add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


def _agent(model: FunctionModel) -> Agent[None, str]:
    return Agent(model, name="bench", tools=[Tool(_add, name=f"add_{number}") for number in range(5)])


async def _cpu_s(runtime: AgentRuntime[str]) -> float:
    gc.collect()
    began = time.process_time()
    async with runtime.stream(QUESTION) as events:
        async for _ in events:
            pass
    return (time.process_time() - began) / CHUNKS


async def compare(model: FunctionModel, rounds: int) -> tuple[float, float, list[float]]:
    """Return the CPU seconds of a chunk, native and in string mode, and the ratios of the rounds."""
    agent = _agent(model)
    native, string = AgentRuntime(agent), AgentRuntime(agent, model=StringModeModel(model))
    found: list[tuple[float, float]] = []
    async with native, string:
        for number in range(rounds + 1):
            if number % 2:
                second, first = await _cpu_s(string), await _cpu_s(native)
            else:
                first, second = await _cpu_s(native), await _cpu_s(string)
            found.append((first, second))
    kept = found[1:]  # the first warms up
    middle = [statistics.median(values) for values in zip(*kept, strict=True)]
    return middle[0], middle[1], [second / first for first, second in kept]


def read_s(text: str, size: int) -> float:
    """Return the CPU seconds that it takes to read a text in pieces of this size."""
    scanner = Scanner(["add"])
    began = time.process_time()
    for at in range(0, len(text), size):
        scanner.feed(text[at : at + size])
    scanner.finish()
    return time.process_time() - began


def main() -> None:
    """Measure, and print two tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    arguments = parser.parse_args()
    print("| chunks | native, us | string mode, us | ratio: min | median | max | aim |")
    print("|---|---|---|---|---|---|---|")
    for name, stream in (("words", _words), ("JSON that is no call", _braces)):
        model = FunctionModel(stream_function=stream, model_name="bench")
        native, string, ratios = asyncio.run(compare(model, arguments.rounds))
        low, middle, high = min(ratios), statistics.median(ratios), max(ratios)
        print(
            f"| {name} | {native * 1e6:.0f} | {string * 1e6:.0f} | {low:.2f} | {middle:.2f} | {high:.2f} | {AIM:.2f} |"
        )
    print("\n| 1 MB of | at once, s | in fours, s | 0.1 MB in fours, s |")
    print("|---|---|---|---|")
    for name, unit in NASTY.items():
        text = (unit * (MEGABYTE // len(unit) + 1))[:MEGABYTE]
        times = read_s(text, MEGABYTE), read_s(text, 4), read_s(text[: MEGABYTE // 10], 4)
        print(f"| {name} | {' | '.join(f'{seconds:.2f}' for seconds in times)} |")


if __name__ == "__main__":
    main()
