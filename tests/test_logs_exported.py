"""Python's log records, exported by OpenTelemetry: by a handler alone, and while telemetry is set up."""

from __future__ import annotations

import asyncio
import logging
import logging.config
import subprocess
import sys
import threading
from collections.abc import Generator, Sequence
from contextlib import contextmanager

import pytest
from anyio import fail_after
from opentelemetry import context, trace
from opentelemetry._logs import SeverityNumber
from opentelemetry.instrumentation.logging.handler import LoggingHandler
from opentelemetry.instrumentation.utils import suppress_instrumentation
from opentelemetry.sdk._logs import ReadableLogRecord
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, LogRecordExporter, LogRecordExportResult
from opentelemetry.sdk.resources import Resource
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags

from pais_sdk import ConfigurationError, KaosLoggingHandler
from pais_sdk.telemetry.log_attachment import attach_logs
from pais_sdk.telemetry.log_export import LogExport

from .otlp_receiver import receiver

pytestmark = pytest.mark.anyio

TRACE_ID, SPAN_ID = 0x0AF7651916CD43DD8448EB211C80319C, 0xB7AD6B7169203331
RESOURCE = Resource({"service.name": "here"})


@contextmanager
def in_a_span() -> Generator[None]:
    span = NonRecordingSpan(SpanContext(TRACE_ID, SPAN_ID, is_remote=True, trace_flags=TraceFlags(1)))
    with trace.use_span(span):
        yield


@pytest.fixture
def logger() -> Generator[logging.Logger]:
    logger = logging.getLogger("tests.exported")
    logger.setLevel(logging.DEBUG)
    logger.propagate = False
    yield logger
    logger.propagate = True
    logger.setLevel(logging.NOTSET)
    logger.handlers.clear()


@contextmanager
def bare_root() -> Generator[logging.Logger]:
    """Give the root logger as a notebook finds it: without handlers, also those of pytest."""
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    root.handlers = []
    try:
        yield root
    finally:
        root.handlers = handlers
        root.setLevel(level)


class Exported:
    """A handler whose records are kept."""

    def __init__(self, **options: str | int) -> None:
        self.exporter = InMemoryLogRecordExporter()
        self.handler = KaosLoggingHandler(exporter=self.exporter, **options)  # type: ignore[arg-type]

    def records(self) -> list[ReadableLogRecord]:
        self.handler.flush()
        return list(self.exporter.get_finished_logs())

    def bodies(self) -> list[object]:
        return [record.log_record.body for record in self.records()]


# What is exported


def test_a_record_has_its_loggers_name_its_severity_and_the_trace_it_was_logged_in(logger: logging.Logger) -> None:
    seen = Exported(service_name="mine")
    logger.addHandler(seen.handler)
    with in_a_span():
        logger.warning("%d of %s", 1, "two", extra={"order": 5, "what": object()})
    logger.info("outside")
    inside, outside = seen.records()
    assert inside.resource.attributes["service.name"] == "mine"
    assert inside.instrumentation_scope is not None
    assert inside.instrumentation_scope.name == "tests.exported"
    record = inside.log_record
    assert (record.body, record.severity_number, record.severity_text) == ("1 of two", SeverityNumber.WARN, "WARN")
    assert dict(record.attributes or {}) == {"logger_name": "tests.exported", "order": 5}
    assert (record.trace_id, record.span_id) == (TRACE_ID, SPAN_ID)
    assert (outside.log_record.trace_id, outside.log_record.span_id) == (0, 0)
    seen.handler.close()


def test_an_exception_is_three_attributes(logger: logging.Logger) -> None:
    seen = Exported()
    logger.addHandler(seen.handler)
    try:
        raise ValueError("no")
    except ValueError:
        logger.exception("it failed")
    (record,) = seen.records()
    attributes = dict(record.log_record.attributes or {})
    assert (attributes["exception.type"], attributes["exception.message"]) == ("ValueError", "no")
    assert str(attributes["exception.stacktrace"]).endswith("ValueError: no\n")
    seen.handler.close()


def test_what_opentelemetry_logs_of_itself_or_while_it_exports_is_not_exported(logger: logging.Logger) -> None:
    with bare_root() as root:
        seen = Exported()
        root.addHandler(seen.handler)
        logger.propagate = True
        logging.getLogger("opentelemetry.exporter.otlp").error("no collector")
        logging.getLogger("opentelemetry.sdk.trace").error("no")
        with suppress_instrumentation():
            logger.warning("a connection is opened")
        logger.warning("mine")
        assert seen.bodies() == ["mine"]
        seen.handler.close()


