"""An OTLP collector as a process: takes traces, metrics and logs over gRPC and HTTP, and tells them line by line.

The first line of its stdout has both ports; each other one is something that came, an attempt that was not taken, or
the answer to a line of its stdin. A line there is `ok`, `hang` or `unavailable`, which say what exporters are
answered from now on, or another word, which is said back.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import grpc
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest, ExportLogsServiceResponse
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import SeverityNumber
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from pais_sdk._listen import listening

Line = dict[str, Any]


def spans_in(request: Any) -> Iterator[Line]:
    for resource_spans in request.resource_spans:
        for scope_spans in resource_spans.scope_spans:
            for span in scope_spans.spans:
                yield {
                    "what": "span",
                    "name": span.name,
                    "trace_id": span.trace_id.hex(),
                    "span_id": span.span_id.hex(),
                    "parent_id": span.parent_span_id.hex() or None,
                    "trace_state": span.trace_state,
                    "kind": Span.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_"),
                    "start_ns": span.start_time_unix_nano,
                    "end_ns": span.end_time_unix_nano,
                    "status": Status.StatusCode.Name(span.status.code).removeprefix("STATUS_CODE_"),
                    "status_text": span.status.message,
                    "attributes": values_of(span.attributes),
                    "events": [event.name for event in span.events],
                    **where(scope_spans, resource_spans),
                }


def points_in(request: Any) -> Iterator[Line]:
    for resource_metrics in request.resource_metrics:
        for scope_metrics in resource_metrics.scope_metrics:
            for metric in scope_metrics.metrics:
                for point in _points(metric):
                    yield {**point, **where(scope_metrics, resource_metrics)}


def _points(metric: Metric) -> Iterator[Line]:
    kind = metric.WhichOneof("data")
    assert kind is not None
    for point in getattr(metric, kind).data_points:
        is_histogram = kind == "histogram"
        yield {
            "what": "point",
            "name": metric.name,
            "unit": metric.unit,
            "kind": kind,
            "attributes": values_of(point.attributes),
            "value": point.sum if is_histogram else point.as_int or point.as_double,
            "count": point.count if is_histogram else None,
        }


def logs_in(request: Any) -> Iterator[Line]:
    for resource_logs in request.resource_logs:
        for scope_logs in resource_logs.scope_logs:
            for record in scope_logs.log_records:
                yield {
                    "what": "log",
                    "body": value_of(record.body),
                    "severity": SeverityNumber.Name(record.severity_number).removeprefix("SEVERITY_NUMBER_"),
                    "trace_id": record.trace_id.hex() or None,
                    "span_id": record.span_id.hex() or None,
                    "attributes": values_of(record.attributes),
                    **where(scope_logs, resource_logs),
                }


def where(of_scope: Any, of_resource: Any) -> Line:
    return {"scope": of_scope.scope.name, "resource": values_of(of_resource.resource.attributes)}


def values_of(attributes: Iterable[KeyValue]) -> dict[str, Any]:
    return {attribute.key: value_of(attribute.value) for attribute in attributes}


def value_of(value: AnyValue) -> Any:
    kind = value.WhichOneof("value")
    if kind is None:
        return None
    if kind == "array_value":
        return [value_of(one) for one in value.array_value.values]
    if kind == "kvlist_value":
        return values_of(value.kvlist_value.values)
    if kind == "bytes_value":
        return value.bytes_value.hex()
    return getattr(value, kind)


SIGNALS: dict[str, tuple[str, type[Any], type[Any], Callable[[Any], Iterator[Line]]]] = {
    "traces": ("trace.v1.TraceService", ExportTraceServiceRequest, ExportTraceServiceResponse, spans_in),
    "metrics": ("metrics.v1.MetricsService", ExportMetricsServiceRequest, ExportMetricsServiceResponse, points_in),
    "logs": ("logs.v1.LogsService", ExportLogsServiceRequest, ExportLogsServiceResponse, logs_in),
}


class Collector:
    """Answers exporters as it was last told."""

    def __init__(self) -> None:
        self.behaviour = "ok"
        self._changed = asyncio.Event()

    async def behave_as_told(self) -> None:
        """Read stdin to its end."""
        loop = asyncio.get_running_loop()
        stdin = asyncio.StreamReader()
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(stdin), sys.stdin)
        while line := (await stdin.readline()).decode().strip():
            if line in ("ok", "hang", "unavailable"):
                self.behaviour = line
                self._changed.set()
                self._changed = asyncio.Event()
            say({"what": "said", "word": line})

    async def take(self, signal: str, request: Any, over: str, headers: dict[str, str]) -> bool:
        """Tell what came, before its exporter is answered; False where it cannot be taken."""
        while self.behaviour == "hang":
            say({"what": "attempt", "signal": signal, "over": over})
            await self._changed.wait()
        if self.behaviour == "unavailable":
            say({"what": "attempt", "signal": signal, "over": over})
            return False
        for line in SIGNALS[signal][-1](request):
            say({**line, "over": over, "headers": headers})
        return True

    def grpc_handlers(self) -> list[grpc.GenericRpcHandler]:
        handlers: list[grpc.GenericRpcHandler] = []
        for signal, (service, request_type, response_type, _) in SIGNALS.items():

            async def export(request: Any, context: Any, signal: str = signal, response: Any = response_type) -> Any:
                if not await self.take(signal, request, "grpc", dict(context.invocation_metadata())):
                    await context.abort(grpc.StatusCode.UNAVAILABLE, "not now")
                return response()

            method = grpc.unary_unary_rpc_method_handler(
                export,
                request_deserializer=request_type.FromString,
                response_serializer=response_type.SerializeToString,
            )
            name = f"opentelemetry.proto.collector.{service}"
            handlers.append(grpc.method_handlers_generic_handler(name, {"Export": method}))
        return handlers

    async def export(self, request: Request) -> Response:
        """Answer a request over HTTP."""
        signal = request.path_params["signal"]
        assert request.headers["content-type"] == "application/x-protobuf"
        data = await request.body()
        if request.headers.get("content-encoding") == "gzip":
            data = gzip.decompress(data)
        _, request_type, response_type, _ = SIGNALS[signal]
        if not await self.take(signal, request_type.FromString(data), "http", dict(request.headers)):
            return Response("not now", status_code=503)
        return Response(response_type().SerializeToString(), media_type="application/x-protobuf")


def say(line: Line) -> None:
    sys.stdout.write(f"{json.dumps(line)}\n")
    sys.stdout.flush()


async def main() -> None:
    """Collect until stdin ends."""
    collector = Collector()
    server = grpc.aio.server()
    server.add_generic_rpc_handlers(collector.grpc_handlers())
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    over_http = Starlette(routes=[Route("/v1/{signal}", collector.export, methods=["POST"])])
    async with listening(over_http, grace_s=0.1) as url:
        say({"grpc": f"http://127.0.0.1:{port}", "http": url})
        await collector.behave_as_told()
        collector.behaviour = "ok"
    await server.stop(None)


if __name__ == "__main__":
    asyncio.run(main())
