"""The trace that a request belongs to, as its headers say."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping
from contextlib import contextmanager

from opentelemetry import context, propagate

_CARRIERS = (b"traceparent", b"tracestate", b"baggage")


@contextmanager
def continued_trace(headers: Iterable[tuple[bytes, bytes]]) -> Generator[None]:
    """Let what the block does, and the tasks that it starts, belong to the trace of the request's headers."""
    carrier = _carrier(headers)
    if not carrier:
        yield
        return
    token = context.attach(propagate.extract(carrier))
    try:
        yield
    finally:
        context.detach(token)


def _carrier(headers: Iterable[tuple[bytes, bytes]]) -> Mapping[str, str]:
    carrier: dict[str, str] = {}
    for name, value in headers:
        if name in _CARRIERS:
            key, text = name.decode("latin-1"), value.decode("latin-1")
            # Several lines of one are one list; of traceparent, which is none, they are nothing, as W3C says.
            carrier[key] = f"{carrier[key]},{text}" if key in carrier else text
    return carrier
