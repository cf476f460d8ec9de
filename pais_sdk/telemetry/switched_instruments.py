"""Instruments that follow their meter from provider to provider."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Sequence
from typing import Any, cast

from opentelemetry import metrics
from opentelemetry.metrics import CallbackOptions, CallbackT, Meter, NoOpMeter, Observation


class Switched:
    """What all of them share.

    Args:
        definition: Name, unit and description, and what else there is to say when it is made.
    """

    def __init__(self, *definition: Any) -> None:
        self.definition = definition
        self._present: Any = self._nothing()

    def switch(self, meter: Meter) -> None:
        """Measure with this meter from now on."""
        self._present = self._nothing()
        self._present = self._make(meter)

    def _nothing(self) -> Any:
        # A meter of its own, for one that is shared would tell of instruments that have the same name.
        return self._make(NoOpMeter("pais_sdk.telemetry"))

    def _make(self, meter: Meter) -> Any:
        raise NotImplementedError


class Counter(Switched, metrics.Counter):
    """A counter."""

    def add(self, amount: float, attributes: Any = None, context: Any = None) -> None:
        """Add to it."""
        self._present.add(amount, attributes, context)

    def _make(self, meter: Meter) -> Any:
        return meter.create_counter(*self.definition)


class UpDownCounter(Switched, metrics.UpDownCounter):
    """A counter that goes down, too."""

    def add(self, amount: float, attributes: Any = None, context: Any = None) -> None:
        """Add to it."""
        self._present.add(amount, attributes, context)

    def _make(self, meter: Meter) -> Any:
        return meter.create_up_down_counter(*self.definition)


class Gauge(Switched, metrics._Gauge):  # pyright: ignore[reportPrivateUsage]  # its only name outside of internals
    """A gauge."""

    def set(self, amount: float, attributes: Any = None, context: Any = None) -> None:
        """Set it."""
        self._present.set(amount, attributes, context)

    def _make(self, meter: Meter) -> Any:
        return meter.create_gauge(*self.definition)


class Histogram(Switched, metrics.Histogram):
    """A histogram."""

    def record(self, amount: float, attributes: Any = None, context: Any = None) -> None:
        """Record a value."""
        self._present.record(amount, attributes, context)

    def _make(self, meter: Meter) -> Any:
        *definition, boundaries = self.definition
        return meter.create_histogram(*definition, explicit_bucket_boundaries_advisory=boundaries)


class _Observable(Switched):
    _create: str

    def __init__(self, *definition: Any) -> None:
        self._callbacks: list[Callable[[CallbackOptions], Iterable[Observation]]] = []
        super().__init__(*definition)

    def observe_by(self, callbacks: Sequence[CallbackT]) -> None:
        """Ask these from now on, and no others: the cell that makes an instrument may be run again."""
        self._callbacks = [_function(callback) for callback in callbacks]

    def _make(self, meter: Meter) -> Any:
        name, unit, description = self.definition
        return getattr(meter, self._create)(name, [self._observe], unit, description)

    def _observe(self, options: CallbackOptions) -> Iterable[Observation]:
        for callback in self._callbacks:
            yield from callback(options)


class ObservableCounter(_Observable, metrics.ObservableCounter):
    """A counter that is asked."""

    _create = "create_observable_counter"


class ObservableUpDownCounter(_Observable, metrics.ObservableUpDownCounter):
    """A counter that goes down, too, and is asked."""

    _create = "create_observable_up_down_counter"


class ObservableGauge(_Observable, metrics.ObservableGauge):
    """A gauge that is asked."""

    _create = "create_observable_gauge"


def _function(callback: CallbackT) -> Callable[[CallbackOptions], Iterable[Observation]]:
    if not isinstance(callback, Generator):
        return callback
    asked = cast("Generator[Iterable[Observation], CallbackOptions, None]", callback)
    next(asked)  # to where it takes its first options: once, however many providers there will be

    def observe(options: CallbackOptions) -> Iterable[Observation]:
        try:
            return asked.send(options)
        except StopIteration:
            return []

    return observe
