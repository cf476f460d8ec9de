"""Tracers and instruments that were there before: they follow every set-up, and end with it."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from copy import copy
from typing import Any

import pytest
from opentelemetry import metrics, trace
from opentelemetry.metrics import CallbackOptions, Observation
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from pais_sdk import setup_telemetry
from pais_sdk.telemetry import setup
from pais_sdk.telemetry.metering import global_meter_provider
from pais_sdk.telemetry.tracing import global_tracer_provider

from .telemetry import points_of_others

before = trace.get_tracer("before", "1")
meter_before = metrics.get_meter("before", "1")


@pytest.fixture(autouse=True)
def _nothing_is_left() -> Generator[None]:  # pyright: ignore[reportUnusedFunction]
    yield
    if setup._present is not None:
        setup._present[1].shutdown()


def values(reader: InMemoryMetricReader) -> dict[str, Any]:
    return {
        metric.name: getattr(point, "value", None) or getattr(point, "sum", None)
        for metric, point in points_of_others(reader)
    }


def asked(options: CallbackOptions) -> Iterable[Observation]:
    return [Observation(7)]


def asked_again_and_again() -> Generator[Iterable[Observation], CallbackOptions, None]:
    yield []
    while True:
        yield [Observation(9)]


def test_instruments_of_every_kind_follow_every_set_up() -> None:
    late = trace.get_tracer("late")
    instruments: list[tuple[Any, str]] = []
    meters = {"before": meter_before, "late": provider().get_meter("late")}
    for when, meter in meters.items():
        instruments += [
            (meter.create_counter(f"{when}.counter", "1", "what it counts"), "add"),
            (meter.create_up_down_counter(f"{when}.up_down"), "add"),
            (meter.create_gauge(f"{when}.gauge"), "set"),
            (meter.create_histogram(f"{when}.histogram", explicit_bucket_boundaries_advisory=[1, 2]), "record"),
        ]
        meter.create_observable_counter(f"{when}.observable.counter", [asked])
        meter.create_observable_up_down_counter(f"{when}.observable.up_down", [asked_again_and_again()])
        meter.create_observable_gauge(f"{when}.observable.gauge", [asked])
    for _ in range(2):
        reader, exporter = InMemoryMetricReader(), InMemorySpanExporter()
        with setup_telemetry(exporters=[reader, exporter]):
            for tracer in (before, late):
                with tracer.start_as_current_span("span"):
                    pass
            for instrument, measure in instruments:
                getattr(instrument, measure)(5, {"label": "a"})
        for instrument, measure in instruments:
            getattr(instrument, measure)(1, {"label": "after the shutdown"})
        scopes = [span.instrumentation_scope for span in exporter.get_finished_spans()]
        assert [scope.name for scope in scopes if scope] == ["before", "late"]
        kinds = {"counter": 5, "up_down": 5, "gauge": 5, "histogram": 5}
        observed = {"observable.counter": 7, "observable.up_down": 9, "observable.gauge": 7}
        assert values(reader) == {
            f"{when}.{kind}": value for when in meters for kind, value in {**kinds, **observed}.items()
        }
    for when, meter in meters.items():
        meter.create_observable_counter(f"{when}.observable.counter")
        meter.create_observable_up_down_counter(f"{when}.observable.up_down")
        meter.create_observable_gauge(f"{when}.observable.gauge")
    reader = InMemoryMetricReader()
    with setup_telemetry(exporters=[reader]):
        assert values(reader) == {}


def provider() -> Any:
    found = global_meter_provider()
    assert found is not None, "a test has set a provider of its own in this process"
    return found


def test_buckets_that_are_advised_are_kept_with_every_set_up() -> None:
    histogram = provider().get_meter("buckets").create_histogram("h", explicit_bucket_boundaries_advisory=[1, 2])
    for _ in range(2):
        reader = InMemoryMetricReader()
        with setup_telemetry(exporters=[reader]):
            histogram.record(1.5)
        data = reader.get_metrics_data()
        assert data is not None
        point: Any = data.resource_metrics[0].scope_metrics[0].metrics[0].data.data_points[0]
        assert point.explicit_bounds == (1, 2)


def test_the_same_instrument_is_made_once_and_the_newest_callback_is_asked() -> None:
    meter = provider().get_meter("cell")
    assert meter.create_counter("c") is meter.create_counter("c")
    reader = InMemoryMetricReader()
    with setup_telemetry(exporters=[reader]):
        for number in (1, 2):
            meter.create_observable_gauge("g", [lambda options, number=number: [Observation(number)]])
        assert values(reader)["g"] == 2
    meter.create_observable_gauge("g")


def test_an_instrument_that_no_provider_takes_keeps_none_from_being_set_up(caplog: pytest.LogCaptureFixture) -> None:
    meter = provider().get_meter("wrong")
    wrong = meter.create_counter("1 wrong name")
    right = meter.create_counter("right")
    reader = InMemoryMetricReader()
    with setup_telemetry(exporters=[reader]):
        wrong.add(1)
        right.add(1)
        assert values(reader)["right"] == 1
    assert "'1 wrong name' cannot be made" in caplog.text
    meter._instruments.pop(next(key for key in meter._instruments if "wrong name" in key))


@pytest.mark.anyio
async def test_functions_that_are_decorated_are_traced_by_each_set_up() -> None:
    found = global_tracer_provider()
    assert found is not None
    tracer = found.get_tracer("decorated")

    @tracer.start_as_current_span("whole")
    def whole(number: int) -> int:
        return number + 1

    @tracer.start_as_current_span("awaited")
    async def awaited(number: int) -> int:
        return number + 1

    for _ in range(2):
        exporter = InMemorySpanExporter()
        with setup_telemetry(exporters=[exporter]):
            assert whole(1) == 2
            assert await awaited(1) == 2
        assert whole(1) == 2
        assert [span.name for span in exporter.get_finished_spans()] == ["whole", "awaited"]


def test_what_else_a_provider_can_is_asked_of_the_present_one() -> None:
    exporter = InMemorySpanExporter()
    with setup_telemetry("named", keep_traces=0):
        present: Any = trace.get_tracer_provider()
        present.add_span_processor(SimpleSpanProcessor(exporter))
        assert present.resource.attributes["service.name"] == "named"
        with before.start_as_current_span("seen"):
            pass
    assert [span.name for span in exporter.get_finished_spans()] == ["seen"]


def test_a_span_that_fails_says_so() -> None:
    exporter = InMemorySpanExporter()
    with setup_telemetry(exporters=[exporter]), pytest.raises(KeyError), before.start_as_current_span("fails"):
        raise KeyError("x")
    [span] = exporter.get_finished_spans()
    assert span.status.status_code is trace.StatusCode.ERROR


def test_a_tracer_can_be_copied() -> None:
    found = global_tracer_provider()
    assert found is not None
    exporter = InMemorySpanExporter()
    with setup_telemetry(exporters=[exporter]), copy(found.get_tracer("copied")).start_as_current_span("seen"):
        pass
    assert [span.name for span in exporter.get_finished_spans()] == ["seen"]
