"""Batches of spans in parts that a collector takes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

# A collector refuses gRPC messages above 4 MiB by default, as a whole. Batches are counted in spans, and a span of a
# conversation holds all of it.
_MAX_BYTES = 3 * 2**20
_OF_A_SPAN, _OF_AN_ATTRIBUTE = 512, 32


class SpanParts(SpanExporter):
    """Exports what is too much for one message in several: a span that is too big alone costs no other."""

    def __init__(self, exporter: SpanExporter) -> None:
        self._exporter = exporter

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        results = [self._exporter.export(part) for part in _parts(spans)]
        return next((result for result in results if result is not SpanExportResult.SUCCESS), SpanExportResult.SUCCESS)

    def shutdown(self) -> None:
        self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return self._exporter.force_flush(timeout_millis)


def _parts(spans: Sequence[ReadableSpan]) -> Iterator[list[ReadableSpan]]:
    part: list[ReadableSpan] = []
    size = 0
    for span in spans:
        more = _size(span)
        if part and size + more > _MAX_BYTES:
            yield part
            part, size = [], 0
        part.append(span)
        size += more
    if part:
        yield part


def _size(span: ReadableSpan) -> int:
    events = sum(_size_of(event.attributes) for event in span.events)
    links = sum(_size_of(link.attributes) for link in span.links)
    return _OF_A_SPAN + _size_of(span.attributes) + events + links


def _size_of(attributes: Mapping[str, Any] | None) -> int:
    return sum(_OF_AN_ATTRIBUTE + len(name) + _bytes(value) for name, value in (attributes or {}).items())


def _bytes(value: object) -> int:
    if isinstance(value, str):
        return len(value) if value.isascii() else len(value.encode(errors="replace"))
    if isinstance(value, (list, tuple)):
        return sum(map(_bytes, cast("Sequence[object]", value)))
    return 8
