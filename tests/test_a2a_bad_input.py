"""A2A: what is no request, and what asks for what is not there."""

from __future__ import annotations

import json
from typing import Any

import anyio
import pytest

from pais_sdk import Settings

from .a2a_calls import CORE, error, error_in, message, post, send
from .agents import echo_agent
from .http_agents import SECRET, Served, served

pytestmark = pytest.mark.anyio


def framed(**fields: Any) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "id": 1, "method": "GetTask", "params": {"id": "x"}} | fields).encode()


@pytest.mark.parametrize(
    ("body", "code", "reason"),
    [
        (b"", -32700, "JSON_PARSE_ERROR"),
        (b"{", -32700, "JSON_PARSE_ERROR"),
        (b"\xff\xfe", -32700, "JSON_PARSE_ERROR"),
        (b"[" * 100_000, -32700, "JSON_PARSE_ERROR"),
        (b'{"jsonrpc": "2.0", "id": 1, "method": "GetTask", "params": {"id": NaN}}', -32700, "JSON_PARSE_ERROR"),
        (b'{"jsonrpc": "2.0", "id": 1, "method": "GetTask", "params": {"id": 1e999}}', -32700, "JSON_PARSE_ERROR"),
        (b"1", -32600, "INVALID_REQUEST"),
        (b"null", -32600, "INVALID_REQUEST"),
        (b"[]", -32600, "INVALID_REQUEST"),
        (b"[" + framed() + b"]", -32600, "INVALID_REQUEST"),
        (b"{}", -32600, "INVALID_REQUEST"),
        (framed(jsonrpc="1.0"), -32600, "INVALID_REQUEST"),
        (framed(id=True), -32600, "INVALID_REQUEST"),
        (framed(id={}), -32600, "INVALID_REQUEST"),
        (framed(id=1.5), -32600, "INVALID_REQUEST"),
        (framed(method=None), -32600, "INVALID_REQUEST"),
        (framed(method=""), -32600, "INVALID_REQUEST"),
        (framed(method=["GetTask"]), -32600, "INVALID_REQUEST"),
        (framed(params=["x"]), -32602, "INVALID_PARAMS"),
        (framed(params="x"), -32602, "INVALID_PARAMS"),
        (framed(params=None), -32602, "INVALID_PARAMS"),
        (
            framed(params={"id": "x", "data": [[1] * 9_000, {str(key): 1 for key in range(1_000)}]}),
            -32602,
            "INVALID_PARAMS",
        ),
        (framed(method="Nonsense"), -32601, "METHOD_NOT_FOUND"),
        (framed(method="getTask"), -32601, "METHOD_NOT_FOUND"),
    ],
)
async def test_a_body_that_is_no_request_is_answered_as_json_rpc_says(body: bytes, code: int, reason: str) -> None:
    with anyio.fail_after(10):
        async with served(echo_agent()) as here:
            answer = await here.http.post("/", content=body, headers={**CORE, "Content-Type": "application/json"})
            found = error_in(answer)
            assert (found["code"], found["data"][0]["reason"]) == (code, reason)


@pytest.mark.parametrize("request_id", ["a", 5, 0, None])
async def test_the_id_of_a_request_comes_back(request_id: Any) -> None:
    with anyio.fail_after(10):
        async with served(echo_agent()) as here:
            answer = await here.http.post("/", content=framed(id=request_id), headers=CORE | _JSON)
            assert answer.json()["id"] == request_id
            assert error_in(answer)["code"] == -32001


_JSON = {"Content-Type": "application/json"}


@pytest.mark.parametrize("content_type", [None, "text/plain", "application/x-www-form-urlencoded", "json"])
async def test_a_body_that_is_not_said_to_be_json_is_refused(content_type: str | None) -> None:
    headers = {} if content_type is None else {"Content-Type": content_type}
    with anyio.fail_after(10):
        async with served(echo_agent()) as here:
            answer = await here.http.post("/", content=framed(), headers=headers)
            assert error_in(answer)["code"] == -32005


@pytest.mark.parametrize("content_type", ["application/json; charset=utf-8", "Application/JSON", "application/a+json"])
async def test_json_has_several_names(content_type: str) -> None:
    with anyio.fail_after(10):
        async with served(echo_agent()) as here:
            answer = await here.http.post("/", content=framed(), headers={**CORE, "Content-Type": content_type})
            assert error_in(answer)["code"] == -32001


