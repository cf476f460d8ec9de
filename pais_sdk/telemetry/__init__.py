"""Telemetry: traces, metrics and logs by OpenTelemetry."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .handle import Telemetry
from .setup import setup_telemetry, telemetry_for_server

if TYPE_CHECKING:
    from .kaos_logging_handler import KaosLoggingHandler

__all__ = ["KaosLoggingHandler", "Telemetry", "setup_telemetry", "telemetry_for_server"]


def __getattr__(name: str) -> Any:
    # It is a subclass of a class of the extra `otel`, which is not there in every installation.
    if name == "KaosLoggingHandler":
        from .kaos_logging_handler import KaosLoggingHandler

        return KaosLoggingHandler
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