def test_a_level_is_a_number_or_a_word(logger: logging.Logger) -> None:
    for level in ("WARNING", logging.WARNING):
        seen = Exported(level=level)
        logger.handlers = [seen.handler]
        logger.info("low")
        logger.warning("high")
        assert seen.bodies() == ["high"]
        seen.handler.close()


def test_arguments_that_do_not_fit_their_message_reach_no_one_but_stderr(
    logger: logging.Logger, capsys: pytest.CaptureFixture[str]
) -> None:
    seen = Exported()
    logger.handlers = [seen.handler]  # pytest's own raises
    logger.warning("%d", "x")
    assert seen.bodies() == []
    assert "Logging error" in capsys.readouterr().err
    seen.handler.close()


@pytest.mark.parametrize("variable", ["OTEL_SDK_DISABLED=true", "OTEL_ENABLED=false"])
def test_nothing_is_exported_where_the_environment_forbids_it(
    logger: logging.Logger, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv(*variable.split("=", 1))
    seen = Exported()
    logger.addHandler(seen.handler)
    logger.warning("not seen")
    assert seen.bodies() == []
    seen.handler.close()


def test_a_protocol_that_is_none_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="'smoke' is not known; use 'grpc'"):
        KaosLoggingHandler(endpoint="http://127.0.0.1:1", protocol="smoke")


