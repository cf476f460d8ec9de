"""Other agents in the environment: what is read, what is refused, and what a served agent makes of them."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from pydantic_ai import Agent

from pais_sdk import AgentRuntime, ConfigurationError, Settings, serve
from pais_sdk.compose import create_runtime
from pais_sdk.compose.peers import create_peers
from pais_sdk.delegation import DelegationToolset
from pais_sdk.settings.peers import Peer, peer_agents

from .agents import echo_agent, echo_model

pytestmark = pytest.mark.anyio

SECRET = "sk-very-secret"


def found(monkeypatch: pytest.MonkeyPatch, **variables: str) -> dict[str, Peer]:
    for variable, value in variables.items():
        monkeypatch.setenv(variable, value)
    return peer_agents(Settings())


@pytest.mark.parametrize(
    "value",
    [
        "a:http://a:1,b-c:https://b.c/ns/agent/b",
        "[a:http://a:1,b-c:https://b.c/ns/agent/b]",
        " [ a : http://a:1/ ,, b-c:https://b.c/ns/agent/b/, ] ",
        "a:http://a:1,b-c:https://b.c/ns/agent/b/.well-known/agent.json,a:http://a:1/",
    ],
)
def test_sub_agents_are_names_with_urls(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    assert found(monkeypatch, AGENT_SUB_AGENTS=value) == {
        "a": Peer(url="http://a:1"),
        "b-c": Peer(url="https://b.c/ns/agent/b"),
    }


@pytest.mark.parametrize(
    ("name", "variable"),
    [
        ("worker-1", "PEER_AGENT_WORKER_1_CARD_URL"),
        ("Worker_1", "PEER_AGENT_WORKER_1_CARD_URL"),
        ("v1.worker", "PEER_AGENT_V1.WORKER_CARD_URL"),
        ("v1.worker", "PEER_AGENT_V1_WORKER_CARD_URL"),
    ],
)
def test_the_url_of_a_peer_is_in_a_variable_of_its_own(
    monkeypatch: pytest.MonkeyPatch, name: str, variable: str
) -> None:
    peers = found(monkeypatch, PEER_AGENTS=name, **{variable: "http://agent-worker-1.ns.svc.cluster.local:8000"})
    assert peers == {name: Peer(url="http://agent-worker-1.ns.svc.cluster.local:8000")}


@pytest.mark.parametrize(
    ("url", "base"),
    [
        ("http://a", "http://a"),
        ("http://a/", "http://a"),
        ("http://a/.well-known/agent.json", "http://a"),
        ("http://a/.well-known/agent-card.json", "http://a"),
        ("http://a/.well-known/agent", "http://a"),
        ("https://gateway/ns/agent/a//.well-known/agent-card.json/", "https://gateway/ns/agent/a"),
        ("HTTP://a/agent.json", "http://a/agent.json"),
    ],
)
def test_a_url_may_be_that_of_the_card(monkeypatch: pytest.MonkeyPatch, url: str, base: str) -> None:
    peers = found(
        monkeypatch, AGENT_SUB_AGENTS=f"first:{url}", PEER_AGENTS="second", PEER_AGENT_SECOND_CARD_URL=f" {url} "
    )
    assert peers == {"first": Peer(url=base), "second": Peer(url=base)}


def test_both_lists_are_merged_and_keys_belong_to_names(monkeypatch: pytest.MonkeyPatch) -> None:
    peers = found(
        monkeypatch,
        AGENT_SUB_AGENTS="b:http://b,a:http://a",
        PEER_AGENTS="[c, a,c]",
        PEER_AGENT_A_CARD_URL="http://a/",
        PEER_AGENT_C_CARD_URL="http://c",
        PEER_AGENT_A_API_KEY="  ",
        PEER_AGENT_B_API_KEY=f"{SECRET}\n",
        PEER_AGENT_C_API_KEY="key-of-c",
    )
    assert list(peers) == ["b", "a", "c"]
    assert [peer.api_key for peer in peers.values()] == [SECRET, None, "key-of-c"]
    assert SECRET not in repr(peers)


@pytest.mark.parametrize(
    ("variables", "says"),
    [
        ({"AGENT_SUB_AGENTS": f"a:http://a,{SECRET}"}, "^AGENT_SUB_AGENTS cannot be used: write it as name:url"),
        ({"AGENT_SUB_AGENTS": f"http://{SECRET}"}, "^AGENT_SUB_AGENTS cannot be used: write it as name:url"),
        ({"AGENT_SUB_AGENTS": f":http://{SECRET}"}, "^AGENT_SUB_AGENTS cannot be used: write it as name:url"),
        ({"AGENT_SUB_AGENTS": f"a:{SECRET}"}, "^AGENT_SUB_AGENTS cannot be used: the URL of 'a' is wrong: it must"),
        ({"AGENT_SUB_AGENTS": f"a:ftp://{SECRET}"}, "^AGENT_SUB_AGENTS cannot be used: the URL of 'a' is wrong"),
        ({"AGENT_SUB_AGENTS": f"a:http://me:{SECRET}@a"}, "the URL of 'a' is wrong: .* neither a user"),
        ({"AGENT_SUB_AGENTS": f"a:http://a?key={SECRET}"}, "the URL of 'a' is wrong"),
        (
            {"AGENT_SUB_AGENTS": f"a:http://a/{SECRET} b:http://b"},
            "^AGENT_SUB_AGENTS .* the URL of 'a' is wrong: .* space",
        ),
        (
            {"PEER_AGENTS": "a", "PEER_AGENT_A_CARD_URL": f"http://a/\n{SECRET}"},
            "^PEER_AGENT_A_CARD_URL cannot be used",
        ),
        ({"AGENT_SUB_AGENTS": f"a:http://a\\{SECRET}"}, "^AGENT_SUB_AGENTS .* the URL of 'a' is wrong"),
        ({"AGENT_SUB_AGENTS": "a:http://a,b:http://b,a:http://c"}, "^AGENT_SUB_AGENTS .*'a' has two different URLs"),
        ({"PEER_AGENTS": "a-b"}, "^PEER_AGENTS names 'a-b', and its URL is missing: set PEER_AGENT_A_B_CARD_URL$"),
        (
            {"PEER_AGENTS": "a.b"},
            "its URL is missing: set PEER_AGENT_A.B_CARD_URL or PEER_AGENT_A_B_CARD_URL$",
        ),
        (
            {"PEER_AGENTS": "a", "PEER_AGENT_A_CARD_URL": SECRET},
            "^PEER_AGENT_A_CARD_URL cannot be used: it must begin with http:// or https:// and name a host",
        ),
        (
            {"AGENT_SUB_AGENTS": "a-b:http://a", "PEER_AGENTS": "a-b", "PEER_AGENT_A_B_CARD_URL": "http://b"},
            "^AGENT_SUB_AGENTS and PEER_AGENT_A_B_CARD_URL cannot be used: the agent 'a-b' has two different URLs",
        ),
        (
            {"AGENT_SUB_AGENTS": "a:http://a", "PEER_AGENT_A_API_KEY": f"{SECRET}\n{SECRET}"},
            "^PEER_AGENT_A_API_KEY cannot be used: it has a character that no header may have$",
        ),
        ({"AGENT_SUB_AGENTS": "a-b:http://a,a_b:http://b"}, "'a-b' and 'a_b'"),
        ({"AGENT_IDENTITY": "a\nb"}, "^AGENT_IDENTITY cannot be used: it must be at most 256 printable characters$"),
        ({"AGENT_IDENTITY": "a" * 257}, "^AGENT_IDENTITY cannot be used"),
    ],
)
def test_an_environment_that_cannot_be_used_stops_the_start_without_telling_secrets(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], says: str
) -> None:
    for variable, value in variables.items():
        monkeypatch.setenv(variable, value)
    with pytest.raises(ConfigurationError, match=says) as caught:
        create_runtime(echo_agent(), settings=Settings())
    assert SECRET not in str(caught.value)


# The agent that is served


def test_without_peers_there_is_no_toolset() -> None:
    assert create_peers(Settings()) is None


async def test_peers_stand_beside_the_toolsets_that_are_given_and_nobody_asks_them_at_the_start(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PEER_AGENT_WORKER_B_CARD_URL", "http://127.0.0.1:9")  # where nobody is
    settings = Settings(agent_sub_agents="a:http://127.0.0.1:9", peer_agents="worker-b", agent_identity="me")
    mine: DelegationToolset = DelegationToolset({"mine": echo_agent()}, id="mine")
    async with create_runtime(echo_agent(), settings=settings, options={"toolsets": [mine]}) as runtime:
        tools = {tool.name: tool for tool in await runtime.list_tools()}
    assert runtime.id == "me"
    assert list(tools) == ["delegate_to_mine", "delegate_to_a", "delegate_to_worker_b"]
    assert {str(tool.tool_kind) for tool in tools.values()} == {
        "pais_sdk.delegation.mine",
        "pais_sdk.delegation.a",
        "pais_sdk.delegation.worker-b",
    }


def test_an_id_that_is_given_wins_over_the_environment() -> None:
    settings = Settings(agent_identity="of-the-environment")
    assert serve(echo_agent(), settings=settings, id="given").runtime.id == "given"
    first, second = serve(echo_agent()).runtime.id, serve(echo_agent()).runtime.id
    assert first != second


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_served_runtime_says_that_it_has_no_peers_of_the_environment(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, workers: str
) -> None:
    variables: dict[str, Any] = {
        "AGENT_SUB_AGENTS": "a:http://a",
        "PEER_AGENTS": "b",
        "AGENT_IDENTITY": "me",
        "AGENT_DELEGATION_MAX_DEPTH": "2",
        "AGENT_DELEGATION_TIMEOUT_SECONDS": "2",
        "AGENT_WORKERS": workers,
    }
    for variable, value in variables.items():
        monkeypatch.setenv(variable, value)
    with caplog.at_level(logging.WARNING):
        serve(AgentRuntime(Agent(echo_model())))
    mine = "AGENT_IDENTITY, " if workers == "1" else ""  # workers are given one by their parent
    assert (
        f"served as it is: {mine}AGENT_SUB_AGENTS, AGENT_DELEGATION_MAX_DEPTH, AGENT_DELEGATION_TIMEOUT_SECONDS, "
        "PEER_AGENTS of the environment have no effect on it"
    ) in caplog.text
