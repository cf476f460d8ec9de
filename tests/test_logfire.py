"""The hand-over to Logfire: its real package exports, to a stand-in for its service, and nobody else does."""

from __future__ import annotations

import asyncio
import gzip
import json
import os
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from anyio import fail_after
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from pais_sdk._listen import listening

from .http_agents import CHAT, body
from .processes import process

pytestmark = pytest.mark.anyio

TOKEN = "pylf_v1_us_the_token"
TRACE_ID = "0af7651916cd43dd8448eb211c80319c"
SCRIPT = f"""
import logging

from opentelemetry import context, propagate, trace
from pydantic_ai import Agent
from pydantic_ai.models.test import TestModel

from pais_sdk import AgentRuntime, setup_telemetry

logging.getLogger().setLevel(logging.INFO)
telemetry = setup_telemetry("mine", content=False)
agent = Agent(TestModel(custom_output_text="the content of an answer"), name="a")


@agent.tool_plain
def look() -> str:
    logging.getLogger("tools").info("looking for %s", "it")
    return "the content of a result"


context.attach(propagate.extract({{"traceparent": "00-{TRACE_ID}-b7ad6b7169203331-01"}}))
print(AgentRuntime(agent).run_sync("the content of a prompt").text)
assert setup_telemetry() is telemetry
telemetry.shutdown()
assert logging.getLogger().handlers == []
with trace.get_tracer("tests").start_as_current_span("after"):
    logging.getLogger("tests").info("after")
"""


@dataclass
class Export:
    path: str
    token: str
    content: bytes


@dataclass
class Service:
    """What came, for Logfire (`/v1/...`) and for a collector (`/otlp/v1/...`)."""

    url: str
    exports: list[Export] = field(default_factory=list[Export])

    @property
    def environment(self) -> dict[str, str]:
        return {
            "LOGFIRE_TOKEN": TOKEN,
            "LOGFIRE_BASE_URL": self.url,
            "LOGFIRE_SEND_TO_LOGFIRE": "true",  # under pytest it sends nothing, unless it is told to
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"{self.url}/otlp",
            "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
        }

    def spans(self, path: str = "/v1/traces") -> dict[str, tuple[str, str, str]]:
        """Return each span's service, trace and scope."""
        found: dict[str, tuple[str, str, str]] = {}
        for export in self.exports:
            if export.path == path:
                for of_resource in ExportTraceServiceRequest.FromString(export.content).resource_spans:
                    resource = {one.key: one.value.string_value for one in of_resource.resource.attributes}
                    for of_scope in of_resource.scope_spans:
                        for span in of_scope.spans:
                            found[span.name] = (resource["service.name"], span.trace_id.hex(), of_scope.scope.name)
        return found


@asynccontextmanager
async def service() -> AsyncGenerator[Service]:
    here = Service("")

    async def info(request: Request) -> Response:
        return JSONResponse({"project_name": "p", "project_url": here.url})

    async def take(request: Request) -> Response:
        content = await request.body()
        if request.headers.get("content-encoding") == "gzip":
            content = gzip.decompress(content)
        here.exports.append(Export(request.url.path, request.headers.get("authorization", ""), content))
        return Response()

    routes = [Route("/v1/info", info), Route("/{path:path}", take, methods=["POST"])]
    async with listening(Starlette(routes=routes), grace_s=0.1) as here.url:
        yield here


async def run(script: str, **environment: str) -> tuple[str, str]:
    """Run a script to its good end; return what it printed, and its log."""
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-W", "error", "-c", script),
        env={**os.environ, **environment},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    said, log = (text.decode() for text in await child.communicate())
    assert child.returncode == 0, log
    return said, log


async def test_all_goes_to_logfire_and_nothing_to_the_collector_that_is_named_too() -> None:
    with fail_after(30):
        async with service() as here:
            said, log = await run(SCRIPT, **here.environment)
    assert said == "the content of an answer\n"
    assert log == ""
    assert {export.path for export in here.exports} == {"/v1/traces", "/v1/metrics"}
    assert {export.token for export in here.exports} == {TOKEN}
    spans = here.spans()
    assert spans["server-run"] == ("mine", TRACE_ID, "pais_sdk.runtime")
    assert spans["invoke_agent a"] == ("mine", TRACE_ID, "pydantic-ai")
    assert spans["looking for %s"] == ("mine", TRACE_ID, "logfire.stdlib.logging")
    assert "after" not in spans
    assert not [export for export in here.exports if b"the content of" in export.content]


async def test_without_the_package_the_log_names_the_install_and_the_collector_gets_all() -> None:
    missing = f"import sys\nsys.modules['logfire'] = None\n{SCRIPT}"
    with fail_after(30):
        async with service() as here:
            _, log = await run(missing, **here.environment)
    assert log == "LOGFIRE_TOKEN is set and has no effect, for its package is missing: pip install logfire\n"
    assert {export.path for export in here.exports} == {f"/otlp/v1/{one}" for one in ("traces", "metrics", "logs")}
    assert here.spans("/otlp/v1/traces")["server-run"] == ("mine", TRACE_ID, "pais_sdk.runtime")
    assert not [export for export in here.exports if TOKEN in export.token]


async def test_a_server_hands_over_by_its_environment_alone_and_loses_nothing_at_its_end(tmp_path: Path) -> None:
    (tmp_path / "agent.py").write_text("from pydantic_ai import Agent\nagent = Agent('test', name='served')\n")
    with fail_after(30):
        async with service() as here:
            variables = {**here.environment, "DEBUG_MOCK_RESPONSES": json.dumps(["hello"])}
            async with process(tmp_path, **variables) as server:
                assert (await server.http.post(CHAT, json=body("hi"))).status_code == 200
                server.stop()
                assert await server.ended() == 0
    assert here.spans()["server-run"][0] == "served"
    assert not [export for export in here.exports if export.path.startswith("/otlp")]
    assert TOKEN not in "".join(server.log)
    assert not [line for line in server.log if "WARNING" in line and "DEBUG_MOCK_RESPONSES" not in line]


async def test_a_service_that_never_answers_holds_up_no_end(tmp_path: Path) -> None:
    (tmp_path / "agent.py").write_text("from pydantic_ai import Agent\nagent = Agent('test', name='served')\n")
    asked = asyncio.Event()

    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.set()
        await reader.read(-1)
        writer.close()

    async with await asyncio.start_server(hang, "127.0.0.1", 0) as silent:
        port: int = silent.sockets[0].getsockname()[1]
        variables = {**Service(f"http://127.0.0.1:{port}").environment, "DEBUG_MOCK_RESPONSES": '["hello"]'}
        with fail_after(60):
            async with process(tmp_path, **variables) as server:
                assert (await server.http.post(CHAT, json=body("hi"))).status_code == 200
                await asked.wait()
                server.stop()
                with fail_after(10):  # its package would wait for 10 seconds, thrice
                    assert await server.ended() == 0
    assert "has stopped" in "".join(server.log)
