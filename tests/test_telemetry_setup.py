"""setup_telemetry: what a call does, what a second one does, and what is left after the shutdown."""

from __future__ import annotations

import logging
import threading
from collections.abc import Generator
from fnmatch import fnmatch
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.metrics import get_meter
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from pydantic_ai import Agent
from pydantic_ai.models.instrumented import InstrumentationSettings
from pydantic_ai.models.test import TestModel

from pais_sdk import AgentRuntime, ConfigurationError, Telemetry, setup_telemetry
from pais_sdk.settings import Settings, TelemetrySettings
from pais_sdk.telemetry import pydantic_spans, setup, telemetry_for_server
from pais_sdk.telemetry.export_watch import ExportWatch
from pais_sdk.telemetry.exporters import otlp_metric_exporter
from pais_sdk.telemetry.resource import resource_of
from pais_sdk.telemetry.within import all_within
from pais_sdk.traces import recent_traces

from .telemetry import points_of_others

tracer = trace.get_tracer("tests")
DEAD = "http://127.0.0.1:9"


@pytest.fixture(autouse=True)
def _nothing_is_left() -> Generator[None]:  # pyright: ignore[reportUnusedFunction]
    yield
    if setup._present is not None:
        setup._present[1].shutdown()


def spans_of(exporter: InMemorySpanExporter) -> list[str]:
    return [span.name for span in exporter.get_finished_spans()]


def span(name: str) -> None:
    with tracer.start_as_current_span(name):
        pass


@pytest.mark.anyio
async def test_without_a_collector_a_run_can_be_looked_at_and_nothing_is_exported() -> None:
    agent = Agent(TestModel(), name="calc")
    with setup_telemetry() as telemetry:
        async with AgentRuntime(agent) as runtime:
            outcome = await runtime.run("hi")
        assert "exported: nothing; 20 traces are kept here" in repr(telemetry)
    assert "server-run" in str(outcome.trace)
    assert "invoke_agent calc" in str(outcome.trace)


def test_a_cell_that_is_run_twice_gets_the_same_handle() -> None:
    exporter = InMemorySpanExporter()
    first = setup_telemetry("cell", exporters=[exporter])
    assert setup_telemetry("cell", exporters=[exporter]) is first
    span("once")
    first.shutdown()
    assert spans_of(exporter) == ["once"]


def test_a_call_without_arguments_returns_what_was_set_up() -> None:
    first = setup_telemetry("cell", keep_traces=3)
    assert setup_telemetry() is first


def test_a_cell_that_was_edited_flushes_the_first_and_replaces_it() -> None:
    before, after = InMemorySpanExporter(), InMemorySpanExporter()
    first = setup_telemetry("cell", exporters=[before])
    span("one")
    second = setup_telemetry("cell", exporters=[after])
    assert spans_of(before) == ["one"]
    span("two")
    first.shutdown()
    span("three")
    second.shutdown()
    assert spans_of(before) == ["one"]
    assert spans_of(after) == ["two", "three"]


def test_another_environment_is_another_call(monkeypatch: pytest.MonkeyPatch) -> None:
    first = setup_telemetry()
    monkeypatch.setenv("OTEL_SERVICE_NAME", "renamed")
    second = setup_telemetry()
    assert second is not first
    assert "'renamed'" in repr(second)


def test_after_the_shutdown_nothing_is_recorded_and_it_can_be_set_up_again() -> None:
    exporter = InMemorySpanExporter()
    with setup_telemetry(exporters=[exporter]) as telemetry:
        span("one")
    telemetry.shutdown()
    assert repr(telemetry) == "<Telemetry: shut down>"
    with tracer.start_as_current_span("between") as between:
        assert not between.is_recording()
    with setup_telemetry(exporters=[exporter]) as again:
        span("two")
    assert again is not telemetry
    assert spans_of(exporter) == ["one", "two"]


def test_a_flush_exports_what_is_waiting() -> None:
    exporter = InMemorySpanExporter()
    telemetry = setup_telemetry(exporters=[exporter])
    span("waiting")
    assert telemetry.force_flush()
    assert spans_of(exporter) == ["waiting"]


