"""What telemetry costs a run and a streamed chunk, on and off.

    python -m benchmarks.telemetry [--rounds 30]

Two processes run the same agent without a server, one with telemetry, which exports to a collector in a third over
gRPC, and one without. They are asked in turns for a few runs at a time; all is CPU time of the whole process, what is
exported at once included. What off costs is the ratio of runs without telemetry to runs out of which all calls of ours
to OpenTelemetry's API are taken, in the same process. A chunk costs the difference of a long stream and a short one.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from .ratios import Ratios, Row
from .traced import Work

TURNS, RUNS, PAIRS = 3, 30, 120
SHORT, LONG = 100, 1600
OFF_AIM, ON_AIM, CHUNK_AIM = 1.02, 1.5, 1.1
_ROOT = Path(__file__).parent.parent
_COLLECTOR = [sys.executable, "-m", "tests.otlp_process"]

Ask = Callable[[Work], list[float]]


@contextmanager
def asked(*arguments: str) -> Generator[Ask]:
    """Start a process that works on demand."""
    command = [sys.executable, "-m", "benchmarks.traced", *arguments]
    process = subprocess.Popen(command, cwd=_ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin is not None
    assert process.stdout is not None
    stdin, stdout = process.stdin, process.stdout

    def ask(work: Work) -> list[float]:
        stdin.write(f"{work.line()}\n")
        stdin.flush()
        return json.loads(stdout.readline())

    try:
        yield ask
    finally:
        stdin.close()
        process.wait(20)


@contextmanager
def collector() -> Generator[str]:
    """Start a collector and give its URL for gRPC."""
    process = subprocess.Popen(_COLLECTOR, cwd=_ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin is not None
    assert process.stdout is not None
    stdout = process.stdout

    def drop() -> None:
        for _ in stdout:
            pass

    urls = json.loads(stdout.readline())
    dropping = threading.Thread(target=drop)
    dropping.start()
    try:
        yield urls["grpc"]
    finally:
        process.stdin.close()
        process.wait(20)
        dropping.join()


def one_round(off: Ask, on: Ask, *, backwards: bool) -> dict[str, float]:
    """Return the CPU seconds of a run and of a chunk, by who made them."""
    found: dict[str, float] = defaultdict(float)
    sides = [("off", off), ("on", on)][:: -1 if backwards else 1]
    for _ in range(TURNS):
        for name, ask in sides:
            found[f"run, {name}"] += sum(ask(Work(times=RUNS)))
            found[f"alone, {name}"] += sum(ask(Work(times=RUNS, alone=True)))
        for name, ask in sides:
            found[f"chunk, {name}"] += _chunk_s(ask)
    found["run, as it is"], found["run, bare"] = off(Work(times=PAIRS, bare=True))
    return found


def _chunk_s(ask: Ask) -> float:
    (long,), (short,) = (ask(Work(times=1, chunks=chunks)) for chunks in (LONG, SHORT))
    return (long - short) / (LONG - SHORT)


def measure(rounds: int) -> Ratios:
    """Return all figures; the first round warms up and does not count."""
    ratios = Ratios()
    with ExitStack() as stack:
        endpoint = stack.enter_context(collector())
        off, on = stack.enter_context(asked()), stack.enter_context(asked("--endpoint", endpoint))
        for number in range(rounds + 1):
            found = one_round(off, on, backwards=number % 2 == 1)
            if number:
                _add(ratios, found)
    return ratios


def _add(ratios: Ratios, found: dict[str, float]) -> None:
    run, chunk = found["run, off"], found["chunk, off"]
    ratios.add(Row("CPU of a run: us", "off"), run / TURNS * 1e6)
    ratios.add(
        Row("CPU of a run, over one without our calls", "off", OFF_AIM), found["run, as it is"] / found["run, bare"]
    )
    ratios.add(Row("CPU of a run, over off", "on", ON_AIM), found["run, on"] / run)
    ratios.add(Row("CPU of a run, over off", "on, agent.run alone"), found["alone, on"] / found["alone, off"])
    ratios.add(Row("CPU of a chunk: us", "off"), chunk / TURNS * 1e6)
    ratios.add(Row("CPU of a chunk, over off", "on", CHUNK_AIM), found["chunk, on"] / chunk)


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.telemetry",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--rounds", type=int, default=30, help="rounds after the first, which warms up (default: 30)")
    options = parser.parse_args()
    began = time.monotonic()
    ratios = measure(options.rounds)
    print(ratios.table())
    print(f"\n{options.rounds} rounds of {TURNS} turns, {time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main()
