"""Cards of remote agents: which protocol they mean, and that nothing in them is believed without a look."""

from __future__ import annotations

import asyncio
from typing import Any

import anyio
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from starlette.responses import RedirectResponse, Response

from pais_sdk.client import RemoteAgent
from pais_sdk.client.agent_url import AgentUrl
from pais_sdk.client.card import CARD_PATHS, ProtocolChoice, read_card
from pais_sdk.errors import ConfigurationError, RemoteAgentError

from .peers import NEW_CARD, OLD_CARD, Seen, at, card_1_0, kaos_new, kaos_old, peer, raw_peer, says, unused_url

pytestmark = pytest.mark.anyio

BASE = "http://gateway:8000/team/agent/worker"
NEW, OLD = CARD_PATHS


def card(path: str, choice: ProtocolChoice = "auto", base: str = BASE, **fields: Any) -> Any:
    return read_card(fields, path=path, url=AgentUrl(base), choice=choice)


def interfaces(*binding_and_version: tuple[str, str]) -> list[dict[str, str]]:
    return [
        {"url": f"{BASE}/{place}", "protocolBinding": binding, "protocolVersion": version}
        for place, (binding, version) in enumerate(binding_and_version)
    ]


NO_JSONRPC: dict[str, Any] = {"protocolVersion": "0.3.0", "preferredTransport": "GRPC"}
OTHER = {**NO_JSONRPC, "additionalInterfaces": [{"transport": "JSONRPC", "url": f"{BASE}/rpc"}]}


@pytest.mark.parametrize(
    ("path", "fields", "protocol", "url"),
    [
        (NEW, {"supportedInterfaces": interfaces(("GRPC", "1.0"), ("JSONRPC", "1.0"))}, "a2a-1.0", f"{BASE}/1"),
        (
            NEW,
            {"supportedInterfaces": interfaces(("JSONRPC", "1.0")), "protocolVersion": "0.3.0"},
            "a2a-1.0",
            f"{BASE}/0",
        ),
        (
            NEW,
            {"supportedInterfaces": interfaces(("JSONRPC", "0.3")), "protocolVersion": "0.3.0"},
            "a2a-0.3",
            f"{BASE}/",
        ),
        (NEW, {"supportedInterfaces": interfaces(("GRPC", "1.0"))}, "chat", BASE),
        (NEW, {"protocolVersion": "0.3.0", "url": f"{BASE}/rpc"}, "a2a-0.3", f"{BASE}/rpc"),
        (NEW, NO_JSONRPC, "chat", BASE),
        (NEW, OTHER, "a2a-0.3", f"{BASE}/rpc"),
        (NEW, {"protocolVersion": "0.2.5"}, "chat", BASE),
        (NEW, {}, "chat", BASE),
        (OLD, {"supportedProtocols": ["jsonrpc"], "protocolVersion": "0.3.0"}, "a2a-kaos", f"{BASE}/"),
        (OLD, {"supportedProtocols": ["jsonrpc"], "preferredTransport": "JSONRPC"}, "a2a-0.3", f"{BASE}/"),
        (OLD, {"supportedProtocols": []}, "chat", BASE),
        (OLD, {"protocolVersion": "0.3.0"}, "chat", BASE),
        (OLD, {}, "chat", BASE),
    ],
)
def test_a_card_says_how_an_agent_is_spoken_to(path: str, fields: dict[str, Any], protocol: str, url: str) -> None:
    read = card(path, **fields)
    assert (read.protocol, read.url) == (protocol, url)
    assert card(path, "chat", **fields).protocol == "chat"
    assert card(path, "a2a", **fields).protocol.startswith("a2a-")


@pytest.mark.parametrize(
    ("said", "is_used"),
    [
        (BASE, True),
        (f"{BASE}/", True),
        (f"{BASE}/a2a?version=1", True),
        ("HTTP://GATEWAY:8000/team/agent/worker/x", True),
        ("http://localhost:8000", False),
        ("https://gateway:8000/team/agent/worker", False),
        ("http://gateway:8001/team/agent/worker", False),
        ("http://gateway/team/agent/worker", False),
        ("http://gateway:8000/team/agent/worker-2", False),
        ("http://gateway:8000/team/agent", False),
        ("http://gateway:8000/team/agent/worker/../thief", False),
        ("http://gateway:8000/team/agent/worker/%2e%2e/thief", False),
        ("http://gateway:8000@thief/team/agent/worker", False),
        ("http://user:word@gateway:8000/team/agent/worker", False),
        ("http://gateway:8000\\@thief/team/agent/worker", False),
        ("http://thief\t/gateway:8000", False),
        ("//gateway:8000/team/agent/worker", False),
        ("/team/agent/worker", False),
        ("http://[", False),
        ("", False),
        (7, False),
    ],
)
def test_what_a_card_says_of_its_url_counts_only_below_the_url_that_was_configured(said: Any, is_used: bool) -> None:
    read = card(NEW, protocolVersion="0.3.0", url=said)
    assert read.protocol == "a2a-0.3"
    assert read.url == (said if is_used else f"{BASE}/")


