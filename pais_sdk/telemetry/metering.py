"""Metrics on their way out."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any
from weakref import WeakKeyDictionary

from opentelemetry import metrics
from opentelemetry.sdk.metrics import (
    AlwaysOffExemplarFilter,
    AlwaysOnExemplarFilter,
    ExemplarFilter,
    MeterProvider,
    TraceBasedExemplarFilter,
)
from opentelemetry.sdk.metrics.export import MetricExporter, MetricReader, PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource

from ..errors import ConfigurationError
from .switched_meters import SwitchedMeterProvider

_log = logging.getLogger("pais_sdk.telemetry")
_FILTERS = {
    "always_off": AlwaysOffExemplarFilter,
    "trace_based": TraceBasedExemplarFilter,
    "always_on": AlwaysOnExemplarFilter,
}


def global_meter_provider() -> SwitchedMeterProvider | None:
    """Return the global meter provider, which is made where there is none; None where it is somebody else's."""
    # The stand-in of a process without a provider has no public name.
    if type(metrics.get_meter_provider()).__name__ == "_ProxyMeterProvider":
        metrics.set_meter_provider(SwitchedMeterProvider())
    provider = metrics.get_meter_provider()
    return provider if isinstance(provider, SwitchedMeterProvider) else None


class Metering:
    """Metrics that are exported until `shutdown`. A meter provider that is there already stays what it is.

    Args:
        resource: What the metrics belong to, where the meter provider is ours.
        exporters: Each gets all metrics; readers are asked by whom they belong to.
        exemplars: Which measurements name their trace, where the meter provider is ours: `always_off`, `trace_based`
            or `always_on`. Each that does costs half as much again, and is an id among metrics.
    """

    def __init__(
        self,
        resource: Resource,
        exporters: Sequence[MetricExporter | MetricReader],
        exemplars: str = "always_off",
    ) -> None:
        self._provider: MeterProvider | None = None
        self._added: list[MetricReader] = []
        self._switched = global_meter_provider()
        given = [exporter for exporter in exporters if isinstance(exporter, MetricReader)]
        for reader in given:
            _leave(reader)
        if self._switched is None:
            self._there: Any = metrics.get_meter_provider()
            if exporters and not hasattr(self._there, "remove_metric_reader"):
                _log.warning("no metrics are exported here: %s takes no readers", type(self._there).__name__)
                return
            self._added = [_reader(exporter) for exporter in exporters]
            for reader in self._added:
                self._there.add_metric_reader(reader)
        elif exporters:
            self._provider = _provider(resource, [_reader(exporter) for exporter in exporters], _FILTERS[exemplars]())
            _providers.update(dict.fromkeys(given, self._provider))
            self._switched.switch(self._provider)

    def let_go(self) -> None:
        """Take no measurements any more."""
        if self._switched is not None:
            self._switched.switch(None)

    def force_flush(self, timeout_s: float) -> bool:
        """Export what is waiting; False where that takes longer."""
        if self._provider is not None:
            self._provider.force_flush(timeout_s * 1000)
        flushed = [reader.force_flush(timeout_s * 1000) for reader in self._added]
        return all(flushed)

    def shutdown(self, timeout_s: float) -> None:
        """Export what is waiting within this time, and nothing afterwards."""
        if self._provider is not None:
            self._provider.shutdown(timeout_s * 1000)
        for reader in self._added:
            if isinstance(reader, _Periodic):
                reader.shutdown(timeout_s * 1000)  # it asks the provider a last time
            else:
                reader.force_flush(timeout_s * 1000)
            self._there.remove_metric_reader(reader)


class _Periodic(PeriodicExportingMetricReader):
    _over = False

    def shutdown(self, timeout_millis: float = 30_000, **options: Any) -> None:
        if not self._over:  # a provider shuts down what is taken from it, too
            self._over = True
            super().shutdown(timeout_millis, **options)  # pyright: ignore[reportUnknownMemberType]


# A reader belongs to one provider at a time. One of the caller's can be read after the shutdown, too, and may come
# again with the next set-up.
_providers: WeakKeyDictionary[MetricReader, MeterProvider] = WeakKeyDictionary()


def _leave(reader: MetricReader) -> None:
    provider = _providers.pop(reader, None)
    if provider is not None:
        provider.remove_metric_reader(reader)


def _reader(exporter: MetricExporter | MetricReader) -> MetricReader:
    return exporter if isinstance(exporter, MetricReader) else _Periodic(exporter)


def _provider(resource: Resource, readers: Sequence[MetricReader], exemplars: ExemplarFilter) -> MeterProvider:
    try:
        return MeterProvider(readers, resource, exemplars, shutdown_on_exit=False)
    except Exception as error:
        raise ConfigurationError(f"the metrics cannot be read: {error}") from error
