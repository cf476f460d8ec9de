"""The log of a process that serves: one format, each line with the trace it belongs to, and nothing that is secret."""

from __future__ import annotations

import asyncio
import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
from anyio import fail_after
from starlette.responses import JSONResponse

from .http_agents import CHAT, body
from .mcp_servers import stdio
from .peers import Seen, kaos_new, peer, unused_url
from .processes import SERVE, process

pytestmark = pytest.mark.anyio

TRACE_ID, SPAN_ID = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
PARENT = {"traceparent": f"00-{TRACE_ID}-{SPAN_ID}-01"}
PLAIN = re.compile(
    r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} - (?P<logger>[\w.]+) - (?P<level>[A-Z]+) - "
    r"\[trace_id=(?P<trace_id>0|[0-9a-f]{32}) span_id=(?P<span_id>0|[0-9a-f]{16})\] - (?P<message>.*)"
)
TELLING_AGENT = """
import logging
import threading
import warnings

from pydantic_ai import Agent

warnings.simplefilter("always")
warnings.warn("be warned")
threading.Thread(target=lambda: 1 / 0, name="odd").start()


class Late:
    def __del__(self):
        raise RuntimeError("too late")


Late()
agent = Agent("test", name="telling")


@agent.tool_plain
def fail(what: str) -> str:
    logging.getLogger("mine").info("failing")
    raise ValueError("no\\nbad")
"""
CALLS_A_TOOL = json.dumps([{"tool_calls": [{"name": "fail", "arguments": {"what": "x"}}]}, "ok"])


def records(log: list[str], line_format: str) -> list[dict[str, Any]]:
    """Return what a log says; every line must belong to it."""
    if line_format == "json":
        return [json.loads(line) for line in log]
    found: list[dict[str, Any]] = []
    for line in log:
        if match := PLAIN.match(line):
            found.append(match.groupdict())
        else:
            assert line.startswith("    "), line
            found[-1]["message"] += f"\n{line[4:].rstrip()}"
    return found


async def ended_at_once(folder: Path, **environment: str) -> tuple[int | None, list[str]]:
    """Run a command that cannot serve; return its exit code and its log."""
    child = await asyncio.create_subprocess_exec(
        *SERVE, "--port", "0", cwd=folder, env={**os.environ, **environment}, stderr=asyncio.subprocess.PIPE
    )
    _, told = await child.communicate()
    return child.returncode, told.decode().splitlines()


@pytest.mark.parametrize("line_format", ["plain", "json"])
async def test_every_line_is_a_record_with_its_trace_also_where_nothing_is_exported(
    tmp_path: Path, line_format: str
) -> None:
    (tmp_path / "agent.py").write_text(TELLING_AGENT)
    variables = {"LOG_FORMAT": line_format, "AGENT_ACCESS_LOG": "true", "DEBUG_MOCK_RESPONSES": CALLS_A_TOOL}
    with fail_after(30):
        async with process(tmp_path, **variables) as here:
            for stream in (False, True):
                answer = await here.http.post(CHAT, headers=PARENT, json=body("go", stream=stream))
                assert answer.status_code == 200
            assert (await here.http.get("/a%0Ab%0D%1B[2Jc")).status_code == 404
            here.stop()
            assert await here.ended() == 0
    told = records(here.log, line_format)
    of_loggers = {record["logger"]: record for record in told}
    assert "UserWarning: be warned" in of_loggers["py.warnings"]["message"]
    traced = [record for record in told if record["trace_id"] == TRACE_ID and record["logger"] != "pais_sdk.server"]
    assert [(record["logger"], record["level"]) for record in traced] == 2 * [
        ("mine", "INFO"),
        ("pais_sdk.tools", "ERROR"),
        ("pais_sdk.access", "INFO"),
    ]
    assert {record["span_id"] for record in traced} == {SPAN_ID}
    odd = next(record for record in told if "'odd' ends by an error" in record["message"])
    assert "ZeroDivisionError" in odd.get("exception", odd["message"])
    late = next(record for record in told if "has nobody to go to" in record["message"])
    assert late.get("exception", late["message"]).endswith("RuntimeError: too late")
    failed = of_loggers["pais_sdk.tools"]
    assert failed.get("exception", failed["message"]).endswith("ValueError: no\nbad")
    assert told[-1]["message"] == "agent 'telling' has stopped"
    (odd_path,) = [record for record in told if " 404 " in record["message"]]  # ids have these digits, too
    assert (odd_path["trace_id"], odd_path["span_id"]) == ("0", "0")