def test_each_kind_of_exporter_gets_its_signal() -> None:
    spans, metrics, logs = InMemorySpanExporter(), InMemoryMetricReader(), InMemoryLogRecordExporter()
    handlers = list(logging.getLogger().handlers)
    with setup_telemetry(exporters=[logs, metrics, spans]):
        with tracer.start_as_current_span("story") as story:
            logging.getLogger("tests.telemetry").warning("said")
        get_meter("tests").create_counter("told").add(2)
    assert spans_of(spans) == ["story"]
    assert [(metric.name, point.value) for metric, point in points_of_others(metrics)] == [("told", 2)]
    [record] = [log.log_record for log in logs.get_finished_logs() if log.log_record.body == "said"]
    assert record.trace_id == story.get_span_context().trace_id
    assert logging.getLogger().handlers == handlers


def test_a_reader_of_metrics_can_be_read_afterwards_and_come_again() -> None:
    reader = InMemoryMetricReader()
    for _ in range(2):
        with setup_telemetry(exporters=[reader]):
            get_meter("tests").create_counter("told").add(2)
        assert [(metric.name, point.value) for metric, point in points_of_others(reader)] == [("told", 2)]


@pytest.mark.parametrize(("variable", "named"), [(None, False), ("trace_based", True)])
def test_measurements_name_no_trace_unless_they_are_asked_to(
    variable: str | None, named: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if variable is not None:
        monkeypatch.setenv("OTEL_METRICS_EXEMPLAR_FILTER", variable)
    reader = InMemoryMetricReader()
    with setup_telemetry(exporters=[reader]), tracer.start_as_current_span("measured"):
        get_meter("tests").create_counter("told").add(2)
    [(_, point)] = points_of_others(reader)
    assert bool(point.exemplars) is named


def test_a_reader_that_belongs_to_another_provider_is_refused_and_nothing_stays() -> None:
    taken = InMemoryMetricReader()
    provider = MeterProvider([taken], shutdown_on_exit=False)
    with pytest.raises(ConfigurationError, match="the metrics cannot be read"):
        setup_telemetry(exporters=[taken])
    assert Agent._instrument_default is False
    with tracer.start_as_current_span("none") as none:
        assert not none.is_recording()
    provider.shutdown()


def test_a_signal_that_is_off_is_neither_recorded_nor_exported() -> None:
    with setup_telemetry(traces=False, logs=False, exporters=[InMemoryMetricReader()]):
        with tracer.start_as_current_span("none") as none:
            assert not none.is_recording()
        assert Agent._instrument_default is not False  # for its metrics


@pytest.mark.parametrize("switch", ["OTEL_SDK_DISABLED", "OTEL_ENABLED"])
def test_the_environment_can_forbid_it(switch: str, monkeypatch: pytest.MonkeyPatch) -> None:
    exporter = InMemorySpanExporter()
    monkeypatch.setenv(switch, "true" if switch == "OTEL_SDK_DISABLED" else "false")
    with setup_telemetry(exporters=[exporter]) as telemetry:
        span("none")
        assert telemetry.force_flush()
        assert Agent._instrument_default is False
    assert spans_of(exporter) == []


def test_what_was_forbidden_later_ends_what_was_set_up(monkeypatch: pytest.MonkeyPatch) -> None:
    exporter = InMemorySpanExporter()
    setup_telemetry(exporters=[exporter])
    span("one")
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    setup_telemetry()
    span("two")
    assert spans_of(exporter) == ["one"]


def test_what_was_forbidden_once_can_be_set_up_when_it_is_not_any_more(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as forbidding:
        forbidding.setenv("OTEL_SDK_DISABLED", "true")
        assert repr(setup_telemetry("cell")) == "<Telemetry: off>"
    assert "of 'agent'" in repr(setup_telemetry())


def test_the_sampler_of_the_environment_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    exporter = InMemorySpanExporter()
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "always_off")
    with setup_telemetry(exporters=[exporter]):
        span("none")
    assert spans_of(exporter) == []


@pytest.mark.parametrize(
    ("variables", "argument", "name"),
    [
        ({}, None, "agent"),
        ({"AGENT_NAME": "kaos"}, None, "kaos"),
        ({"AGENT_NAME": "kaos", "OTEL_RESOURCE_ATTRIBUTES": "service.name=listed,x=y"}, None, "listed"),
        ({"OTEL_RESOURCE_ATTRIBUTES": "service.name=listed", "OTEL_SERVICE_NAME": "named"}, None, "named"),
        ({"OTEL_SERVICE_NAME": "named"}, "given", "given"),
    ],
)
def test_the_service_is_named_by_whoever_is_nearest(
    variables: dict[str, str], argument: str | None, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable, value in variables.items():
        monkeypatch.setenv(variable, value)
    attributes = resource_of(argument, TelemetrySettings()).attributes
    assert attributes["service.name"] == name
    assert attributes["service.instance.id"]
    assert attributes.get("x") == ("y" if "x=y" in str(variables) else None)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"protocol": "carrier pigeon"}, "use 'grpc' or 'http/protobuf'"),
        ({"endpoint": "localhost:4318", "protocol": "http/protobuf"}, "write it as http://host:port"),
        ({"endpoint": "ftp://localhost"}, "write it as http://host:port"),
        ({"endpoint": "http://localhost:4318/v1/traces"}, "leave /v1/traces out"),
        ({"exporters": ["console"]}, "not str"),
        ({"exporters": [InMemorySpanExporter()], "traces": False}, "traces=False"),
        ({"exporters": [], "endpoint": DEAD}, "takes the place of endpoint="),
        ({"keep_traces": -1}, "0 keeps no traces"),
        ({"exporters": InMemorySpanExporter()}, "takes a list of exporters, not InMemorySpanExporter"),
        ({"headers": "x-key=sesame"}, "takes a mapping of names to values, not str"),
        ({"endpoint": DEAD, "headers": {"x key": "sesame"}}, "headers= has a 'x key' that cannot be sent"),
        ({"endpoint": DEAD, "headers": {"x-key": "ses\name"}}, "headers= has a 'x-key' that cannot be sent"),
    ],
)
def test_what_cannot_be_used_is_refused_and_changes_nothing(arguments: dict[str, Any], words: str) -> None:
    exporter = InMemorySpanExporter()
    present = setup_telemetry(exporters=[exporter])
    with pytest.raises(ConfigurationError, match=words) as refused:
        setup_telemetry(**arguments)
    assert "ses" not in str(refused.value)
    span("still")
    present.shutdown()
    assert spans_of(exporter) == ["still"]


