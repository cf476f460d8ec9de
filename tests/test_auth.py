"""Who may call: keys and their scopes, the hook of an embedding app, and what is open to everyone."""

from __future__ import annotations

import hashlib
import hmac
import logging
from pathlib import Path
from typing import Any

import httpx
import pytest
from anyio import fail_after
from pydantic_ai import Agent
from starlette.routing import Route

from pais_sdk import ConfigurationError, Settings, serve
from pais_sdk.server.auth import ApiKeys

from .agents import echo_agent
from .http_agents import CHAT, SECRET, FailingModel, body, content_of, error_of, served
from .processes import TOLD_AGENT, process

pytestmark = pytest.mark.anyio

OPEN = {
    "/health",
    "/ready",
    "/.well-known/agent.json",
    "/.well-known/agent-card.json",
    "/openapi.json",
    "/docs",
}
KEYS = Settings(agent_api_keys="alice=key-of-alice, bob=key-of-bob,key-of-nobody,bob=newer-key-of-bob")


def routes() -> list[tuple[str, str]]:
    """Return method and path of everything that is served."""
    found: list[tuple[str, str]] = []
    for route in serve(echo_agent(), settings=Settings())._app.routes:
        assert isinstance(route, Route), f"{route!r}: teach this test what it is, so that it is tested too"
        found += [(method, route.path) for method in sorted(route.methods or ())]
    return found


def filled(path: str) -> str:
    return path.replace("{session_id}", "s").replace("{model_id:path}", "echo")


@pytest.mark.parametrize(("method", "path"), [(method, path) for method, path in routes() if path not in OPEN])
@pytest.mark.parametrize("headers", [{}, {"X-API-Key": "no-key"}], ids=["no key", "wrong key"])
async def test_every_route_that_is_not_open_needs_a_key(method: str, path: str, headers: dict[str, str]) -> None:
    with fail_after(5):
        async with served(echo_agent(), settings=KEYS) as here:
            answer = await here.http.request(method, filled(path), headers=headers, json=body("hi"))
            assert here.runtime.model_status == "unknown"  # nothing ran
            good = await here.http.request(method, filled(path), headers={"X-API-Key": "key-of-bob"}, json=body("hi"))
    assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
    assert good.status_code in (200, 404)
    if method != "HEAD":
        assert (error_of(answer)["type"], error_of(answer)["code"]) == ("authentication_error", "authentication_error")


@pytest.mark.parametrize(("method", "path"), [(method, path) for method, path in routes() if path in OPEN])
async def test_probes_the_card_and_the_description_are_open(method: str, path: str) -> None:
    with fail_after(5):
        async with served(echo_agent(), settings=KEYS) as here:
            assert (await here.http.request(method, path)).status_code == 200
            assert (await here.http.request(method, path, headers={"X-API-Key": "no-key"})).status_code == 200


@pytest.mark.parametrize(
    ("headers", "scope"),
    [
        ([("Authorization", "Bearer key-of-alice")], "alice"),
        ([("Authorization", "bEARER key-of-alice")], "alice"),
        ([("Authorization", "Bearer   key-of-alice")], "alice"),
        ([("X-API-Key", "key-of-bob")], "bob"),
        ([("X-API-Key", "newer-key-of-bob")], "bob"),
        ([("X-API-Key", "key-of-bob"), ("Authorization", "Bearer key-of-alice")], "bob"),
        ([("X-API-Key", "key-of-bob"), ("Authorization", "Bearer of-a-gateway")], "bob"),
        ([("X-API-Key", "key-of-nobody")], hashlib.sha256(b"key-of-nobody").hexdigest()[:16]),
        ([("X-API-Key", "no-key"), ("Authorization", "Bearer key-of-alice")], None),
        ([("X-API-Key", "")], None),
        ([("Authorization", "")], None),
        ([("Authorization", "Bearer")], None),
        ([("Authorization", "key-of-alice")], None),
        ([("Authorization", "Basic key-of-alice")], None),
        ([("Authorization", "Basic YWxpY2U6a2V5LW9mLWFsaWNl")], None),
        ([("X-API-Key", "key-of-alic")], None),
        ([("X-API-Key", "key-of-alicee")], None),
        ([("X-API-Key", "Key-Of-Alice")], None),
        ([("X-API-Key", "alice")], None),
        ([("X-API-Key", "alice=key-of-alice")], None),
        ([("X-API-Key", "kéy".encode())], None),
        ([("X-API-Key", b"\xff\xfe")], None),
        ([("Authorization", "Bearer kéy".encode())], None),
    ],
)
async def test_a_key_gives_its_scope_and_all_else_is_refused(headers: Any, scope: str | None) -> None:
    names = {"alice", "bob", hashlib.sha256(b"key-of-nobody").hexdigest()[:16]}
    with fail_after(5):
        async with served(echo_agent(), settings=KEYS) as here:
            for name in names:
                await here.runtime.memory.scoped(name).create_session(f"of-{name}")
            answer = await here.http.get("/memory/sessions", headers=headers)
    if scope is None:
        assert (answer.status_code, error_of(answer)["type"]) == (401, "authentication_error")
    else:
        assert answer.json()["sessions"] == [f"of-{scope}"]