async def test_an_error_that_ends_the_process_is_a_record_too(tmp_path: Path) -> None:
    (tmp_path / "server.py").write_text("agent = {}\nagent['nothing']\n")
    with fail_after(30):
        code, log = await ended_at_once(tmp_path, LOG_FORMAT="json")
    assert code == 1
    (record,) = records(log, "json")
    assert (record["logger"], record["level"]) == ("pais_sdk.serve", "CRITICAL")
    assert record.get("exception", record["message"]).endswith("KeyError: 'nothing'")


ENDING_AGENT = """
import os
import signal

from pydantic_ai import Agent

agent = Agent("test", name="ending")


@agent.tool_plain
async def end() -> str:
    os.kill(os.getpid(), signal.SIGTERM)
    return "soon"
"""


async def test_a_signal_belongs_to_no_request_also_where_it_is_heard_in_the_midst_of_one(tmp_path: Path) -> None:
    (tmp_path / "agent.py").write_text(ENDING_AGENT)
    script = json.dumps([{"tool_calls": [{"name": "end", "arguments": {}}]}, "ok"])
    with fail_after(30):
        async with process(tmp_path, DEBUG_MOCK_RESPONSES=script) as here:
            assert (await here.http.post(CHAT, headers=PARENT, json=body("go"))).status_code == 200
            assert await here.ended() == 0
    (heard,) = [record for record in records(here.log, "plain") if "takes no more runs" in record["message"]]
    assert heard["trace_id"] == "0"


STUCK_AGENT = """
import logging
import threading

from pydantic_ai import Agent


class Stuck(logging.Handler):
    def emit(self, record):
        if "takes no more runs" in record.getMessage():
            threading.Event().wait()


logging.getLogger().addHandler(Stuck())
agent = Agent("test", name="stuck")
"""


async def test_a_handler_that_never_comes_back_cannot_keep_the_process(tmp_path: Path) -> None:
    (tmp_path / "agent.py").write_text(STUCK_AGENT)
    with fail_after(30):
        async with process(tmp_path, DEBUG_MOCK_RESPONSES='["hello"]') as here:
            here.stop()
            await here.says("takes no more runs", 1)
            here.stop()
            assert await here.ended() == 1


async def test_all_workers_and_their_parent_log_alike(tmp_path: Path) -> None:
    (tmp_path / "agent.py").write_text("from pydantic_ai import Agent\nagent = Agent('test', name='one')\n")
    several = {"AGENT_WORKERS": "2", "MEMORY_TYPE": "null", "AGENT_A2A": "false", "LOG_FORMAT": "json"}
    with fail_after(30):
        async with process(tmp_path, DEBUG_MOCK_RESPONSES='["hello"]', **several) as here:
            await here.says("listens on", 2)
            here.stop()
            assert await here.ended() == 0
    messages = [(record["logger"], record["message"]) for record in records(here.log, "json")]
    assert messages[-1] == ("pais_sdk.serve", "all 2 workers have ended")
    assert messages.count(("pais_sdk.server", "agent 'one' has stopped")) == 2


# What is never said

KEYS = {
    name: f"the-key-of-{name}"
    for name in (
        *("callers", "the-model", "the-worker", "the-mcp-server", "the-mcp-servers-url", "the-mcp-servers-header"),
        *("the-collector", "the-collectors-url"),
    )
}
CONTENTS = {
    name: f"the content of {name}"
    for name in ("a prompt", "an argument", "a result", "a task", "an answer", "a failure", "an mcp argument")
}
QUIET_AGENT = f"""
from pydantic_ai import Agent

agent = Agent(name="quiet")


@agent.tool_plain
def look(what: str) -> str:
    return {CONTENTS["a result"]!r}
"""


