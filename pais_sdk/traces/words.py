"""What is written of a span, in text and in HTML."""

from __future__ import annotations

from unicodedata import combining, east_asian_width

from .span import TraceSpan

_MAX_NAME = 80


def label_of(span: TraceSpan) -> str:
    """Return the span's name, with its agent where the name does not tell it."""
    agent = span.attributes.get("agent.name")
    name = f"{span.name} ({agent})" if agent is not None and str(agent) not in span.name else span.name
    return line(name)


def time_of(span: TraceSpan) -> str:
    """Return how long it took."""
    return "still runs" if span.duration_s is None else seconds(span.duration_s)


def seconds(value: float) -> str:
    """Return a time in two or three digits."""
    if value < 0.001:
        return f"{value * 1e6:.0f} µs"
    if value < 0.01:
        return f"{value * 1000:.1f} ms"
    return f"{value * 1000:.0f} ms" if value < 1 else f"{value:.2f} s"


def tokens_of(span: TraceSpan) -> str:
    """Return the tokens that it took, or nothing."""
    if span.input_tokens is None and span.output_tokens is None:
        return ""
    return f"{span.input_tokens or 0} in, {span.output_tokens or 0} out"


def failure_of(span: TraceSpan) -> str:
    """Return that it failed and with what, in one line, or nothing."""
    if not span.failed:
        return ""
    why = span.attributes.get("error.type") or span.error
    return f"failed: {line(str(why))}" if why else "failed"


def line(text: str, size: int = _MAX_NAME) -> str:
    """Return a text of at most so many characters that can be seen, with a mark where some are missing."""
    if len(text) > size:
        text = f"{text[: size - 1]}…"
    return text if text.isprintable() else "".join(char if char.isprintable() else " " for char in text)


def width(text: str) -> int:
    """Return the columns that a text takes: two for a Chinese character, none for an accent of its own."""
    if text.isascii():
        return len(text)
    return sum(0 if combining(char) else 2 if east_asian_width(char) in "WF" else 1 for char in text)
