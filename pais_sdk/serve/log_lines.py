"""How a log record is written for people, with the trace and span that it belongs to."""

from __future__ import annotations

import logging
import re

from opentelemetry import trace

from ..settings import Secrets

_BREAKS = re.compile(r"\r\n|\n")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029]")


class PlainLines(logging.Formatter):
    """Lines as KAOS writes them.

    Whatever is logged, only the start of a record is at the start of a line: further lines are indented, and other
    control characters are escaped, so that a text from outside cannot pass for a record.

    Args:
        secrets: What no line may hold, whoever logs it.
    """

    def __init__(self, secrets: Secrets) -> None:
        super().__init__()
        self._secrets = secrets

    def format(self, record: logging.LogRecord) -> str:
        """Return the record, without a line break at its end."""
        trace_id, span_id = current_ids()
        text = self._secrets.masked(super().format(record).rstrip("\n"))
        message = _CONTROL.sub(_escaped, _BREAKS.sub("\n    ", text))
        start = f"{self.formatTime(record)} - {record.name} - {record.levelname}"
        return f"{start} - [trace_id={trace_id} span_id={span_id}] - {message}"


def current_ids() -> tuple[str, str]:
    """Return the trace and span that is current, in hex digits; `0` where there is none.

    Source:
        OpenTelemetry's instrumentation of logging writes `0`, too.
    """
    context = trace.get_current_span().get_span_context()
    if not context.is_valid:
        return "0", "0"
    return trace.format_trace_id(context.trace_id), trace.format_span_id(context.span_id)


def _escaped(match: re.Match[str]) -> str:
    return match.group().encode("unicode_escape").decode("ascii")
