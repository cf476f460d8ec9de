"""setup_telemetry and a collector: what is named in code and in the environment gets there, in each protocol."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator
from typing import Any, cast

import httpx
import httpx2
import pytest
from anyio import fail_after, to_thread
from opentelemetry import metrics, trace
from opentelemetry.sdk.trace.export import ConsoleSpanExporter
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind

from pais_sdk import setup_telemetry
from pais_sdk.settings import TelemetrySettings
from pais_sdk.telemetry.choice import TelemetryChoice
from pais_sdk.telemetry.exporters import otlp_log_exporter, otlp_metric_exporter, otlp_span_exporter
from pais_sdk.telemetry.exports import exports_of
from tests.otlp_receiver import Receiver, receiver

pytestmark = pytest.mark.anyio
tracer = trace.get_tracer("tests.collector")
counter = metrics.get_meter("tests.collector").create_counter("told")


@pytest.fixture
async def otlp() -> AsyncGenerator[Receiver]:
    async with receiver() as found:
        yield found


def tell() -> None:
    with tracer.start_as_current_span("story"):
        counter.add(1)
        logging.getLogger("tests.collector").warning("said")


@pytest.mark.parametrize("named", ["in code", "in the environment"])
@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
async def test_all_signals_arrive_with_their_headers(
    protocol: str, named: str, otlp: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments: dict[str, Any] = {}
    if named == "in code":
        arguments = {"endpoint": otlp.url(protocol), "protocol": protocol, "headers": {"X-Key": "sesame"}}
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    else:
        for name, value in {**otlp.environment(protocol), "OTEL_EXPORTER_OTLP_HEADERS": "x-key=sesame"}.items():
            monkeypatch.setenv(name, value)
    with fail_after(20):
        with setup_telemetry("cell", **arguments) as telemetry:
            tell()
            assert await to_thread.run_sync(telemetry.force_flush)
        await otlp.settled()
    [span] = otlp.spans
    [log] = [log for log in otlp.logs if log.body == "said"]
    point = otlp.newest("told")[0]
    assert (log.trace_id, log.span_id) == (span.trace_id, span.span_id)
    assert {taken.over for taken in (span, log, point)} == {protocol.split("/")[0]}
    assert {taken.headers["x-key"] for taken in (span, log, point)} == {"sesame"}
    assert {taken.service for taken in (span, log, point)} == {"cell"}


async def test_a_flush_says_when_the_collector_did_not_take_it(otlp: Receiver) -> None:
    # The receiver knows this path only: what it does not know, it refuses at once.
    with fail_after(20):
        settings = TelemetrySettings(otel_protocol="http/protobuf", otel_traces_endpoint=f"{otlp.http_url}/elsewhere")
        with setup_telemetry(settings=settings) as telemetry:
            tell()
            assert not await to_thread.run_sync(telemetry.force_flush)


async def test_each_signal_can_go_elsewhere_by_a_protocol_of_its_own(
    otlp: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", otlp.grpc_url)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", f"{otlp.http_url}/v1/traces")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/protobuf")
    monkeypatch.setenv("OTEL_METRICS_EXPORTER", "none")
    with fail_after(20):
        with setup_telemetry():
            tell()
        await otlp.settled()
    assert [span.over for span in otlp.spans] == ["http"]
    assert {log.over for log in otlp.logs} == {"grpc"}
    assert otlp.points == []


def exporters(settings: TelemetrySettings, **arguments: Any) -> list[Any]:
    makers = (otlp_span_exporter, otlp_metric_exporter, otlp_log_exporter)
    made = [make(settings, **arguments) for make in makers]
    return [getattr(exporter, "_exporter", exporter) for exporter in made]


@pytest.mark.parametrize(
    ("settings", "arguments", "urls"),
    [
        ({}, {}, ["http://localhost:4318/v1/traces"] * 3),
        ({"otel_endpoint": "http://c:1/base/"}, {}, ["http://c:1/base/v1/traces"] * 3),
        ({"otel_endpoint": "http://c:1"}, {"endpoint": "https://d"}, ["https://d/v1/traces"] * 3),
        (
            {"otel_endpoint": "http://c:1", "otel_metrics_endpoint": "http://m:2/own"},
            {},
            ["http://c:1/v1/traces", "http://m:2/own", "http://c:1/v1/logs"],
        ),
    ],
)
async def test_over_http_a_path_is_appended_to_a_base_url_and_to_nothing_else(
    settings: dict[str, Any], arguments: dict[str, Any], urls: list[str]
) -> None:
    made = exporters(TelemetrySettings(otel_protocol="http/protobuf", **settings), **arguments)
    paths = ["v1/traces", "v1/metrics", "v1/logs"]
    expected = [url.replace("v1/traces", path) for url, path in zip(urls, paths, strict=True)]
    assert [exporter._endpoint for exporter in made] == expected


@pytest.mark.parametrize(
    ("endpoint", "insecure_variable", "target", "plain"),
    [
        ("http://c:4317", None, "c:4317", True),
        ("https://c:4317", None, "c:4317", False),
        ("https://c:4317", "true", "c:4317", False),
        ("c:4317", None, "c:4317", False),
        ("c:4317", "true", "c:4317", True),
    ],
)
async def test_over_grpc_the_scheme_says_whether_there_is_tls(
    endpoint: str, insecure_variable: str | None, target: str, plain: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if insecure_variable is not None:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_INSECURE", insecure_variable)
    for exporter in exporters(TelemetrySettings(), endpoint=endpoint):
        assert exporter._endpoint == target
        assert exporter._insecure is plain
        exporter.shutdown()


@pytest.mark.parametrize(
    ("settings", "arguments", "signals"),
    [
        ({}, {}, "nothing"),
        ({"otel_enabled": True}, {}, "traces, metrics, logs"),
        ({"otel_endpoint": "http://c:1"}, {}, "traces, metrics, logs"),
        ({}, {"endpoint": "http://c:1"}, "traces, metrics, logs"),
        ({"otel_traces_endpoint": "http://c:1"}, {}, "traces"),
        ({"otel_endpoint": "http://c:1"}, {"metrics": False}, "traces, logs"),
        ({"otel_endpoint": "http://c:1", "otel_logs_exporter": "none"}, {}, "traces, metrics"),
        ({"otel_metrics_exporter": "console"}, {}, "metrics"),
        ({"otel_enabled": True, "otel_traces_exporter": "none"}, {"endpoint": "http://c:1"}, "metrics, logs"),
    ],
)
async def test_a_signal_is_exported_where_somebody_says_where_to(
    settings: dict[str, Any], arguments: dict[str, Any], signals: str
) -> None:
    exports = exports_of(TelemetryChoice(settings=TelemetrySettings(**settings), **arguments))
    assert str(exports) == signals


async def test_the_console_can_be_the_exporter(capsys: pytest.CaptureFixture[str]) -> None:
    settings = TelemetrySettings(otel_traces_exporter="console", otel_metrics_exporter="console")
    with setup_telemetry(settings=settings):
        tell()
    said = capsys.readouterr().err
    assert '"name": "story"' in said
    assert '"name": "told"' in said
    [exporter] = exports_of(TelemetryChoice(settings=settings)).spans
    assert isinstance(cast("object", exporter), ConsoleSpanExporter)


async def test_a_request_that_goes_out_is_a_span_without_its_query(otlp: Receiver) -> None:
    exporter = InMemorySpanExporter()
    settings = TelemetrySettings(otel_include_http_client=True)
    with fail_after(20), setup_telemetry(settings=settings, exporters=[exporter]):
        await to_thread.run_sync(httpx.get, f"{otlp.http_url}/old?key=sesame")
        async with httpx2.AsyncClient() as client:
            await client.get(f"{otlp.http_url}/new?key=sesame")
    spans = exporter.get_finished_spans()
    assert [(span.name, span.kind) for span in spans] == [("GET", SpanKind.CLIENT)] * 2
    assert [span.attributes["http.url"] for span in spans if span.attributes] == [
        f"{otlp.http_url}/old",
        f"{otlp.http_url}/new",
    ]
    assert "sesame" not in "".join(span.to_json() for span in spans)
