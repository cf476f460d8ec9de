"""Telemetry, put into this process."""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from typing import Any

from opentelemetry.sdk.resources import SERVICE_NAME

from ..errors import ConfigurationError
from .choice import TelemetryChoice
from .exports import Exports, exports_of
from .handle import Part, Telemetry
from .http_client_spans import instrument_http_clients
from .log_attachment import attach_logs
from .logfire import hand_over
from .metering import Metering, global_meter_provider
from .pydantic_spans import instrument_pydantic
from .recent_spans import RecentSpans
from .resource import resource_of
from .tracing import QUOTING, Tracing, global_tracer_provider

_log = logging.getLogger("pais_sdk.telemetry")


class Installation:
    """What is going to be set up. Making it changes nothing, and finds what is wrong.

    Args:
        choice: What is wanted.

    Raises:
        ConfigurationError: An argument or a variable cannot be used.
    """

    def __init__(self, choice: TelemetryChoice) -> None:
        self._choice = choice
        self._exports = exports_of(choice)
        self._resource = resource_of(choice.service_name, choice.settings, otherwise=choice.otherwise)
        self._name = str(self._resource.attributes[SERVICE_NAME])
        self._parts: list[Part] = []
        self._undo: list[Callable[[], None]] = []

    def install(self, forget: Callable[[], None]) -> Telemetry:
        """Set it up.

        Args:
            forget: Called when it is shut down.
        """
        self._undo.append(forget)
        if self._exports.watch is not None:
            self._undo.append(self._exports.watch.hurry)
        try:
            where = "Logfire" if self._hand_over() else self._export()
        except BaseException as error:
            Telemetry(self._parts, self._undo).shutdown(1)  # with no time at all, readers of metrics stay
            if isinstance(error, ValueError):  # the SDK's, for variables that it reads by itself
                raise ConfigurationError(
                    f"OpenTelemetry cannot be set up: {error}; look at the variables OTEL_BSP_*, OTEL_BLRP_*, "
                    "OTEL_METRIC_* and OTEL_*_LIMIT"
                ) from error
            raise
        kept = f"; {self._choice.keep_traces} traces are kept here" if self._keeps else ""
        _log.info("telemetry of %r is set up, exported: %s", self._name, where)
        summary = f"of {self._name!r}, exported: {where}{kept}"
        return Telemetry(self._parts, self._undo, arrives=self._arrives, summary=summary)

    def _arrives(self) -> bool:
        return self._exports.watch is None or not self._exports.watch.failing

    @property
    def _keeps(self) -> bool:
        return self._choice.traces and self._choice.keep_traces > 0

    def _export(self) -> str:
        choice, exports = self._choice, self._exports
        if choice.traces:
            tracing = Tracing(self._resource, self._spans(exports), choice.keep_traces, content=choice.with_content)
            self._parts.append(tracing)
            self._undo.append(tracing.let_go)
        if choice.metrics:
            metering = Metering(self._resource, self._metrics(exports), choice.settings.otel_metrics_exemplar_filter)
            self._parts.append(metering)
            self._undo.append(metering.let_go)
        if exports.logs:
            self._parts.append(attach_logs(self._resource, exports.logs, explicit=exports.explicit))
        if choice.traces or exports.metrics:
            self._undo.append(instrument_pydantic(choice.settings, content=choice.with_content))
        if choice.settings.otel_include_http_client:
            self._undo.append(instrument_http_clients())
        return str(exports)

    def _spans(self, exports: Exports) -> Sequence[Any]:
        return _own(exports, exports.spans, global_tracer_provider() is None, "traces")

    def _metrics(self, exports: Exports) -> Sequence[Any]:
        return _own(exports, exports.metrics, global_meter_provider() is None, "metrics")

    def _hand_over(self) -> bool:
        choice = self._choice
        # Ours are the global providers also where Logfire exports: what comes after it can then be something else.
        tracers, meters = global_tracer_provider(), global_meter_provider()
        if not choice.to_logfire or tracers is None:
            return False
        kept = [RecentSpans(choice.keep_traces)] if self._keeps else []
        with _no_words_of_second_providers():
            logfire = hand_over(
                choice.settings,
                self._name,
                content=choice.with_content,
                metrics=choice.metrics,
                logs=choice.logs,
                span_processors=kept,
            )
        if logfire is None:
            return False
        self._parts.append(logfire)
        self._undo.extend(recent.shutdown for recent in kept)
        tracers.switch(logfire.tracer_provider, without=() if choice.with_content else QUOTING)
        self._undo.append(lambda: tracers.switch(None))
        if meters is not None:
            meters.switch(logfire.meter_provider)
            self._undo.append(lambda: meters.switch(None))
        if choice.settings.otel_include_http_client:
            self._undo.append(instrument_http_clients())
        return True


def _own(exports: Exports, exporters: list[Any], foreign: bool, signal: str) -> list[Any]:
    """Return what is exported here: over a provider of somebody else's only what was given in code."""
    if not foreign or exports.explicit or not exporters:
        return exporters
    _log.info("this program has its own provider of %s, which is used as it is: no exporter is added to it", signal)
    for exporter in exporters:
        exporter.shutdown()
    exporters.clear()
    return exporters


@contextmanager
def _no_words_of_second_providers() -> Generator[None]:
    """Keep OpenTelemetry from telling that there are global providers already: that is as it should be."""
    loggers = [logging.getLogger(name) for name in ("opentelemetry.trace", "opentelemetry.metrics._internal")]
    for logger in loggers:
        logger.addFilter(_is_no_word)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeFilter(_is_no_word)


def _is_no_word(record: logging.LogRecord) -> bool:
    return not record.getMessage().startswith("Overriding of current ")
