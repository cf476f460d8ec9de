"""ActiveCount: how many there are at the moment, as a metric."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator, Mapping

from opentelemetry.metrics import CallbackOptions, Meter, Observation


class ActiveCount:
    """Counted here and looked at when metrics are exported, which is cheaper than a measurement at each change.

    And it is right where telemetry is set up while something is active.

    Args:
        meter: Of the part that counts.
        name: The metric.
        unit: Its unit.
        description: What is counted.
    """

    def __init__(self, meter: Meter, name: str, *, unit: str, description: str) -> None:
        self._counts: Counter[frozenset[tuple[str, str]]] = Counter()
        self._guard = threading.Lock()
        meter.create_observable_up_down_counter(name, [self._look], unit=unit, description=description)

    def add(self, amount: int, labels: Mapping[str, str]) -> None:
        """Count so many more, or, where it is negative, fewer; from any thread."""
        with self._guard:
            self._counts[frozenset(labels.items())] += amount

    def _look(self, options: CallbackOptions) -> Iterator[Observation]:
        with self._guard:
            counts = dict(self._counts)
        for labels, count in counts.items():
            yield Observation(count, dict(labels))
