"""The agent's two cards: what they say in which form, where they say the agent is, and how clients keep them."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from a2a.client import A2ACardResolver, ClientConfig, ClientFactory
from a2a.compat.v0_3 import types as v0_3
from a2a.types import AgentCard, Message, Part, Role, SendMessageRequest
from a2a.utils.errors import ContentTypeNotSupportedError
from a2a.utils.proto_utils import validate_proto_required_fields
from anyio import fail_after
from fastapi import FastAPI
from google.protobuf.json_format import MessageToDict, ParseDict
from pydantic import BaseModel
from pydantic_ai import Agent
from pydantic_ai.messages import ToolKind
from pydantic_ai.models.test import TestModel
from pydantic_ai.tools import ToolDefinition
from starlette.types import ASGIApp, Receive, Scope, Send

import pais_sdk
from pais_sdk import Settings, serve
from pais_sdk._listen import listening
from pais_sdk.events import DELEGATION
from pais_sdk.server.a2a.parts import read_question

from .agents import echo_agent
from .http_agents import SECRET, Served, adding_agent, error_of, served
from .test_openapi import check

pytestmark = pytest.mark.anyio

import_module("pais_sdk.server.a2a.service")  # else the first test waits for it

PLAIN = "/.well-known/agent.json"
PURE = "/.well-known/agent-card.json"
KEYS = Settings(agent_api_keys="alice=key-of-alice")
OFF = Settings(a2a=False)


class Sum(BaseModel):
    """A sum."""

    value: int


def summing_agent() -> Agent[Any, Any]:
    return Agent(TestModel(), name="summing", output_type=Sum)


async def card_of(here: Served, path: str) -> dict[str, Any]:
    answer = await here.http.get(path)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    return answer.json()


def strictly_read(card: dict[str, Any]) -> AgentCard:
    """Read a card as A2A 1.0 wants it: no field that is not known, and none that is missing or empty."""
    read = ParseDict(card, AgentCard())
    validate_proto_required_fields(read)
    return read


@pytest.mark.parametrize("agent", [adding_agent, echo_agent, summing_agent])
@pytest.mark.parametrize("settings", [Settings(), KEYS], ids=["open", "with keys"])
async def test_the_card_of_a2a_1_0_holds_what_the_specification_wants_and_nothing_else(
    agent: Callable[[], Any], settings: Settings
) -> None:
    with fail_after(5):
        async with served(agent(), settings=settings) as here:
            card = strictly_read(await card_of(here, PURE))
            (interface,) = card.supported_interfaces
    assert (interface.url, interface.protocol_binding, interface.protocol_version) == (f"{here.url}/", "JSONRPC", "1.0")
    assert (card.capabilities.streaming, card.capabilities.push_notifications) == (True, False)
    assert not card.capabilities.extended_agent_card
    assert card.version == pais_sdk.__version__
    assert set(card.security_schemes) == ({"bearer", "apiKey"} if settings is KEYS else set())
    assert len(card.security_requirements) == len(card.security_schemes)


async def test_the_skills_are_the_tools_and_an_agent_without_any_answers_in_words() -> None:
    with fail_after(5):
        async with served(adding_agent()) as here:
            skills = (await card_of(here, PURE))["skills"]
        async with served(echo_agent()) as here:
            others, described = (await card_of(here, PURE))["skills"], (await card_of(here, PURE))["description"]
    assert skills == [{"id": "add", "name": "add", "description": "Add two numbers.", "tags": ["tool"]}]
    assert others == [{"id": "chat", "name": "chat", "description": "Answers in words.", "tags": ["chat"]}]
    assert described == "The agent echo."


async def test_a_skill_that_is_another_agent_is_tagged_as_such(monkeypatch: pytest.MonkeyPatch) -> None:
    kind: Any = ToolKind(DELEGATION, "worker-a")

    async def list_tools() -> list[ToolDefinition]:
        return [ToolDefinition(name="delegate_to_worker_a", tool_kind=kind), ToolDefinition(name="other")]

    with fail_after(5):
        async with served(echo_agent()) as here:
            monkeypatch.setattr(here.runtime, "list_tools", list_tools)
            card = await card_of(here, PURE)
            strictly_read(card)
    assert [(skill["tags"], skill["description"]) for skill in card["skills"]] == [
        (["delegation"], "The tool delegate_to_worker_a."),
        (["tool"], "The tool other."),
    ]


@pytest.mark.parametrize("settings", [Settings(), KEYS], ids=["open", "with keys"])
async def test_the_card_of_kaos_is_one_of_a2a_0_3_too(settings: Settings) -> None:
    with fail_after(5):
        async with served(adding_agent(), settings=settings, description="adds") as here:
            card = await card_of(here, PLAIN)
    read = v0_3.AgentCard.model_validate(card)
    assert (read.name, read.description, read.url, read.protocol_version) == ("adder", "adds", here.url, "0.3.0")
    assert "preferredTransport" not in card
    assert read.preferred_transport == "JSONRPC"  # what 0.3 takes where it is not said
    assert card["supportedProtocols"] == ["jsonrpc"]
    assert card["capabilities"] == {"streaming": True, "pushNotifications": False, "stateTransitionHistory": True}
    modes = ["text/plain", "application/json"]
    told = {"id": "add", "name": "add", "description": "Add two numbers.", "tags": ["tool"]}
    assert card["skills"] == [{**told, "inputModes": modes, "outputModes": ["text/plain"]}]
    assert read.security == ([{"bearer": []}, {"apiKey": []}] if settings is KEYS else None)
    assert set(read.security_schemes or {}) == ({"bearer", "apiKey"} if settings is KEYS else set())


async def test_a_description_that_is_not_utf_8_is_told_as_far_as_it_is() -> None:
    with fail_after(5):
        async with served(echo_agent(), description="caf\udce9") as here:
            cards = [await card_of(here, path) for path in (PLAIN, PURE)]
    assert [card["description"] for card in cards] == ["caf\ufffd"] * 2


async def test_both_cards_say_which_parts_are_taken() -> None:
    with fail_after(5):
        async with served(adding_agent()) as here:
            plain, pure = [(await card_of(here, path))["defaultInputModes"] for path in (PLAIN, PURE)]
    assert plain == pure
    assert plain[:6] == ["text/plain", "application/json", "text/*", "image/*", "audio/*", "video/*"]
    assert "application/pdf" in plain
    for mode in (*plain, "application/zip", "font/woff"):
        message = Message(parts=[Part(raw=b"x", media_type=mode.replace("*", "x-own"))])
        if mode in plain:
            assert read_question(message).prompt
            continue
        with pytest.raises(ContentTypeNotSupportedError):
            read_question(message)


async def test_both_cards_say_that_structured_answers_come_as_json() -> None:
    with fail_after(5):
        async with served(summing_agent()) as here:
            cards = [await card_of(here, path) for path in (PLAIN, PURE)]
    assert [card["defaultOutputModes"] for card in cards] == [["text/plain", "application/json"]] * 2


async def test_where_a2a_is_off_no_card_says_otherwise() -> None:
    with fail_after(20):  # the comparison takes its time
        async with served(adding_agent(), settings=OFF) as here:
            card, none = await card_of(here, PLAIN), await here.http.get(PURE)
            unknown = await here.http.get("/.well-known/none")
            await check(here, await here.http.get(PLAIN), none)
    assert card == {
        "name": "adder",
        "description": "",
        "url": here.url,
        "supportedProtocols": [],
        "capabilities": {"streaming": True, "stateTransitionHistory": False},
        "skills": [{"id": "add", "name": "add", "description": "Add two numbers."}],
    }
    assert (none.status_code, unknown.status_code) == (404, 404)
    assert error_of(none) == {**error_of(unknown), "message": f"there is nothing at {PURE}"}


@pytest.mark.parametrize(("installed", "told"), [(True, ["jsonrpc"]), (False, [])])
async def test_unless_it_is_said_a2a_is_on_where_it_is_installed(
    monkeypatch: pytest.MonkeyPatch, installed: bool, told: list[str]
) -> None:
    monkeypatch.setattr("pais_sdk.server.a2a.find_spec", lambda name: object() if installed else None)
    with fail_after(5):
        async with served(echo_agent()) as here:
            assert (await card_of(here, PLAIN))["supportedProtocols"] == told


async def test_the_cards_tell_of_keys_only_where_there_are_keys() -> None:
    with fail_after(5):
        async with served(echo_agent(), authenticate=lambda request: "anybody") as here:
            cards = [await card_of(here, path) for path in (PLAIN, PURE)]
    assert not any("security" in name for card in cards for name in card)


async def test_the_official_client_finds_both_cards() -> None:
    with fail_after(5):
        async with served(adding_agent(), settings=KEYS) as here:
            pure = await A2ACardResolver(here.http, here.url).get_agent_card()
            other = await A2ACardResolver(here.http, here.url, PLAIN).get_agent_card()
            assert MessageToDict(pure) == MessageToDict(strictly_read(await card_of(here, PURE)))
    assert [one.protocol_version for card in (pure, other) for one in card.supported_interfaces] == ["1.0", "0.3.0"]
    assert [skill.id for card in (pure, other) for skill in card.skills] == ["add", "add"]
    assert other.security_schemes.keys() == pure.security_schemes.keys() == {"bearer", "apiKey"}


def gateway(app: ASGIApp, prefix: str) -> ASGIApp:
    """Return what strips a prefix and says so, and passes nothing else on."""

    async def passed_on(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            path = scope["path"]
            assert path == prefix or path.startswith(f"{prefix}/"), path
            path = path.removeprefix(prefix) or "/"
            headers = [*scope["headers"], (b"x-forwarded-prefix", prefix.encode())]
            scope = {**scope, "path": path, "raw_path": path.encode(), "headers": headers}
        await app(scope, receive, send)

    return passed_on


def mounted(app: ASGIApp, prefix: str) -> ASGIApp:
    parent = FastAPI()
    parent.mount(prefix, app)
    return parent


@pytest.mark.parametrize("around", [gateway, mounted])
@pytest.mark.parametrize("path", [PLAIN, PURE])
async def test_the_official_client_sends_its_tasks_to_where_the_card_says(
    around: Callable[[ASGIApp, str], ASGIApp], path: str
) -> None:
    app = serve(echo_agent(), settings=Settings(agent_trust_forwarded=True))
    message = Message(message_id="m", role=Role.ROLE_USER, parts=[Part(text="hello")])
    with fail_after(5):
        async with app.running(port=0), listening(around(app, "/ns/agent")) as url, httpx.AsyncClient() as http:
            factory = ClientFactory(ClientConfig(httpx_client=http, streaming=False))
            client = await factory.create_from_url(f"{url}/ns/agent", relative_card_path=path)
            (answer,) = [answer async for answer in client.send_message(SendMessageRequest(message=message))]
    assert answer.task.artifacts[0].parts[0].text == "hello (1)"


@pytest.mark.parametrize(
    ("settings", "vary"),
    [
        ({}, "Host"),
        ({"agent_trust_forwarded": True}, "Host, X-Forwarded-Proto, X-Forwarded-Host, X-Forwarded-Prefix"),
        ({"agent_public_url": "https://public.test/x/"}, None),
    ],
)
async def test_a_card_may_be_kept_for_a_minute_by_all_who_ask_for_the_same(
    settings: dict[str, Any], vary: str | None
) -> None:
    with fail_after(20):  # the comparison takes its time
        async with served(adding_agent(), settings=Settings(**settings)) as here:
            answers = [await here.http.get(path) for path in (PLAIN, PURE)]
            await check(here, *answers)
    for answer in answers:
        assert answer.headers["cache-control"] == "public, max-age=60"
        assert answer.headers.get("vary") == vary


@pytest.mark.parametrize(
    ("asked", "status"),
    [
        ("{tag}", 304),
        ("W/{tag}", 304),
        ('"other", W/{tag}', 304),
        ('W/"with, comma",{tag}  ,"other"', 304),
        ("*", 304),
        ('"other" , *', 200),
        ('"other"', 200),
        ('"with, {bare}"', 200),
        ("{bare}", 200),
        ("", 200),
        (",", 200),
    ],
)
async def test_a_client_that_has_the_card_is_not_sent_it_again(asked: str, status: int) -> None:
    with fail_after(20):  # the comparison takes its time
        async with served(adding_agent()) as here:
            for path in (PLAIN, PURE):
                first = await here.http.get(path)
                tag = first.headers["etag"].removeprefix("W/")
                condition = {"If-None-Match": asked.format(tag=tag, bare=tag.strip('"'))}
                again, head = [await here.http.request(method, path, headers=condition) for method in ("GET", "HEAD")]
                await check(here, again)
                assert (again.status_code, again.content) == (status, first.content if status == 200 else b"")
                assert (head.status_code, head.content) == (status, b"")
                for name in ("etag", "last-modified", "cache-control", "vary"):
                    assert again.headers[name] == head.headers[name] == first.headers[name]
                assert ("content-type" in again.headers) == (status == 200)


async def test_several_lines_of_tags_count_as_one_list() -> None:
    with fail_after(5):
        async with served(adding_agent()) as here:
            tag = (await here.http.get(PURE)).headers["etag"]
            again = await here.http.get(PURE, headers=[("If-None-Match", '"other"'), ("If-None-Match", tag)])
    assert again.status_code == 304


@pytest.mark.parametrize(
    ("since", "status"),
    [
        ("Sat, 14 Nov 2026 12:00:00 GMT", 304),
        ("Saturday, 14-Nov-26 12:00:00 GMT", 304),
        ("Sat Nov 14 12:00:00 2026", 304),
        ("Sat, 14 Nov 2026 12:00:01 GMT", 304),
        ("Sat, 14 Nov 2026 11:59:59 GMT", 200),
        ("Mon, 01 Jan 2024 00:00:00 GMT", 200),
        ("yesterday", 200),
        ("", 200),
        ("Sat, 99 Nov 2026 12:00:00 GMT", 200),
        ("Sat, 14 Nov 2026 12:00:00 +99999999999999", 200),
        ("9" * 100, 200),
    ],
)
async def test_the_card_is_dated_by_its_last_change(monkeypatch: pytest.MonkeyPatch, since: str, status: int) -> None:
    monkeypatch.setattr("pais_sdk.server.agent_card.time", SimpleNamespace(time=lambda: 1794657600.7))
    with fail_after(5):
        async with served(adding_agent()) as here:
            answer = await here.http.get(PURE, headers={"If-Modified-Since": since})
            tagged = await here.http.get(PURE, headers={"If-Modified-Since": since, "If-None-Match": '"other"'})
    assert answer.headers["last-modified"] == "Sat, 14 Nov 2026 12:00:00 GMT"
    assert (answer.status_code, tagged.status_code) == (status, 200)  # a tag counts alone


async def test_a_card_with_other_skills_is_another_card(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1794657600.0
    tools: list[ToolDefinition] = []
    failing = False

    async def list_tools() -> list[ToolDefinition]:
        if failing:
            raise RuntimeError(SECRET)
        return list(tools)

    monkeypatch.setattr("pais_sdk.server.agent_card.time", SimpleNamespace(time=lambda: now))
    with fail_after(5):
        async with served(echo_agent()) as here:
            monkeypatch.setattr(here.runtime, "list_tools", list_tools)
            first = await here.http.get(PURE)
            now += 10
            same = await here.http.get(PURE)
            tools.append(ToolDefinition(name="one"))
            headers = {"If-None-Match": first.headers["etag"]}
            changed = await here.http.get(PURE, headers=headers)
            plain = await here.http.get(PLAIN)
            now += 10
            failing = True
            kept = await here.http.get(PURE)
    assert dict(same.headers) == {**first.headers, "date": same.headers["date"]}
    assert (changed.status_code, [skill["id"] for skill in changed.json()["skills"]]) == (200, ["one"])
    assert changed.headers["etag"] not in (first.headers["etag"], plain.headers["etag"])
    assert first.headers["last-modified"] == "Sat, 14 Nov 2026 12:00:00 GMT"
    assert changed.headers["last-modified"] == plain.headers["last-modified"] == "Sat, 14 Nov 2026 12:00:10 GMT"
    # What could not be looked up is not kept, and is what it was.
    assert (kept.content, kept.headers["etag"]) == (changed.content, changed.headers["etag"])
    assert (kept.headers["last-modified"], kept.headers["cache-control"]) == (
        changed.headers["last-modified"],
        "no-cache",
    )


async def test_each_host_has_a_card_of_its_own() -> None:
    with fail_after(5):
        async with served(echo_agent()) as here:
            cards = [await here.http.get(PURE, headers={"Host": host}) for host in ("a.test", "b.test")]
    assert [card.json()["supportedInterfaces"][0]["url"] for card in cards] == ["http://a.test/", "http://b.test/"]
    assert cards[0].headers["etag"] != cards[1].headers["etag"]
