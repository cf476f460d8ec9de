"""Send much of what fits the description of the API, and of what does not, and check every answer against it.

    python -m benchmarks.fuzz [--examples 1000] [--seed 7] [--operation createChatCompletion]

The tests send a little of the same in `tests/test_openapi_fuzz.py`. The first answer that is not described ends it.
"""

from __future__ import annotations

import argparse
import random
import time
from tempfile import TemporaryDirectory

from hypothesis.configuration import set_hypothesis_home_dir
from schemathesis import GenerationMode

from pais_sdk.server.openapi.operations import OPERATIONS
from tests.test_openapi_fuzz import BREAKABLE, CREDENTIALS, fuzzed, send


def main() -> None:
    """Send, and print how many answers came of each status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--examples", type=int, default=1000, help="requests of each kind to each operation")
    parser.add_argument("--seed", type=int, default=random.getrandbits(32), help="to repeat a run")
    parser.add_argument("--operation", choices=[operation.id for operation in OPERATIONS], help="only this one")
    options = parser.parse_args()
    print(f"--seed {options.seed}")
    with TemporaryDirectory() as folder:
        set_hypothesis_home_dir(folder)
        for operation in OPERATIONS:
            if options.operation in (None, operation.id):
                fuzz(operation.id, options.examples, options.seed)


def fuzz(operation_id: str, examples: int, seed: int) -> None:
    """Send all kinds of requests to one operation."""
    for credentials in ("none", "right", "wrong"):
        for mode in GenerationMode:
            if mode is GenerationMode.NEGATIVE and operation_id not in BREAKABLE:
                continue
            began = time.monotonic()
            with fuzzed(operation_id, keys=credentials != "none") as described:
                seen = send(described, mode, CREDENTIALS[credentials], examples=examples, random=seed)
            answers = ", ".join(f"{status}: {count}" for status, count in sorted(seen.items()))
            took = f"{time.monotonic() - began:.0f} s"
            print(f"{operation_id}, {mode.value}, key: {credentials}: {answers} ({took})", flush=True)


if __name__ == "__main__":
    main()