def test_no_key_of_an_endpoint_is_in_what_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "zip")
    with pytest.raises(ConfigurationError) as refused:
        setup_telemetry(endpoint="https://user:secret@host:4317")
    assert "OTEL_EXPORTER_OTLP_" in str(refused.value)
    assert "secret" not in str(refused.value)


def test_a_header_that_cannot_be_read_is_told_of_without_its_text(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "Bearer sesame")
    with setup_telemetry(endpoint="http://127.0.0.1:9", metrics=False, logs=False):
        assert "Header format invalid" in caplog.text
        assert "sesame" not in caplog.text


def test_a_header_that_cannot_be_sent_is_told_of_without_its_text(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-key=open%0Asesame")
    with setup_telemetry(endpoint=DEAD, protocol="http/protobuf", metrics=False, logs=False) as telemetry:
        span("lost")
        assert not telemetry.force_flush()
    [said] = [record.getMessage() for record in caplog.records if record.name == "pais_sdk.telemetry"]
    assert "return character(s) in header value: ..." in said
    assert "sesame" not in said


def test_a_header_is_sent_without_the_line_break_of_the_file_that_it_was_in() -> None:
    exporter: Any = otlp_metric_exporter(TelemetrySettings(), endpoint=DEAD, headers={"X-Key": "sesame\n"})
    assert ("x-key", "sesame") in exporter._headers
    exporter.shutdown()


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json"),
        ("OTEL_EXPORTER_OTLP_LOGS_PROTOCOL", "x" * 1000),
        ("OTEL_TRACES_EXPORTER", "zipkin"),
        ("OTEL_TRACES_EXPORTER", "otlp,console"),
        ("OTEL_LOGS_EXPORTER", "console"),
        ("OTEL_METRICS_EXEMPLAR_FILTER", "sometimes"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "soon"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "-1"),
        ("OTEL_BLRP_MAX_QUEUE_SIZE", "-1"),
        ("OTEL_METRIC_EXPORT_INTERVAL", "0"),
        ("OTEL_ATTRIBUTE_COUNT_LIMIT", "-1"),
    ],
)
def test_a_variable_that_cannot_be_used_is_refused_where_telemetry_is_set_up_and_nowhere_else(
    variable: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, value)
    before = set(threading.enumerate())
    assert not Settings().telemetry_on
    assert telemetry_for_server(Settings(), "name") is None
    with pytest.raises(ConfigurationError) as refused:
        setup_telemetry(endpoint=DEAD)
    said = str(refused.value)
    assert variable in said or any(fnmatch(variable, word.strip(",")) for word in said.split())
    assert len(said) < 300
    assert setup._present is None
    assert Agent._instrument_default is False
    assert [thread.name for thread in set(threading.enumerate()) - before if "Otel" in thread.name] == []
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    assert repr(setup_telemetry(endpoint=DEAD)) == "<Telemetry: off>"