@pytest.mark.parametrize(
    ("raw", "names"),
    [
        ([{"name": "a"}, {"id": "b"}, "c", {"name": " "}, None, 3, {"name": ["d"]}], ("a", "b", "c")),
        ({"a": {}}, ()),
        ("many", ()),
        (None, ()),
    ],
)
def test_an_odd_list_of_skills_does_not_make_an_agent_unavailable(raw: Any, names: tuple[str, ...]) -> None:
    assert card(OLD, name="worker", skills=raw).skills == names


WORDS = st.sampled_from(
    [
        "",
        "x",
        "JSONRPC",
        "jsonrpc",
        "1.0",
        "0.3.0",
        "name",
        "url",
        "protocolBinding",
        "protocolVersion",
        "transport",
        "http://[",
    ]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | WORDS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(WORDS, inner, max_size=4),
    max_leaves=8,
)
FIELDS = (
    "name",
    "description",
    "url",
    "skills",
    "capabilities",
    "supportedInterfaces",
    "supportedProtocols",
    "preferredTransport",
    "protocolVersion",
    "additionalInterfaces",
)


@hypothesis_settings(deadline=None, max_examples=50)
@given(st.dictionaries(st.sampled_from(FIELDS), JSON), st.sampled_from(CARD_PATHS))
def test_any_card_is_read(fields: dict[str, Any], path: str) -> None:
    read = card(path, **fields)
    assert read.url == (BASE if read.protocol == "chat" else f"{BASE}/")
    assert all(isinstance(name, str) for name in (read.name, read.description, *read.skills))
    assert isinstance(read.streaming, bool)


LONG = {**card_1_0(), "name": "n" * 10_000, "description": "d" * 100_000, "skills": ["s" * 10_000] * 10_000}


def test_a_card_that_is_long_is_cut() -> None:
    read = read_card(LONG, path=NEW, url=AgentUrl(BASE), choice="auto")
    assert (len(read.name), len(read.description), len(read.skills), len(read.skills[0])) == (256, 4000, 200, 256)


@pytest.mark.parametrize(
    "new_card",
    [
        "not JSON",
        "[1]",
        "[" * 100_000,
        b"\xff\xfe",
        "7" * 10_000,
    ],
    ids=["text", "list", "deep", "bytes", "number"],
)
async def test_a_card_that_is_none_counts_as_none(new_card: Any) -> None:
    with anyio.fail_after(5):
        async with peer(lambda seen: Response(new_card) if seen.path == NEW_CARD else kaos_new()(seen)) as here:
            assert (await RemoteAgent(here.url).card()).protocol == "a2a-kaos"
        async with peer(lambda seen: Response(new_card)) as here:
            assert (await RemoteAgent(here.url).card()).protocol == "chat"


async def test_a_card_is_not_looked_for_at_another_address() -> None:
    with anyio.fail_after(5):
        async with peer(kaos_new()) as elsewhere:

            def answer(seen: Seen) -> Any:
                return RedirectResponse(f"{elsewhere.url}{seen.path}")

            async with peer(answer) as here:
                agent = RemoteAgent(here.url, api_key="the-secret-key")
                assert (await agent.card()).protocol == "chat"
                with pytest.raises(RemoteAgentError, match="another address") as refused:
                    await agent.run("hello")
    assert refused.value.reason == "refused"
    assert elsewhere.seen == []


@pytest.mark.parametrize(("status", "reason"), [(401, "refused"), (403, "refused"), (500, "failed"), (503, "busy")])
async def test_an_agent_that_does_not_show_its_card_is_not_asked_to_do_anything(status: int, reason: str) -> None:
    with anyio.fail_after(5):
        async with peer(lambda seen: Response(status_code=status)) as here:
            with pytest.raises(RemoteAgentError) as refused:
                await RemoteAgent(here.url).run("hello")
    assert refused.value.reason == reason
    assert refused.value.url == here.url
    assert here.posts == []


async def test_one_of_two_cards_is_enough() -> None:
    def answer(seen: Seen) -> Any:
        return Response(status_code=500) if seen.path == NEW_CARD else kaos_new()(seen)

    with anyio.fail_after(5):
        async with peer(answer) as here:
            assert (await RemoteAgent(here.url).run("hello")).protocol == "a2a-kaos"


async def test_a_card_without_an_end_is_not_read_for_ever() -> None:
    async def behave(request: bytes, writer: asyncio.StreamWriter) -> None:
        await says(writer, "200 OK", "application/json", [b" " * 65_536] * 40)

    with anyio.fail_after(5):
        async with raw_peer(behave) as here:
            with pytest.raises(RemoteAgentError, match="does not give its card") as error:
                await RemoteAgent(here.url).card()
    assert error.value.reason == "unreadable"


async def test_many_who_want_a_card_at_the_same_time_ask_for_it_once() -> None:
    with anyio.fail_after(5):
        async with peer(kaos_new()) as here:
            agent = RemoteAgent(here.url)
            cards = await asyncio.gather(*(agent.card() for _ in range(20)))
    assert len({id(card) for card in cards}) == 1
    assert [seen.path for seen in here.seen] == [NEW_CARD, OLD_CARD]


