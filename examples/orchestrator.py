"""An agent that delegates to two others, each a process of its own: `python examples/orchestrator.py`.

The models are mocks; with MODEL_API_URL and MODEL_NAME in the environment the three agents use a real one.
"""

import argparse
import asyncio
import os
import re
import signal
import sys
from contextlib import AsyncExitStack

from pydantic_ai import Agent

from pais_sdk import mock_model

orchestrator = Agent(
    mock_model(
        [
            {
                "tool_calls": [
                    {"name": "delegate_to_researcher", "arguments": {"task": "What makes the tides?"}},
                    {"name": "delegate_to_writer", "arguments": {"task": "A first line about the sea, please."}},
                ]
            },
            "The sea breathes twice a day. It is the Moon that makes it: its pull raises the water on both sides of "
            "the Earth.",
        ]
    ),
    name="orchestrator",
    instructions="Let the researcher find out what is true and the writer word it; ask both at once where you can.",
)

researcher = Agent(
    mock_model(
        [
            {"tool_calls": [{"name": "look_up", "arguments": {"topic": "tides"}}]},
            "The Moon's pull raises the water on both sides of the Earth.",
        ]
    ),
    name="researcher",
    description="Finds out what is true",
    instructions="Look up what you are asked for, and answer in one sentence.",
)

writer = Agent(
    mock_model(["The sea breathes twice a day."]),
    name="writer",
    description="Finds words that people like to read",
    instructions="Answer in one sentence, and let it be a pleasure.",
)


@researcher.tool_plain
def look_up(topic: str) -> str:
    """Look something up.

    Args:
        topic: One word.
    """
    facts = {"tides": "The Moon attracts the near side of the Earth more than its middle, and the far side less."}
    return facts.get(topic, f"nothing is known about {topic!r}")


async def started(stack: AsyncExitStack, name: str, port: int, **environment: str) -> str:
    """Serve one of the agents as a process that ends with the stack; returns its URL when it listens."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "pais_sdk.serve", f"{__file__}:{name}", "--port", str(port)),
        env={**os.environ, **environment},
        stderr=asyncio.subprocess.PIPE,
    )
    url = asyncio.get_running_loop().create_future()

    async def pass_on_its_log() -> None:
        assert process.stderr is not None
        while line := (await process.stderr.readline()).decode():
            print(f"[{name}] {line}", end="", file=sys.stderr, flush=True)
            if not url.done() and (found := re.search(r"listens on (http://\S+)", line)):
                url.set_result(found[1])
        if not url.done():
            url.set_exception(SystemExit(1))  # it has said why

    async def ended() -> None:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
        await log
        await process.wait()

    log = asyncio.create_task(pass_on_its_log())
    stack.push_async_callback(ended)
    return await url


async def main(port: int) -> None:
    """Serve all three until a signal comes, the workers at the next ports."""
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with AsyncExitStack() as stack:
        names = ("researcher", "writer")
        starting = [started(stack, name, port and port + place) for place, name in enumerate(names, start=1)]
        urls = await asyncio.gather(*starting)
        workers = f"researcher:{urls[0]},writer:{urls[1]}"
        url = await started(stack, "orchestrator", port, AGENT_SUB_AGENTS=workers)
        print(WHAT_TO_TRY.format(url=url, researcher=urls[0], workers=workers), flush=True)
        await stop.wait()


WHAT_TO_TRY = """
The orchestrator has AGENT_SUB_AGENTS={workers}

Ask, and see both workers being asked at once:
  curl -N {url}/v1/chat/completions -H 'Content-Type: application/json' \\
    -d '{{"stream": true, "messages": [{{"role": "user", "content": "Tell me about the tides"}}]}}'
What happened, as the orchestrator tells it, and as the researcher does:
  curl {url}/memory/events
  curl {researcher}/memory/events
The card of the orchestrator:
  curl {url}/.well-known/agent.json

Ctrl-C ends all three.
"""


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=8000, help="the orchestrator's; 0 for three that are free")
    asyncio.run(main(parser.parse_args().port))