def test_calls_from_many_threads_set_up_once() -> None:
    exporter = InMemorySpanExporter()
    start, handles = threading.Barrier(8), list[Telemetry]()

    def call() -> None:
        start.wait(5)
        handles.append(setup_telemetry(exporters=[exporter]))

    threads = [threading.Thread(target=call) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(5)
    assert len(handles) == 8
    assert len(set(handles)) == 1
    span("once")
    handles[0].shutdown()
    assert spans_of(exporter) == ["once"]


@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
def test_a_dead_collector_holds_neither_a_flush_nor_a_shutdown_up(protocol: str) -> None:
    telemetry = setup_telemetry(endpoint=DEAD, protocol=protocol)
    span("lost")
    over = threading.Event()

    def end() -> None:
        assert not telemetry.force_flush(0.2)
        telemetry.shutdown(0.2)
        over.set()

    threading.Thread(target=end, daemon=True).start()
    assert over.wait(5)


@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
def test_a_shutdown_does_not_wait_for_a_collector_that_refuses(protocol: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1000")  # its exporters would try for half a minute
    telemetry = setup_telemetry(endpoint=DEAD, protocol=protocol)
    flushing = threading.Thread(target=telemetry.force_flush, args=(60,), daemon=True)
    span("lost")
    flushing.start()
    ending = threading.Thread(target=telemetry.shutdown, args=(60,), daemon=True)
    ending.start()
    for thread in (flushing, ending):
        thread.join(10)
        assert not thread.is_alive()


def test_what_fails_at_the_shutdown_is_tried_a_second_time_at_once() -> None:
    class Once(InMemorySpanExporter):
        _shutdown_in_progress = threading.Event()

        def export(self, spans: Any) -> SpanExportResult:
            return results.pop(0)

    watch, results = ExportWatch(), [SpanExportResult.FAILURE, SpanExportResult.FAILURE, SpanExportResult.SUCCESS]
    exporter = watch.spans(Once(), "nowhere")
    assert exporter.export([]) is SpanExportResult.FAILURE
    watch.hurry()
    assert Once._shutdown_in_progress.is_set()
    assert exporter.export([]) is SpanExportResult.SUCCESS


def test_an_exporter_that_hangs_holds_nothing_up() -> None:
    class Hanging(InMemorySpanExporter):
        def export(self, spans: Any) -> Any:
            hanging.wait()
            return super().export(spans)

    hanging = threading.Event()
    telemetry = setup_telemetry(exporters=[Hanging()])
    span("held")
    assert not telemetry.force_flush(0.05)
    telemetry.shutdown(0.05)
    hanging.set()


def test_pydantic_ai_is_instrumented_until_the_shutdown() -> None:
    with setup_telemetry(content=False):
        ours = Agent._instrument_default
        assert isinstance(ours, InstrumentationSettings)
        assert ours.version == 5
        assert not ours.include_content
        assert not ours.include_binary_content
    assert Agent._instrument_default is False


def test_settings_of_the_users_own_stay() -> None:
    own = InstrumentationSettings()
    Agent.instrument_all(own)
    try:
        with setup_telemetry():
            assert Agent._instrument_default is own
        assert Agent._instrument_default is own
    finally:
        Agent.instrument_all(False)


def test_settings_that_the_user_sets_meanwhile_stay() -> None:
    own = InstrumentationSettings()
    try:
        with setup_telemetry():
            Agent.instrument_all(own)
        assert Agent._instrument_default is own
    finally:
        Agent.instrument_all(False)


@pytest.mark.parametrize(
    ("variables", "version", "told"),
    [
        ({"OTEL_INSTRUMENTATION_VERSION": "4"}, 4, None),
        ({"OTEL_INSTRUMENTATION_VERSION": "6"}, 6, None),
        ({"OTEL_INSTRUMENTATION_VERSION": "1"}, 5, "OTEL_INSTRUMENTATION_VERSION='1' is not supported"),
        ({"OTEL_EVENT_MODE": "logs"}, 5, "OTEL_EVENT_MODE='logs' is not supported"),
        ({"OTEL_EVENT_MODE": "attributes"}, 5, None),
    ],
)
def test_a_format_that_there_is_not_is_told_of_once(
    variables: dict[str, str],
    version: int,
    told: str | None,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    pydantic_spans._told.clear()
    for variable, value in variables.items():
        monkeypatch.setenv(variable, value)
    for _ in range(2):
        with setup_telemetry():
            ours = Agent._instrument_default
            assert isinstance(ours, InstrumentationSettings)
            assert ours.version == version
    warnings = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(warnings) == (0 if told is None else 1)
    assert all(told in warning for warning in warnings if told)


@pytest.mark.parametrize(
    ("variable", "argument", "held"),
    [(None, None, True), ("false", None, False), ("no_content", None, False), ("false", True, True)],
)
def test_what_was_said_is_held_unless_somebody_says_otherwise(
    variable: str | None, argument: bool | None, held: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if variable is not None:
        monkeypatch.setenv("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT", variable)
    with setup_telemetry(content=argument):
        ours = Agent._instrument_default
        assert isinstance(ours, InstrumentationSettings)
        assert ours.include_content is held


def test_http_clients_are_instrumented_where_the_environment_asks_until_the_shutdown(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import httpx
    import httpx2

    def wrapped() -> list[bool]:
        calls = (
            httpx.HTTPTransport.handle_request,
            httpx.AsyncHTTPTransport.handle_async_request,
            httpx2.HTTPTransport.handle_request,
            httpx2.AsyncHTTPTransport.handle_async_request,
        )
        return [hasattr(call, "__wrapped__") for call in calls]

    with setup_telemetry():
        assert wrapped() == [False] * 4
    monkeypatch.setenv("OTEL_INCLUDE_HTTP_CLIENT", "true")
    with setup_telemetry():
        assert wrapped() == [True] * 4
    assert wrapped() == [False] * 4


def test_a_server_sets_up_only_where_its_environment_asks_and_nobody_has() -> None:
    assert telemetry_for_server(Settings(), "name") is None
    asked = Settings(otel_endpoint=DEAD)
    with setup_telemetry():
        assert telemetry_for_server(asked, "name") is None
    telemetry = telemetry_for_server(asked, "runtime")
    assert telemetry is not None
    try:
        assert repr(telemetry) == "<Telemetry: of 'runtime', exported: traces, metrics, logs>"
    finally:
        telemetry.shutdown(0)
    assert telemetry_for_server(Settings(otel_endpoint=DEAD, otel_enabled=False), "name") is None


def test_as_many_traces_are_kept_as_are_asked_for() -> None:
    with setup_telemetry(keep_traces=2):
        for name in "abc":
            span(name)
        kept = recent_traces()
        assert kept is not None
        assert [kept.spans_of(trace_id)[0].name for trace_id in kept.trace_ids()] == ["b", "c"]


def test_calls_are_made_one_after_the_other_where_no_thread_can_be_started(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't create new thread at interpreter shutdown")

    left: list[float] = []

    def call(left_s: float) -> bool:
        left.append(left_s)
        return True

    with monkeypatch.context() as at_the_end:
        at_the_end.setattr(threading.Thread, "start", refuse)
        assert all_within(6, [call, call, call])
    assert [round(left_s) for left_s in left] == [2, 3, 6]


def test_a_part_that_fails_is_told_of_and_keeps_no_other_from_ending(caplog: pytest.LogCaptureFixture) -> None:
    def fail(left_s: float) -> bool:
        raise OSError("no way out")

    assert not all_within(5, [fail, lambda left_s: True])
    assert "no way out" in caplog.text
    assert not all_within(5, [lambda left_s: False, lambda left_s: True])