@pytest.mark.parametrize(
    ("method", "version", "code"),
    [
        ("GetTask", "1.0", -32001),
        ("GetTask", "1.0.1", -32001),
        ("GetTask", "1", -32001),
        ("GetTask", "0.3", -32009),
        ("GetTask", "2.0", -32009),
        ("GetTask", "nonsense", -32009),
        ("GetTask", "1.0; 0.3", -32009),
        ("SubscribeToTask", None, -32009),
        ("tasks/get", "0.3", -32001),
        ("tasks/get", "0.3.0", -32001),
        ("tasks/get", "1.0", -32009),
        ("tasks/resubscribe", None, -32001),
        ("tasks/resubscribe", "", -32001),
        ("tasks/cancel", "9", -32009),
        ("Nonsense", "9", -32601),
    ],
)
async def test_each_method_is_of_one_version(method: str, version: str | None, code: int) -> None:
    with anyio.fail_after(10):
        async with served(echo_agent()) as here:
            headers = {} if version is None else {"A2A-Version": version}
            assert (await error(here.http, method, {"id": "nobody"}, headers))["code"] == code


async def test_a_message_in_the_words_of_1_0_needs_no_version() -> None:
    with anyio.fail_after(10):
        async with served(echo_agent()) as here:
            answer = await post(here.http, "SendMessage", message(), {})
            assert answer.json()["result"]["task"]["status"]["state"] == "TASK_STATE_COMPLETED"


def old(**fields: Any) -> dict[str, Any]:
    return {"message": {"role": "user", "messageId": "m", "parts": [{"kind": "text", "text": "hi"}]} | fields}


def core(**fields: Any) -> dict[str, Any]:
    return {"message": {"role": "ROLE_USER", "messageId": "m", "parts": [{"text": "hi"}]} | fields}


DEEP: Any = json.loads("[" * 60 + "]" * 60)


@pytest.mark.parametrize(
    ("params", "code", "names"),
    [
        ({}, -32602, "message"),
        ({"message": 5}, -32602, "message"),
        ({"message": {}}, -32602, "message."),
        (core(parts=[]), -32602, "message.parts"),
        (core(parts=[{}]), -32602, "message.parts"),
        (core(parts=[{"text": ""}]), -32602, "message.parts"),
        (core(parts=[{"text": 5}]), -32602, "parts"),
        (core(parts=[{"text": "half \ud83d"}]), -32602, "parts"),
        (core(parts=[{"text": "a", "url": "http://b"}]), -32602, "parts"),
        (core(parts=[{"text": "x", "metadata": {"role": "developer"}}]), -32602, "message.parts"),
        (core(parts=[{"raw": "!!", "mediaType": "image/png"}]), -32602, "message.parts[0].raw"),
        (core(parts=[{"raw": "YQ", "mediaType": "application/zip"}]), -32005, "'application/zip'"),
        (core(parts=[{"raw": "YQ"}]), -32005, "mediaType"),
        (core(parts=[{"url": "ftp://a/b.png"}]), -32602, "message.parts[0].url"),
        (core(parts=[{"url": "file:///etc/passwd", "mediaType": "text/plain"}]), -32602, "message.parts[0].url"),
        (core(parts=[{"url": "https://a/b"}]), -32005, "mediaType"),
        (core(parts=[{"text": "a"}, {"data": DEEP}]), -32602, ""),
        (core(parts=[{"data": 2**2000}]), -32602, ""),
        (core(parts=[{"text": "a"}] * 6_000), -32602, "values"),
        (core(parts=[{"data": [1] * 10_000}]), -32602, "as a file"),
        (core(messageId=""), -32602, "message_id"),
        (core(role="ROLE_NONSENSE"), -32602, "role"),
        (core(contextId="a b"), -32602, "message.contextId"),
        (core(contextId="x" * 129), -32602, "message.contextId"),
        (core(contextId="../up"), -32602, "message.contextId"),
        (core(taskId="nobody"), -32001, ""),
        (core() | {"configuration": {"acceptedOutputModes": ["image/png"]}}, -32005, "acceptedOutputModes"),
        (core() | {"configuration": {"historyLength": -1}}, -32602, ""),
        (core() | {"configuration": {"historyLength": "x"}}, -32602, "historyLength"),
        (core() | {"configuration": {"mode": "autonomous"}}, -32004, "autonomous"),
        (core() | {"configuration": {"taskPushNotificationConfig": {"url": "http://a"}}}, -32003, ""),
    ],
)
async def test_a_message_that_makes_no_sense_begins_no_task(params: Any, code: int, names: str) -> None:
    with anyio.fail_after(10):
        async with served(echo_agent()) as here:
            for method in ("SendMessage", "SendStreamingMessage"):
                found = await error(here.http, method, params)
                assert found["code"] == code, found
                assert names in found["message"]
            await _no_task(here)


