"""Spans that hold much: a collector takes messages of up to 4 MiB over gRPC, and refuses larger ones as a whole."""

from __future__ import annotations

import pytest
from anyio import fail_after, to_thread
from opentelemetry import trace

from pais_sdk import setup_telemetry

from .otlp_receiver import receiver

pytestmark = pytest.mark.anyio
MEGABYTE = 2**20


@pytest.mark.parametrize(
    ("sizes", "arriving"),
    [
        ([MEGABYTE] * 9, [MEGABYTE] * 9),
        ([10, 5 * MEGABYTE, 20], [10, 20]),
    ],
    ids=["many that are too much together", "one that is too much alone"],
)
@pytest.mark.parametrize("letter", ["x", "ä"])
async def test_a_batch_that_is_too_much_for_one_message_costs_no_span_that_is_not(
    sizes: list[int], arriving: list[int], letter: str
) -> None:
    with fail_after(30):
        async with receiver() as otlp:
            telemetry = setup_telemetry(endpoint=otlp.grpc_url, metrics=False, logs=False, keep_traces=0)
            for size in sizes:
                text = letter * (size // len(letter.encode()))
                trace.get_tracer("test").start_span("said", attributes={"text": text}).end()
            await to_thread.run_sync(telemetry.shutdown)
            await otlp.settled()
    assert [len(span.attributes["text"].encode()) for span in otlp.spans] == arriving