def model(seen: Seen) -> Any:
    """Call every kind of tool, and answer; fail at a prompt that says so, telling what was asked, and its key."""
    said = json.dumps(seen.body["messages"])
    if "fail" in said:
        key = seen.headers["authorization"] if "with the key" in said else ""
        text = f"{CONTENTS['a failure']}, {key}, {said}"
        return JSONResponse({"error": {"message": text, "type": "invalid_request_error"}}, 400)
    message: dict[str, Any] = {"role": "assistant", "content": CONTENTS["an answer"]}
    if '"role": "tool"' not in said:
        arguments = {
            "look": {"what": CONTENTS["an argument"]},
            "delegate_to_worker": {"task": CONTENTS["a task"]},
            "echo": {"value": {"text": CONTENTS["an mcp argument"]}},
        }
        functions = [{"name": name, "arguments": json.dumps(value)} for name, value in arguments.items()]
        calls = [{"id": function["name"], "type": "function", "function": function} for function in functions]
        message = {"role": "assistant", "content": None, "tool_calls": calls}
    choice = {"index": 0, "finish_reason": "tool_calls" if "tool_calls" in message else "stop", "message": message}
    return {"id": "c", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice]}


@pytest.mark.parametrize("level", ["INFO", "TRACE"])
async def test_no_key_is_ever_in_the_log_and_no_content_where_it_is_not_asked_for(tmp_path: Path, level: str) -> None:
    (tmp_path / "agent.py").write_text(QUIET_AGENT)
    servers = {"files": {**stdio(), "env": {"TOKEN": KEYS["the-mcp-server"]}}}
    servers["away"] = {
        "url": f"{unused_url()}/mcp?key={KEYS['the-mcp-servers-url']}",
        "headers": {"Authorization": f"Bearer {KEYS['the-mcp-servers-header']}"},
    }
    (tmp_path / "mcp.json").write_text(json.dumps({"mcpServers": servers}))
    worker = kaos_new()
    with fail_after(60):
        async with peer(model) as endpoint, peer(worker) as remote:
            variables = {
                "AGENT_API_KEYS": f"alice={KEYS['callers']}",
                "MODEL_API_URL": endpoint.url,
                "MODEL_NAME": "m",
                "MODEL_API_KEY": KEYS["the-model"],
                "PEER_AGENTS": "worker",
                "PEER_AGENT_WORKER_CARD_URL": remote.url,
                "PEER_AGENT_WORKER_API_KEY": KEYS["the-worker"],
                "MCP_CONFIG": "mcp.json",
                "MEMORY_TYPE": "sqlite",
                "AGENT_ACCESS_LOG": "true",
                "OTEL_EXPORTER_OTLP_ENDPOINT": unused_url().replace("//", f"//me:{KEYS['the-collectors-url']}@"),
                "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
                "OTEL_EXPORTER_OTLP_HEADERS": f"authorization={KEYS['the-collector']}",
                "OTEL_EXPORTER_OTLP_TIMEOUT": "1",
                "LOG_LEVEL": level,
            }
            async with process(tmp_path, **variables) as here:
                headers = {"X-API-Key": KEYS["callers"]}
                answer = await here.http.post(CHAT, headers=headers, json=body(CONTENTS["a prompt"]))
                failing = body(f"fail with the key: {CONTENTS['a prompt']}")
                failed = await here.http.post(CHAT, headers=headers, json=failing)
                here.stop()
                assert await here.ended() == 0
    log = "".join(here.log)
    assert answer.json()["choices"][0]["message"]["content"] == CONTENTS["an answer"], log
    assert failed.status_code >= 400
    assert {f"Bearer {KEYS['the-model']}"} == {seen.headers["authorization"] for seen in endpoint.posts}
    assert CONTENTS["an mcp argument"] in str(endpoint.posts[1].body)
    assert any(KEYS["the-worker"] in str(seen.headers) for seen in remote.posts)
    assert "do not get to" in log
    if level == "TRACE":
        assert "/mcp?***" in log
        assert "Bearer ***" in log  # what the model's endpoint said of it
    assert [key for key in KEYS.values() if key in log] == []
    if level == "INFO":
        assert [content for content in CONTENTS.values() if content in log] == []
        assert {record["logger"].partition(".")[0] for record in records(here.log, "plain")} == {"pais_sdk"}