async def test_a_failure_to_find_a_card_is_kept_for_a_moment_only(monkeypatch: pytest.MonkeyPatch) -> None:
    broken = True

    def answer(seen: Seen) -> Any:
        return Response(status_code=500) if broken else kaos_new()(seen)

    with anyio.fail_after(5):
        async with peer(answer) as here:
            agent = RemoteAgent(here.url)
            for _ in range(3):
                with pytest.raises(RemoteAgentError):
                    await agent.card()
            assert len(here.seen) == 2
            broken = False
            assert (await agent.card(refresh=True)).name == "cousin"
            broken = True
            with pytest.raises(RemoteAgentError):
                await agent.card(refresh=True)
            assert agent.known_card is not None
            broken = False
            monkeypatch.setattr("pais_sdk.client.card_finder._FAILURE_KEPT_S", 0)
            assert (await agent.card()).name == "cousin"


async def test_an_agent_that_refuses_a_task_is_asked_for_its_card_again() -> None:
    speaks_a2a = True

    def answer(seen: Seen) -> Any:
        return (kaos_new() if speaks_a2a else kaos_old())(seen)

    with anyio.fail_after(5):
        async with peer(answer) as here:
            agent = RemoteAgent(here.url)
            assert (await agent.run("hello")).text == "cousin heard hello"
            speaks_a2a = False
            with pytest.raises(RemoteAgentError, match="nothing answers at its URL"):
                await agent.run("hello")
            assert (await agent.run("hello")).text == "elder heard hello"


async def test_chat_completions_are_used_without_a_card_where_they_are_asked_for() -> None:
    with anyio.fail_after(5):
        async with peer(kaos_old()) as here:
            assert (await RemoteAgent(here.url, protocol="chat").run("hello")).text == "elder heard hello"
    assert [seen.method for seen in here.seen] == ["POST"]


async def test_a2a_is_spoken_without_a_card_where_it_is_asked_for() -> None:
    def answer(seen: Seen) -> Any:
        message = {"parts": [{"text": "here"}]}
        return {"jsonrpc": "2.0", "id": seen.body["id"], "result": {"message": message}}

    with anyio.fail_after(5):
        async with peer(at(rpc=answer)) as here:
            assert (await RemoteAgent(here.url, protocol="a2a").run("hello")).protocol == "a2a-1.0"
    assert here.posts[0].headers["a2a-version"] == "1.0"


# What is configured


@pytest.mark.parametrize(
    "url",
    ["http://worker:8000{}", "http://worker:8000{}/", "  http://worker:8000{} "],
)
@pytest.mark.parametrize("ending", ["", "/v1", "/.well-known/agent.json", "/.well-known/agent-card.json"])
def test_the_url_may_be_that_of_the_card(url: str, ending: str) -> None:
    assert RemoteAgent(url.format(ending)).url == "http://worker:8000"


def test_a_host_may_have_the_name_of_an_ending() -> None:
    assert RemoteAgent("http://v1/v1").url == "http://v1"


@pytest.mark.parametrize(
    "url",
    [
        "worker:8000",
        "",
        "http://",
        "ftp://worker",
        "http://worker:0",
        "http://worker:99999",
        "http://a b",
        "http://u:p@w",
    ],
)
def test_a_url_that_cannot_be_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError, match="URL of a remote agent"):
        RemoteAgent(url)


@pytest.mark.parametrize("tail", ["?x=1", "#x"])
def test_a_url_with_more_than_a_path_is_refused(tail: str) -> None:
    with pytest.raises(ConfigurationError, match="end with its path"):
        RemoteAgent(f"http://worker{tail}")


@pytest.mark.parametrize(
    "options",
    [
        {"api_key": "the-secret\nkey"},
        {"api_key": "the-secrät"},
        {"headers": {"X": "the-secret\r\nY: 1"}},
        {"headers": {"X Y": "the-secret"}},
        {"headers": {"": "the-secret"}},
        {"connect_timeout_s": 0},
        {"read_timeout_s": float("nan")},
        {"protocol": "grpc"},
    ],
)
def test_what_cannot_be_sent_is_refused_without_saying_a_secret(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError) as refused:
        RemoteAgent("http://worker", **options)
    assert "the-secr" not in str(refused.value)


async def test_blanks_around_a_key_and_a_header_are_not_sent() -> None:
    with anyio.fail_after(5):
        async with peer(kaos_old()) as here:
            await RemoteAgent(here.url, api_key="  ", headers={"X-A": " a "}).run("hello")
    assert "authorization" not in here.posts[0].headers
    assert here.posts[0].headers["x-a"] == "a"


def test_an_agent_shows_its_url_and_not_its_key() -> None:
    agent = RemoteAgent(unused_url(), api_key="the-secret-key", headers={"X-Key": "the-secret-key"})
    assert repr(agent) == f"RemoteAgent({agent.url!r})"
