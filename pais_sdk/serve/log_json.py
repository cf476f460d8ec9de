"""JsonLines: a log record as one JSON object in one line."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime
from functools import partial
from typing import Any

from ..errors import MissingExtraError
from ..settings import Secrets
from .log_lines import current_ids

try:
    from pythonjsonlogger.json import JsonFormatter
except ImportError as error:
    raise MissingExtraError("LOG_FORMAT=json", extra="server") from error


class JsonLines(JsonFormatter):
    """`timestamp` (ISO 8601, UTC), `level`, `logger`, `message`, `trace_id`, `span_id`; `exception` where there is one.

    What `extra=` gave follows under its own names, where they are not these.

    Args:
        secrets: What no line may hold, whoever logs it.
    """

    def __init__(self, secrets: Secrets) -> None:
        self._secrets = secrets
        strict = partial(json.dumps, allow_nan=False)
        super().__init__(json_serializer=strict)  # pyright: ignore[reportUnknownMemberType]

    def add_fields(self, log_data: dict[str, Any], record: logging.LogRecord, message_dict: dict[str, Any]) -> None:
        """Fill `log_data`."""
        trace_id, span_id = current_ids()
        own = {
            "timestamp": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            "trace_id": trace_id,
            "span_id": span_id,
        }
        exception = message_dict.pop("exc_info", None)
        if exception is not None:
            own["exception"] = exception
        log_data.update(own)
        super().add_fields(log_data, record, message_dict)
        log_data.update(own)

    def jsonify_log_record(self, log_data: dict[str, Any]) -> str:
        """Return the line; what JSON cannot hold is in it as `str()` of it."""
        try:
            line = super().jsonify_log_record(log_data)
        except (TypeError, ValueError):
            line = super().jsonify_log_record({str(name): str(value) for name, value in log_data.items()})
        return self._secrets.masked(line)
