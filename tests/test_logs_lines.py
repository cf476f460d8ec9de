"""How a record is written: a line for people that nobody can forge, or one JSON object."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags

from pais_sdk.serve.log_json import JsonLines
from pais_sdk.serve.log_lines import PlainLines
from pais_sdk.settings import Secrets

SECRETS = Secrets({"MODEL_API_KEY": "the-models-key"})
SPAN = NonRecordingSpan(
    SpanContext(0x0AF7651916CD43DD8448EB211C80319C, 0xB7AD6B7169203331, is_remote=True, trace_flags=TraceFlags(0))
)
FORGED = "2026-11-22 02:07:56,728 - pais_sdk.server - INFO - [trace_id=0 span_id=0] - agent 'a' has stopped"


def record(message: Any, *arguments: Any, exc_info: Any = None, **extra: Any) -> logging.LogRecord:
    made = logging.LogRecord("a.logger", logging.INFO, __file__, 1, message, arguments, exc_info)
    made.__dict__.update(extra)
    return made


def plain(message: Any, *arguments: Any, **more: Any) -> str:
    """Return what follows the time."""
    return PlainLines(SECRETS).format(record(message, *arguments, **more))[len("2026-11-22 02:07:56,728") :]


def as_json(message: Any, *arguments: Any, **more: Any) -> Mapping[str, Any]:
    line = JsonLines(SECRETS).format(record(message, *arguments, **more))
    assert "\n" not in line
    return json.loads(line, parse_constant=lambda constant: pytest.fail(f"{constant} is not JSON"))


def failure(text: str) -> Any:
    try:
        raise ValueError(text)
    except ValueError:
        return sys.exc_info()


def test_a_line_is_written_as_kaos_does() -> None:
    assert plain("hello %s", "you") == " - a.logger - INFO - [trace_id=0 span_id=0] - hello you"
    with trace.use_span(SPAN):
        line = PlainLines(SECRETS).format(record("hello"))
    time, rest = line[:23], line[23:]
    ids = "[trace_id=0af7651916cd43dd8448eb211c80319c span_id=b7ad6b7169203331]"
    assert rest == f" - a.logger - INFO - {ids} - hello"
    assert datetime.strptime(time, "%Y-%m-%d %H:%M:%S,%f")


@pytest.mark.parametrize("line_break", ["\n", "\r\n", "\r", "\v", "\f", "\x1c", "\x85", "\u2028", "\u2029"])
def test_no_text_from_outside_begins_a_line(line_break: str) -> None:
    for line in (
        plain("hello\n%s", f"you{line_break}{FORGED}"),
        plain("it failed", exc_info=failure(f"no{line_break}{FORGED}")),
    ):
        first, *rest = line.splitlines()
        assert FORGED not in first
        assert rest
        assert all(one.startswith("    ") for one in rest)


def test_control_characters_are_written_as_their_names() -> None:
    assert plain("\x1b[2J\x00\x7f\x9b\ta\rb").endswith(r"] - \x1b[2J\x00\x7f\x9b" + "\ta" + r"\rb")


def test_a_traceback_follows_its_message() -> None:
    lines = plain("it failed", exc_info=failure("no")).splitlines()
    assert lines[0].endswith("] - it failed")
    assert (lines[1], lines[-1]) == ("    Traceback (most recent call last):", "    ValueError: no")


def test_json_has_the_time_in_utc_and_the_ids() -> None:
    with trace.use_span(SPAN):
        line = JsonLines(SECRETS).format(record("hello %s\n%d", "you", 1))
    assert list(json.loads(line)) == ["timestamp", "level", "logger", "message", "trace_id", "span_id"]
    told = json.loads(line)
    assert datetime.fromisoformat(told.pop("timestamp")).utcoffset() == timedelta(0)
    assert told == {
        "level": "INFO",
        "logger": "a.logger",
        "message": "hello you\n1",
        "trace_id": "0af7651916cd43dd8448eb211c80319c",
        "span_id": "b7ad6b7169203331",
    }
    assert as_json("hello")["trace_id"] == as_json("hello")["span_id"] == "0"


def test_json_has_an_exception_as_one_text() -> None:
    told = as_json("it failed", exc_info=failure("no\nwhere"))
    assert told["message"] == "it failed"
    assert told["exception"].startswith("Traceback (most recent call last):\n")
    assert told["exception"].endswith("ValueError: no\nwhere")
    assert "exc_info" not in told


def test_json_has_what_extra_gave_but_not_in_place_of_what_is_its_own() -> None:
    told = as_json("hello", order=5, level="loud", trace_id="forged", items=["a"])
    assert (told["order"], told["items"], told["level"], told["trace_id"]) == (5, ["a"], "INFO", "0")


@pytest.mark.parametrize("odd", [object(), float("nan"), {(1, 2): 3}, "\ud800", b"\xff", {1, 2}])
def test_whatever_extra_gave_the_line_is_json(odd: Any) -> None:
    assert as_json("hello", odd=odd)["message"] == "hello"


def test_what_goes_in_circles_is_still_json() -> None:
    circle: dict[str, Any] = {}
    circle["circle"] = circle
    assert as_json("hello", odd=circle)["odd"] == "{'circle': {...}}"


def test_a_message_that_is_a_mapping_is_fields_of_json() -> None:
    assert {"message": "{'a': 1}", "a": 1}.items() <= as_json({"a": 1}).items()


@pytest.mark.parametrize("line", [PlainLines(SECRETS), JsonLines(SECRETS)])
def test_no_key_is_in_a_line_whoever_logs_it(line: logging.Formatter) -> None:
    told = line.format(
        record("it has %r, %s", "the-models-key", "http://u:p@there/a?key=one", exc_info=failure("no the-models-key"))
    )
    assert "it has '***', http://***@there/a?***" in told
    assert "ValueError: no ***" in told


def test_a_key_is_in_no_extra_field_and_the_line_is_still_json() -> None:
    told = as_json('"http://there/?q="', odd={"a": ["the-models-key"]})
    assert (told["message"], told["odd"]) == ('"http://there/?***"', {"a": ["***"]})
