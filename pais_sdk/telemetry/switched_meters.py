"""The meter provider that stays while what is behind it comes and goes."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from typing import Any, TypeVar

from opentelemetry import metrics
from opentelemetry.metrics import CallbackT, Meter, MeterProvider, NoOpMeterProvider

from . import switched_instruments as switched
from .switched_tracers import HandsOn, Scope

_log = logging.getLogger("pais_sdk.telemetry")
_NOTHING = NoOpMeterProvider()

InstrumentT = TypeVar("InstrumentT", bound=switched.Switched)


class SwitchedMeterProvider(HandsOn, MeterProvider):
    """Hands over to one provider at a time, or to none; see `SwitchedTracerProvider`."""

    def __init__(self) -> None:
        self.present: MeterProvider = _NOTHING
        self._meters: dict[str, SwitchedMeter] = {}
        self._guard = threading.Lock()

    def switch(self, provider: MeterProvider | None) -> None:
        """Hand over to this provider from now on; None for to none."""
        with self._guard:
            self.present = provider or _NOTHING
            for meter in self._meters.values():
                meter.switch(self.present.get_meter(*meter.scope))

    def get_meter(
        self, name: str, version: str | None = None, schema_url: str | None = None, attributes: Any = None
    ) -> Meter:
        """Return a meter that follows this provider."""
        scope: Scope = (name, version, schema_url, attributes)
        with self._guard:
            meter = self._meters.get(repr(scope))
            if meter is None:
                meter = self._meters[repr(scope)] = SwitchedMeter(self.present.get_meter(*scope), scope)
            return meter


class SwitchedMeter(HandsOn, Meter):
    """A meter of whatever provider there is at the moment. Its instruments are made anew with each provider.

    Args:
        present: The meter to begin with.
        scope: What it was asked for with.
    """

    def __init__(self, present: Meter, scope: Scope) -> None:
        super().__init__(*scope[:3])
        self.scope = scope
        self.present = present
        self._instruments: dict[str, switched.Switched] = {}
        self._guard = threading.Lock()

    def switch(self, meter: Meter) -> None:
        """Make the instruments of this meter from now on, and those that were made before."""
        with self._guard:
            self.present = meter
            for instrument in self._instruments.values():
                try:
                    instrument.switch(meter)
                except Exception:  # noqa: BLE001 - a name that no provider takes: its user was not told by the no-op
                    _log.exception("the instrument %r cannot be made", instrument.definition[0])

    def create_counter(self, name: str, unit: str = "", description: str = "") -> metrics.Counter:
        """Make a counter."""
        return self._made(switched.Counter(name, unit, description))

    def create_up_down_counter(self, name: str, unit: str = "", description: str = "") -> metrics.UpDownCounter:
        """Make a counter that goes down, too."""
        return self._made(switched.UpDownCounter(name, unit, description))

    def create_gauge(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, name: str, unit: str = "", description: str = ""
    ) -> switched.Gauge:
        """Make a gauge."""
        return self._made(switched.Gauge(name, unit, description))

    def create_histogram(
        self,
        name: str,
        unit: str = "",
        description: str = "",
        *,
        explicit_bucket_boundaries_advisory: Sequence[float] | None = None,
    ) -> metrics.Histogram:
        """Make a histogram."""
        return self._made(switched.Histogram(name, unit, description, explicit_bucket_boundaries_advisory))

    def create_observable_counter(
        self, name: str, callbacks: Sequence[CallbackT] | None = None, unit: str = "", description: str = ""
    ) -> metrics.ObservableCounter:
        """Make a counter that is asked."""
        return self._observed(switched.ObservableCounter(name, unit, description), callbacks)

    def create_observable_up_down_counter(
        self, name: str, callbacks: Sequence[CallbackT] | None = None, unit: str = "", description: str = ""
    ) -> metrics.ObservableUpDownCounter:
        """Make a counter that goes down, too, and is asked."""
        return self._observed(switched.ObservableUpDownCounter(name, unit, description), callbacks)

    def create_observable_gauge(
        self, name: str, callbacks: Sequence[CallbackT] | None = None, unit: str = "", description: str = ""
    ) -> metrics.ObservableGauge:
        """Make a gauge that is asked."""
        return self._observed(switched.ObservableGauge(name, unit, description), callbacks)

    def _made(self, instrument: InstrumentT) -> InstrumentT:
        identity = f"{type(instrument).__name__} {instrument.definition!r}"
        with self._guard:
            known = self._instruments.get(identity)
            if isinstance(known, type(instrument)):
                return known
            instrument.switch(self.present)
            self._instruments[identity] = instrument
            return instrument

    def _observed(self, instrument: Any, callbacks: Sequence[CallbackT] | None) -> Any:
        made = self._made(instrument)
        made.observe_by(callbacks or ())
        return made
