"""Exporters of the caller: whoever made them closes them."""

from __future__ import annotations

from typing import Any, TypeVar, cast

ExporterT = TypeVar("ExporterT")


def borrowed(exporter: ExporterT) -> ExporterT:
    """Return an exporter that does the same, but is only flushed where it would be shut down."""
    return cast("ExporterT", _Borrowed(exporter))


class _Borrowed:
    def __init__(self, exporter: Any) -> None:
        self._exporter = exporter

    def shutdown(self, timeout_millis: float = 30000, **_options: Any) -> None:
        flush = getattr(self._exporter, "force_flush", None)
        if flush is not None:
            flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._exporter, name)
