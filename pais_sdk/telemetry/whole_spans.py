"""Spans and log records without half characters, which OTLP cannot say: one of them would cost a whole batch."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any, cast

from opentelemetry.sdk._logs import ReadableLogRecord
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.trace import Link, Status

from .._whole_text import whole_json, whole_text


def whole_span(span: ReadableSpan) -> ReadableSpan:
    """Return a span that has ended, or a copy of it with `�` in place of each half character."""
    status = span.status
    if (
        _is_whole((span.name, status.description))
        and _are_whole(span.attributes)
        and all(_is_whole(event.name) and _are_whole(event.attributes) for event in span.events)
        and all(_are_whole(link.attributes) for link in span.links)
    ):
        return span
    return ReadableSpan(
        whole_text(span.name),
        context=span.context,
        parent=span.parent,
        resource=span.resource,
        attributes=whole_json(dict(span.attributes or {})),
        events=[Event(whole_text(event.name), _whole(event.attributes), event.timestamp) for event in span.events],
        links=[Link(link.context, _whole(link.attributes)) for link in span.links],
        kind=span.kind,
        status=Status(status.status_code, status.description and whole_text(status.description)),
        start_time=span.start_time,
        end_time=span.end_time,
        instrumentation_scope=span.instrumentation_scope,
    )


def whole_record(record: ReadableLogRecord) -> ReadableLogRecord:
    """Return a log record, or a copy of it, in the same way."""
    said = record.log_record
    if _is_whole(said.body) and _are_whole(said.attributes):
        return record
    mended = copy.copy(said)
    mended.body, mended.attributes = whole_json(said.body), _whole(said.attributes)
    return replace(record, log_record=mended)


def _are_whole(attributes: Mapping[str, Any] | None) -> bool:
    if not attributes:
        return True
    # Of a span that ended they are a class that is slow to go through.
    plain = attributes.copy() if isinstance(attributes, MappingProxyType) else attributes
    for part in (*plain, *plain.values()):
        if not (isinstance(part, str) and part.isascii()) and not _is_whole(part):
            return False
    return True


def _is_whole(value: object) -> bool:
    if isinstance(value, str):
        if not value.isascii():
            try:
                value.encode()
            except UnicodeEncodeError:
                return False
        return True
    return not isinstance(value, (tuple, list)) or all(map(_is_whole, cast("list[object]", value)))


def _whole(attributes: Mapping[str, Any] | None) -> Any:
    return whole_json(dict(attributes or {}))