async def test_the_openai_client_brings_its_key() -> None:
    with fail_after(5):
        async with served(echo_agent(), settings=Settings(agent_api_keys="x")) as here:  # the key of that client
            assert [model.id async for model in here.openai.models.list()] == ["echo"]


async def test_keys_that_share_a_name_share_their_sessions() -> None:
    with fail_after(5):
        async with served(echo_agent(), settings=KEYS) as here:
            for turn, key in enumerate(("key-of-bob", "newer-key-of-bob", "key-of-bob")):
                request: Any = {"json": body("hi", session_id="s"), "headers": {"X-API-Key": key}}
                assert content_of(await here.http.post(CHAT, **request)) == f"hi ({2 * turn + 1})"


@pytest.mark.parametrize("key", [b"1", b"2", b"3", b"4"], ids=["first", "second", "last", "none"])
def test_every_key_is_compared_whichever_it_is(key: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = ApiKeys.of(Settings(agent_api_keys="a=1,b=2,c=3"))
    compared: list[bytes] = []
    compare = hmac.compare_digest

    def counted(known: bytes, given: bytes) -> bool:
        compared.append(given)
        return compare(known, given)

    monkeypatch.setattr(hmac, "compare_digest", counted)
    assert keys is not None
    assert keys.scope_of(key) == {b"1": "a", b"2": "b", b"3": "c"}.get(key)
    assert compared == [hashlib.sha256(key).digest()] * 3


FILE = b"\xef\xbb\xbf# who may call\r\nalice=key-1 , bob=key-2\n\n  # bob=key-3\nkey-4,,\n  carol = key=5== \n"


def test_keys_come_from_a_file_too(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_bytes(FILE)
    for settings, more in (({}, None), ({"agent_api_keys": "dave=key-6"}, "dave")):
        keys = ApiKeys.of(Settings(agent_api_keys_file=str(file), **settings))
        assert keys is not None
        scopes = [keys.scope_of(key) for key in (b"key-1", b"key-2", b"key-3", b"key=5==", b"key-6", b"", b"# bob")]
        assert scopes == ["alice", "bob", None, "carol", more, None, None]
        assert keys.scope_of(b"key-4") == hashlib.sha256(b"key-4").hexdigest()[:16]


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        (" ", "is set but has no key"),
        (",", "is set but has no key"),
        ("a=hush-1,b=", "entry 2 of {} has a name and no key"),
        ("b==", "entry 1 of {} has a name and no key"),
        ("a=hush-1,=hush-2", "entry 2 of {} has a name that cannot be used"),
        ("a=hush-1,,b/c=hush-2", "entry 2 of {} has a name that cannot be used"),
        ("a=hush-1,b\u00fc=hush-2", "entry 2 of {} has a name that cannot be used"),
        (f"{'n' * 129}=hush-1", "entry 1 of {} has a name that cannot be used"),
        ("hush 1", "entry 1 of {} has a key that no header can carry"),
        ("a=hush-\u00fc", "entry 1 of {} has a key that no header can carry"),
        ("a=hush-1\0", "entry 1 of {} has a key that no header can carry"),
        ("a=hush-1,a=hush-1,b=hush-1", "entry 3 of {} is a key that has another name already"),
        ("a=hush-1,hush-1", "entry 2 of {} is a key that has another name already"),
    ],
)
@pytest.mark.parametrize("variable", ["AGENT_API_KEYS", "AGENT_API_KEYS_FILE"])
def test_an_entry_that_cannot_be_used_is_named_by_its_place_and_never_told(
    variable: str, entries: str, words: str, tmp_path: Path
) -> None:
    (tmp_path / "keys").write_text(entries, "utf-8")
    given = entries if variable == "AGENT_API_KEYS" else str(tmp_path / "keys")
    with pytest.raises(ConfigurationError) as raised:
        serve(echo_agent(), settings=Settings(**{variable.lower(): given}))
    assert words.format(variable) in str(raised.value)
    assert "hush" not in f"{raised.getrepr(chain=True, funcargs=False, showlocals=False, style='value')}"
    assert raised.value.__cause__ is None


