"""The trace that a request belongs to, as its headers say."""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import contextmanager
from functools import lru_cache
from urllib.parse import quote_plus, unquote_plus

from opentelemetry import context, propagate, trace
from opentelemetry.propagators.textmap import TextMapPropagator

_PARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}(?:-[\x21-\x7e]*)?")
_STATE = re.compile(
    r"(?:[a-z][a-z0-9_*/-]{0,255}|[a-z0-9][a-z0-9_*/-]{0,240}@[a-z][a-z0-9_*/-]{0,13})"
    r"=[\x20-\x2b\x2d-\x3c\x3e-\x7e]{0,255}[\x21-\x2b\x2d-\x3c\x3e-\x7e]"
)
_KEY = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_VALUE = re.compile(r"[\t\x20\x21\x23-\x2b\x2d-\x5b\x5d-\x7e]*")
_LONGEST = 512
_MOST_STATES, _LONGEST_STATE = 32, 8192
_MOST_BAGGAGE, _LONGEST_BAGGAGE, _LONGEST_ITEM = 180, 8192, 4096


@contextmanager
def continued_trace(headers: Iterable[tuple[bytes, bytes]]) -> Generator[None]:
    """Let what the block does, and the tasks that it starts, belong to the trace of the request's headers."""
    carrier = _carrier(headers)
    if not carrier:
        yield
        return
    continued = propagate.extract(carrier)
    outer, told = (trace.get_current_span(where).get_span_context() for where in (None, continued))
    if outer.is_valid and not outer.is_remote and outer.trace_id == told.trace_id:
        yield  # the app that this one is mounted in has continued it, and its own span is the parent
        return
    token = context.attach(continued)
    try:
        yield
    finally:
        context.detach(token)


def _carrier(headers: Iterable[tuple[bytes, bytes]]) -> Mapping[str, str]:
    """Return what the propagators read; nothing that they could not, for they would log it."""
    fields = _fields(propagate.get_global_textmap())
    carrier: dict[str, str] = {}
    for name, value in headers:
        key = fields.get(name)
        if key is not None:
            text = value.decode("latin-1")
            # Several lines of one are one list; of traceparent, which is none, they are nothing, as W3C says.
            carrier[key] = f"{carrier[key]},{text}" if key in carrier else text
    return {key: text for key, found in carrier.items() if (text := _READ.get(key, _short)(found.strip(" \t")))}


@lru_cache(maxsize=1)
def _fields(propagator: TextMapPropagator) -> Mapping[bytes, str]:
    return {field.lower().encode(): field for field in propagator.fields}


def _parent(text: str) -> str:
    return text if len(text) <= _LONGEST and _PARENT.fullmatch(text) else ""


def _state(text: str) -> str:
    members = [member for part in text.split(",") if (member := part.strip(" \t"))]
    too_much = len(text) > _LONGEST_STATE or len(members) > _MOST_STATES
    return "" if too_much or not all(map(_STATE.fullmatch, members)) else ",".join(members)


def _baggage(text: str) -> str:
    """Return the items that can be read, as they will be written again, which may make them longer."""
    if len(text) > _LONGEST_BAGGAGE:
        return ""
    items: list[str] = []
    length = -1
    for part in text.split(","):
        key, separator, value = (side.strip(" \t") for side in part.partition("="))
        if not (separator and _KEY.fullmatch(key) and _VALUE.fullmatch(value)):
            continue
        name = unquote_plus(key).strip()
        item = f"{quote_plus(name)}={quote_plus(unquote_plus(value).strip())}"
        if not name or len(item) > _LONGEST_ITEM:
            continue
        length += len(item) + 1
        if length > _LONGEST_BAGGAGE or len(items) == _MOST_BAGGAGE:
            break
        items.append(item)
    return ",".join(items)


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST and text.isascii() and text.isprintable() else ""


_READ: Mapping[str, Callable[[str], str]] = {"traceparent": _parent, "tracestate": _state, "baggage": _baggage}
