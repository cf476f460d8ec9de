"""The hand-over to Logfire: its own package exports, in place of what this one would."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ..settings import TelemetrySettings
from .pydantic_spans import instrument_pydantic
from .quiet_exporters import quiet_exporters
from .root_handler import RootHandler
from .within import all_within

if TYPE_CHECKING:
    from logfire import Logfire
    from opentelemetry.metrics import MeterProvider
    from opentelemetry.sdk.trace import SpanProcessor
    from opentelemetry.trace import TracerProvider

_log = logging.getLogger("pais_sdk.telemetry")
_guard = threading.Lock()
_EXPORTERS = ("OTEL_TRACES_EXPORTER", "OTEL_METRICS_EXPORTER", "OTEL_LOGS_EXPORTER")


class LogfireTelemetry:
    """Telemetry that Logfire's package exports.

    Args:
        logfire: The instance that is configured.
        undo: Takes back what was instrumented.
        handler: What exports logs, to be put on the root logger.
    """

    def __init__(self, logfire: Logfire, undo: Callable[[], None], handler: logging.Handler | None) -> None:
        self._logfire = logfire
        self._undo = undo
        self._root = None if handler is None else RootHandler(handler)
        self._ended = False
        self.tracer_provider: TracerProvider = logfire.config.get_tracer_provider()
        self.meter_provider: MeterProvider = logfire.config.get_meter_provider()

    def force_flush(self, timeout_s: float = 5.0) -> bool:
        """Export what is waiting; False where that takes longer, and then it goes on."""
        return all_within(timeout_s, [lambda left_s: self._logfire.force_flush(int(left_s * 1000))])

    def shutdown(self, timeout_s: float = 5.0) -> None:
        """Export what is waiting within this time, and nothing afterwards."""
        if self._ended:
            return
        self._ended = True
        self._undo()
        if self._root is not None:
            self._root.end()
        all_within(timeout_s, [lambda left_s: self._logfire.shutdown(int(left_s * 1000))])


def hand_over(
    settings: TelemetrySettings,
    service_name: str | None,
    *,
    content: bool,
    metrics: bool = True,
    logs: bool = True,
    span_processors: Sequence[SpanProcessor] = (),
) -> LogfireTelemetry | None:
    """Let Logfire's package export, to Logfire and nowhere else; None, and a warning, where it is not installed.

    Args:
        settings: Its `logfire_token` is used. All else that Logfire's package reads from the environment, it does.
        service_name: The service's name.
        content: Whether spans hold what was said.
        metrics: Whether metrics are exported.
        logs: Whether what comes to the root logger is exported.
        span_processors: They see every span, too.
    """
    assert settings.logfire_token is not None
    try:
        import logfire
    except ImportError:
        _log.warning("LOGFIRE_TOKEN is set and has no effect, for its package is missing: pip install logfire")
        return None
    quiet_exporters()
    with _no_other_exporter():
        configured = logfire.configure(
            token=settings.logfire_token.get_secret_value(),
            service_name=service_name,
            console=False,
            inspect_arguments=False,
            distributed_tracing=True,
            metrics=None if metrics else False,
            additional_span_processors=list(span_processors),
        )
    undo = instrument_pydantic(settings, content=content)
    handler = logfire.LogfireLoggingHandler(fallback=logging.NullHandler()) if logs else None
    return LogfireTelemetry(configured, undo, handler)


@contextmanager
def _no_other_exporter() -> Generator[None]:
    """Keep Logfire's package from exporting over OTLP besides, as it does where an endpoint is named.

    It takes no argument for that and reads these variables only, while it is configured.
    """
    with _guard:
        before = {name: os.environ.get(name) for name in _EXPORTERS}
        os.environ.update(dict.fromkeys(_EXPORTERS, "none"))
        try:
            yield
        finally:
            for name, value in before.items():
                if value is None:
                    del os.environ[name]
                else:
                    os.environ[name] = value