def test_a_key_of_the_variable_has_no_second_name_in_the_file(tmp_path: Path) -> None:
    (tmp_path / "keys").write_text("# keys\nb=hush\n")
    with pytest.raises(ConfigurationError, match="entry 1 of AGENT_API_KEYS_FILE is a key that has another name"):
        serve(echo_agent(), settings=Settings(agent_api_keys="a=hush", agent_api_keys_file=str(tmp_path / "keys")))


@pytest.mark.parametrize(("content", "words"), [(None, "No such file"), (b"a=\xff", "it is not in UTF-8")])
def test_a_file_that_cannot_be_read_is_named(content: bytes | None, words: str, tmp_path: Path) -> None:
    file = tmp_path / "keys"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ConfigurationError) as raised:
        serve(echo_agent(), settings=Settings(agent_api_keys_file=str(file)))
    assert f"AGENT_API_KEYS_FILE cannot be read: {str(file)!r}: {words}" in str(raised.value)


async def test_a_key_is_in_no_log_no_error_and_no_description(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    settings = Settings(agent_api_keys=f"alice={SECRET}")
    with fail_after(10):
        async with served(Agent(FailingModel(RuntimeError).model), settings=settings) as here:
            told = [repr(here.server.settings), str(here.server.settings), repr(vars(here.server.gate))]
            told += [str(settings.model_dump()), settings.model_dump_json()]
            for headers in ({"X-API-Key": SECRET}, {"Authorization": f"Bearer {SECRET}"}, {"X-API-Key": f"{SECRET}?"}):
                for method, path in routes():
                    answer = await here.http.request(method, filled(path), headers=headers, content=b"{")
                    told.append(f"{answer.headers} {answer.text}")
                failed = await here.http.post(CHAT, headers=headers, json=body("hi"))
                told.append(f"{failed.headers} {failed.text}")
    assert failed.status_code == 401
    assert SECRET not in "".join(told)
    assert SECRET not in caplog.text
    assert SECRET not in "".join(str(vars(record)) for record in caplog.records if record.name.startswith("pais_sdk"))


async def test_a_key_is_not_in_the_log_of_a_process_that_logs_all(tmp_path: Path) -> None:
    (tmp_path / "agent.py").write_text(TOLD_AGENT)
    logged = {"LOG_LEVEL": "TRACE", "AGENT_ACCESS_LOG": "true", "DEBUG_MOCK_RESPONSES": '["hello"]'}
    with fail_after(30):
        async with process(tmp_path, AGENT_API_KEYS=f"alice={SECRET}", **logged) as here:
            for headers, status in (({"X-API-Key": SECRET}, 200), ({"Authorization": f"Bearer {SECRET}!"}, 401)):
                assert (await here.http.post(CHAT, headers=headers, json=body("hi"))).status_code == status
            async with httpx.AsyncClient(base_url=here.http.base_url, http1=False, http2=True) as http2:
                assert (await http2.get("/tools", headers={"X-API-Key": SECRET})).status_code == 200
            here.stop()
            assert await here.ended() == 0
    log = "".join(here.log)
    assert all(f'{CHAT} 1.1" {status}' in log for status in (200, 401)), log
    assert SECRET not in log