@pytest.mark.parametrize(
    ("params", "code", "names"),
    [
        ({}, -32602, "message"),
        (old(messageId=None), -32602, "messageId"),
        (old(role="ROLE_USER"), -32602, "role"),
        (old(parts=[]), -32602, "message.parts"),
        (old(parts=[{"kind": "nonsense"}]), -32602, "parts"),
        (old(parts=[{"kind": "file", "file": {"bytes": "!!", "mimeType": "image/png"}}]), -32602, "file.bytes"),
        (old(parts=[{"kind": "file", "file": {"bytes": "YQ==", "mimeType": "a/b"}}]), -32005, "'a/b'"),
        (old(parts=[{"kind": "data", "data": {"a": DEEP}}]), -32602, ""),
        (old(parts=[{"kind": "data", "data": {"a": 2**2000}}]), -32602, ""),
        (old(contextId="a b"), -32602, "message.contextId"),
        (old() | {"configuration": {"acceptedOutputModes": ["image/png"]}}, -32005, "acceptedOutputModes"),
        (old() | {"configuration": {"mode": "autonomous"}}, -32004, "autonomous"),
    ],
)
async def test_nor_does_one_of_0_3(params: Any, code: int, names: str) -> None:
    with anyio.fail_after(10):
        async with served(echo_agent()) as here:
            for method in ("message/send", "message/stream"):
                found = await error(here.http, method, params, {})
                assert found["code"] == code, found
                assert names in found["message"]
            await _no_task(here)


async def _no_task(here: Served) -> None:
    listed = await post(here.http, "ListTasks", {})
    assert listed.json()["result"]["tasks"] == []
    assert await here.runtime.memory.list_sessions() == []


@pytest.mark.parametrize("modes", [[], ["text"], ["text/plain"], ["image/png", "text/*"], ["*/*"]])
async def test_whoever_accepts_text_is_answered(modes: list[str]) -> None:
    with anyio.fail_after(10):
        async with served(echo_agent()) as here:
            params = message() | {"configuration": {"acceptedOutputModes": modes}}
            answer = (await post(here.http, "SendMessage", params)).json()
            assert answer["result"]["task"]["status"]["state"] == "TASK_STATE_COMPLETED"


@pytest.mark.parametrize(
    ("method", "params", "code"),
    [
        ("GetTask", {}, -32602),
        ("GetTask", {"id": 5}, -32602),
        ("GetTask", {"id": "nobody"}, -32001),
        ("GetTask", {"id": "nobody", "historyLength": -1}, -32602),
        ("CancelTask", {}, -32602),
        ("CancelTask", {"id": "nobody"}, -32001),
        ("SubscribeToTask", {}, -32602),
        ("SubscribeToTask", {"id": "nobody"}, -32001),
        ("ListTasks", {"pageSize": 0}, -32602),
        ("ListTasks", {"pageSize": 1000}, -32602),
        ("ListTasks", {"pageToken": "nonsense"}, -32602),
        ("ListTasks", {"historyLength": -1}, -32602),
        ("CreateTaskPushNotificationConfig", {"taskId": "x", "url": "http://a"}, -32003),
        ("GetTaskPushNotificationConfig", {"taskId": "x", "id": "y"}, -32003),
        ("ListTaskPushNotificationConfigs", {"taskId": "x"}, -32003),
        ("DeleteTaskPushNotificationConfig", {}, -32003),
        ("GetExtendedAgentCard", {}, -32004),
        ("tasks/resubscribe", {}, -32602),
        ("tasks/pushNotificationConfig/set", {}, -32003),
        ("tasks/pushNotificationConfig/list", {"id": "x"}, -32003),
        ("agent/getAuthenticatedExtendedCard", {}, -32004),
    ],
)
async def test_other_calls_that_cannot_be_answered(
    method: str, params: Any, code: int, caplog: pytest.LogCaptureFixture
) -> None:
    with anyio.fail_after(10):
        async with served(echo_agent()) as here:
            headers = {} if "/" in method else CORE
            assert (await error(here.http, method, params, headers))["code"] == code
    assert [record for record in caplog.records if record.levelname in ("WARNING", "ERROR")] == []


async def test_what_is_wrong_with_the_request_itself_is_a_status_as_on_every_route() -> None:
    with anyio.fail_after(10):
        async with served(echo_agent(), settings=Settings(agent_max_body_bytes=1000)) as here:
            large = await here.http.post("/", content=framed(method="x" * 1000), headers=_JSON)
            assert (large.status_code, list(large.json())) == (413, ["error"])
            got = await here.http.get("/")
            assert (got.status_code, got.headers["Allow"]) == (405, "POST")


async def test_nothing_of_a_request_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    with anyio.fail_after(10):
        async with served(echo_agent()) as here:
            await send(here.http, SECRET)
            await post(here.http, "SendMessage", core(parts=[{"text": SECRET, "url": SECRET}]))
            await post(here.http, "message/send", old(parts=[{"kind": SECRET}]), {})
            await here.http.post("/", content=SECRET, headers=_JSON)
    assert SECRET not in caplog.text