def test_no_key_is_exported(logger: logging.Logger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODEL_API_KEY", "the-models-key")
    seen = Exported()
    logger.addHandler(seen.handler)
    try:
        raise ValueError("not the-models-key")
    except ValueError:
        logger.exception("it is %s", "the-models-key", extra={"key": "the-models-key"})
    (record,) = seen.records()
    attributes = record.log_record.attributes or {}
    assert record.log_record.body == "it is ***"
    assert (attributes["key"], attributes["exception.message"]) == ("***", "not ***")
    assert "the-models-key" not in str(attributes)
    seen.handler.close()


async def test_no_record_is_such_that_the_others_of_its_batch_are_lost() -> None:
    odd = logging.getLogger("tests.exported.\ud800")
    odd.propagate = False
    with fail_after(30):
        async with receiver() as otlp:
            handler = KaosLoggingHandler(endpoint=otlp.grpc_url)
            odd.addHandler(handler)
            odd.warning("half a character: \ud800", extra={"large": 2**64, "half": "\ud800"})
            odd.warning({"large": 2**64, "object": object()})
            odd.warning("z" * 5_000_000)
            odd.warning("the last one")
            await asyncio.to_thread(handler.close)
            odd.removeHandler(handler)
            await otlp.settled()
    half, large, long, last = otlp.logs
    assert (half.body, half.attributes["half"]) == ("half a character: \ufffd", "\ufffd")
    assert str(2**64) in large.body
    assert 100_000 < len(long.body) < 200_000
    assert (last.body, last.attributes["logger_name"]) == ("the last one", "tests.exported.\ufffd")


# Its end


class Hanging(LogRecordExporter):
    """Exports to a collector that never answers, until it is ended."""

    def __init__(self) -> None:
        self.ended = threading.Event()

    def export(self, batch: Sequence[ReadableLogRecord]) -> LogRecordExportResult:
        self.ended.wait()
        return LogRecordExportResult.FAILURE

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        return True

    def shutdown(self) -> None:
        self.ended.set()


def test_closing_exports_what_is_waiting_and_then_no_more(logger: logging.Logger) -> None:
    seen = Exported()
    logger.addHandler(seen.handler)
    logger.warning("before")
    seen.handler.close()
    seen.handler.close()
    logger.warning("after")
    seen.handler.flush()
    assert [record.log_record.body for record in seen.exporter.get_finished_logs()] == ["before"]


def test_a_collector_that_never_answers_holds_nobody_up(logger: logging.Logger) -> None:
    hanging = Hanging()
    export = LogExport(RESOURCE, [hanging])
    logger.addHandler(KaosLoggingHandler(logger_provider=export.provider))
    logger.warning("lost")
    assert export.force_flush(0.01) is False
    export.shutdown(0.01)
    assert hanging.ended.is_set()


@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
async def test_a_script_with_a_handler_alone_loses_nothing_at_its_end(protocol: str) -> None:
    script = """
import logging, sys
from pais_sdk import KaosLoggingHandler
logging.basicConfig(level=logging.DEBUG, handlers=[logging.NullHandler()])
handler = KaosLoggingHandler(service_name="script", endpoint=sys.argv[1], protocol=sys.argv[2])
logging.getLogger().addHandler(handler)
logging.getLogger("mine").info("the last word")
"""
    with fail_after(30):
        async with receiver() as otlp:
            arguments = (sys.executable, "-W", "error", "-c", script, otlp.url(protocol), protocol)
            script_run = await asyncio.create_subprocess_exec(*arguments, stderr=subprocess.PIPE)
            assert (await script_run.communicate())[1] == b""
            await otlp.settled()
    mine = [record for record in otlp.logs if record.attributes["logger_name"] == "mine"]
    assert [(record.body, record.severity, record.service, record.over) for record in mine] == [
        ("the last word", "INFO", "script", protocol.partition("/")[0])
    ]


# While telemetry is set up


def test_the_root_loggers_records_are_exported_until_the_end() -> None:
    with bare_root() as root:
        exporter = InMemoryLogRecordExporter()
        attached = attach_logs(RESOURCE, [exporter])
        logging.getLogger("tests.one").warning("seen")
        attached.shutdown()
        attached.shutdown()
        logging.getLogger("tests.one").warning("not seen")
        assert [record.log_record.body for record in exporter.get_finished_logs()] == ["seen"]
        assert root.handlers == []


def test_logs_are_exported_once_where_somebody_does_already() -> None:
    with bare_root() as root:
        for theirs in (KaosLoggingHandler(exporter=InMemoryLogRecordExporter()), LoggingHandler()):
            root.handlers = [theirs]
            exporter = InMemoryLogRecordExporter()
            attached = attach_logs(RESOURCE, [exporter])
            assert root.handlers == [theirs]
            attached.shutdown()
            assert root.handlers == [theirs]
            asked_for = attach_logs(RESOURCE, [exporter], explicit=True)
            assert len(root.handlers) > 1
            asked_for.shutdown()
            theirs.close()


def test_without_an_exporter_the_root_logger_is_left_alone() -> None:
    with bare_root() as root:
        attached = attach_logs(RESOURCE, [])
        assert root.handlers == []
        assert attached.force_flush()
        attached.shutdown()


def test_warnings_are_still_shown_where_nobody_set_logging_up(capsys: pytest.CaptureFixture[str]) -> None:
    with bare_root():
        attached = attach_logs(RESOURCE, [InMemoryLogRecordExporter()])
        logging.getLogger("tests.shown").warning("shown")
        logging.getLogger("tests.shown").info("not shown")
        shown_elsewhere = logging.NullHandler()
        logging.getLogger("tests.shown").addHandler(shown_elsewhere)
        logging.getLogger("tests.shown").warning("shown elsewhere")
        logging.getLogger("tests.shown").removeHandler(shown_elsewhere)
        attached.shutdown()
        assert capsys.readouterr().err == "shown\n"


def test_logging_is_set_up_afterwards_as_if_nothing_were_there(capsys: pytest.CaptureFixture[str]) -> None:
    with bare_root():
        before = (logging.basicConfig, logging.config.dictConfig, logging.config.fileConfig)
        exporter = InMemoryLogRecordExporter()
        attached = attach_logs(RESOURCE, [exporter])
        logging.basicConfig(level=logging.INFO, format="first %(message)s")
        logging.getLogger("tests.set_up").info("one")
        logging.basicConfig(level=logging.INFO, format="second %(message)s", force=True)
        logging.getLogger("tests.set_up").info("two")
        logging.config.dictConfig(
            {
                "version": 1,
                "disable_existing_loggers": False,
                "formatters": {"f": {"format": "third %(message)s"}},
                "handlers": {"h": {"class": "logging.StreamHandler", "formatter": "f"}},
                "root": {"handlers": ["h"], "level": "INFO"},
            }
        )
        logging.getLogger("tests.set_up").info("three")
        attached.shutdown()
        assert capsys.readouterr().err == "first one\nsecond two\nthird three\n"
        assert [record.log_record.body for record in exporter.get_finished_logs()] == ["one", "two", "three"]
        assert (logging.basicConfig, logging.config.dictConfig, logging.config.fileConfig) == before


def test_every_exporter_gets_every_record() -> None:
    with bare_root():
        exporters = [InMemoryLogRecordExporter(), InMemoryLogRecordExporter()]
        attached = attach_logs(RESOURCE, exporters)
        token = context.attach(context.Context())
        logging.getLogger("tests.both").error("to both")
        context.detach(token)
        assert attached.force_flush()
        attached.shutdown()
        assert [[one.log_record.body for one in each.get_finished_logs()] for each in exporters] == 2 * [["to both"]]
