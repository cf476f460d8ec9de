"""setup_telemetry in processes of their own: beside other providers, without the extra, and at the end of it all."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

_START = """
import logging
from opentelemetry import metrics, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from pais_sdk import setup_telemetry
from pais_sdk.traces import recent_traces

logging.basicConfig(level=logging.INFO, format="%(message)s")
theirs, their_metrics = InMemorySpanExporter(), InMemoryMetricReader()

def set_own_providers():
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(theirs))
    trace.set_tracer_provider(provider)
    metrics.set_meter_provider(MeterProvider([their_metrics]))
    return provider

def tell(name):
    with trace.get_tracer("app").start_as_current_span(name):
        metrics.get_meter("app").create_counter("told").add(1)

def names(exporter):
    return [span.name for span in exporter.get_finished_spans()]

def told(reader):
    data = reader.get_metrics_data()
    metrics = [m for r in (data.resource_metrics if data else ()) for s in r.scope_metrics for m in s.metrics]
    return {metric.name: metric.data.data_points[0].value for metric in metrics}
"""


def run(script: str, tmp_path: Path, *, start: str = _START, **variables: str) -> str:
    file = tmp_path / "program.py"
    file.write_text(start + textwrap.dedent(script))
    environment = {
        "PATH": "/usr/bin:/bin",
        "PYTHONPATH": str(Path(__file__).parent.parent),
        "PYDANTIC_DISABLE_PLUGINS": "__all__",
        **variables,
    }
    command = [sys.executable, "-W", "error", str(file)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def test_a_program_with_its_own_providers_keeps_them_and_nothing_is_exported_over_them(tmp_path: Path) -> None:
    said = run(
        """
        from pydantic_ai import Agent

        own = set_own_providers()
        for _ in range(2):
            theirs.clear()
            with setup_telemetry("ours", keep_traces=5):
                assert trace.get_tracer_provider() is own
                assert Agent._instrument_default is not False
                tell("seen")
                kept = recent_traces()
                assert [span.name for span in kept.spans_of(kept.trace_ids()[-1])] == ["seen"]
            count = len(kept.trace_ids())
            tell("later")
            assert len(kept.trace_ids()) == count, "nothing is kept after the shutdown"
            assert names(theirs) == ["seen", "later"], "what is theirs goes on"
        assert told(their_metrics) == {"told": 4}
        assert len(own._active_span_processor._span_processors) == 2, "theirs and one of ours, however often"
        assert Agent._instrument_default is False
        """,
        tmp_path,
        OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:9",
        OTEL_LOGS_EXPORTER="none",
    )
    assert "its own provider of traces" in said
    assert "its own provider of metrics" in said
    assert "do not get to" not in said


def test_exporters_that_are_given_are_added_to_a_programs_own_providers_until_the_shutdown(tmp_path: Path) -> None:
    said = run(
        """
        set_own_providers()
        ours, our_metrics = InMemorySpanExporter(), InMemoryMetricReader()
        with setup_telemetry(exporters=[ours, our_metrics], keep_traces=0) as telemetry:
            tell("seen")
            assert told(our_metrics) == {"told": 1}
            assert telemetry.force_flush()
        tell("later")
        assert names(ours) == ["seen"]
        assert names(theirs) == ["seen", "later"]
        assert told(their_metrics) == {"told": 2}
        """,
        tmp_path,
    )
    assert "Shutdown called" not in said, "what comes later does not get to the exporters that were added"


def test_nothing_of_an_exporter_of_metrics_is_left_in_a_programs_own_provider(tmp_path: Path) -> None:
    said = run(
        """
        import io, threading
        from opentelemetry.sdk.metrics.export import ConsoleMetricExporter

        set_own_providers()
        for _ in range(2):
            out = io.StringIO()
            with setup_telemetry(exporters=[ConsoleMetricExporter(out=out)]):
                tell("seen")
            assert '"told"' in out.getvalue()
        assert [thread.name for thread in threading.enumerate()] == ["MainThread"]
        """,
        tmp_path,
    )
    assert "MetricReader" not in said, "there is nothing to complain of"


def test_a_provider_that_takes_no_processors_is_left_alone(tmp_path: Path) -> None:
    said = run(
        """
        trace.set_tracer_provider(trace.NoOpTracerProvider())
        metrics.set_meter_provider(metrics.NoOpMeterProvider())
        with setup_telemetry(exporters=[InMemorySpanExporter(), InMemoryMetricReader()]) as telemetry:
            tell("unseen")
            assert telemetry.force_flush()
        """,
        tmp_path,
    )
    assert "NoOpTracerProvider takes no span processors" in said
    assert "NoOpMeterProvider takes no readers" in said


def test_a_program_that_sets_its_own_providers_afterwards_changes_nothing(tmp_path: Path) -> None:
    said = run(
        """
        ours = InMemorySpanExporter()
        with setup_telemetry(exporters=[ours]):
            set_own_providers()
            tell("seen")
        assert names(ours) == ["seen"]
        """,
        tmp_path,
    )
    assert "Overriding of current TracerProvider is not allowed" in said


def test_what_is_waiting_when_the_process_ends_is_exported(tmp_path: Path) -> None:
    said = run(
        """
        setup_telemetry()
        with trace.get_tracer("app").start_as_current_span("last words"):
            pass
        """,
        tmp_path,
        OTEL_TRACES_EXPORTER="console",
    )
    assert '"name": "last words"' in said


def test_a_process_ends_though_an_exporter_never_does(tmp_path: Path) -> None:
    said = run(
        """
        import threading
        from pais_sdk import Telemetry

        class Hanging(InMemorySpanExporter):
            def export(self, spans):
                print("asked", flush=True)
                threading.Event().wait()

        Telemetry.shutdown.__defaults__ = (0.5,)  # seconds, in place of 5
        setup_telemetry(exporters=[Hanging()])
        tell("lost")
        """,
        tmp_path,
    )
    assert "asked" in said


@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
def test_the_whole_thing_works_where_warnings_are_errors(protocol: str, tmp_path: Path) -> None:
    run(
        """
        with setup_telemetry(endpoint="http://127.0.0.1:9") as telemetry:
            tell("lost")
            telemetry.shutdown(0.1)
        """,
        tmp_path,
        OTEL_EXPORTER_OTLP_PROTOCOL=protocol,
        OTEL_INCLUDE_HTTP_CLIENT="true",
        OTEL_INSTRUMENTATION_VERSION="4",
    )


def test_importing_and_looking_at_the_names_loads_nothing(tmp_path: Path) -> None:
    run(
        """
        import sys
        from pais_sdk import Telemetry, setup_telemetry

        heavy = {name.split(".")[0] for name in sys.modules} & {"grpc", "requests", "pydantic_ai", "google"}
        assert not heavy, heavy
        assert "opentelemetry.sdk.trace" not in sys.modules
        """,
        tmp_path,
        start="",
    )


def test_without_the_extra_it_says_what_to_install(tmp_path: Path) -> None:
    said = run(
        """
        import logging, sys

        sys.modules["opentelemetry.sdk"] = None
        from pais_sdk import MissingExtraError, Settings, setup_telemetry
        from pais_sdk.telemetry import telemetry_for_server

        logging.basicConfig(format="%(message)s")
        try:
            setup_telemetry()
        except MissingExtraError as error:
            assert "pip install 'pais-sdk[otel]'" in str(error)
        else:
            raise AssertionError
        assert telemetry_for_server(Settings(otel_endpoint="http://c:1"), "x") is None
        try:
            telemetry_for_server(Settings(otel_enabled=True), "x")
        except MissingExtraError:
            print("stopped")
        """,
        tmp_path,
        start="",
    )
    assert "there is no telemetry, though a collector is named" in said
    assert "stopped" in said
