"""What the environment holds as keys is taken out of texts."""

from __future__ import annotations

import pytest

from pais_sdk.settings import Secrets


def masked(text: str, **environment: str) -> str:
    return Secrets(environment).masked(text)


@pytest.mark.parametrize(
    "name", ["MODEL_API_KEY", "PEER_AGENT_A_API_KEY", "LOGFIRE_TOKEN", "DB_PASSWORD", "client_secret", "AGENT_API_KEYS"]
)
def test_a_variable_with_such_a_name_is_secret(name: str) -> None:
    assert masked("it is the-secret-one.", **{name: " the-secret-one\n"}) == "it is ***."


def test_other_variables_are_not() -> None:
    assert masked("it is the-model", MODEL_NAME="the-model", KEYBOARD="the-model", AGENT_API_KEYS_FILE="the-model") == (
        "it is the-model"
    )


def test_each_key_of_a_list_is_secret_and_the_names_are_not() -> None:
    keys = "alice-the-first=key-of-alice==, bob=key-of-bob,key-of-nobody"
    told = masked("alice-the-first: key-of-alice==, key-of-bob, key-of-nobody", AGENT_API_KEYS=keys)
    assert told == "alice-the-first: ***, ***, ***"


@pytest.mark.parametrize("value", ["Bearer%20the-secret-one", "Bearer the-secret-one"])
def test_a_header_is_secret_with_and_without_its_scheme(value: str) -> None:
    headers = f"x=y,authorization={value}"
    for said in ("the-secret-one", value):
        assert "the-secret-one" not in masked(f"sent: {said}", OTEL_EXPORTER_OTLP_HEADERS=headers)


def test_a_key_that_begins_another_one_leaves_nothing_of_it() -> None:
    assert masked("the-secret-one-and-more", A_KEY="the-secret-one", B_KEY="the-secret-one-and-more") == "***"


def test_what_is_too_short_to_tell_it_from_other_words_stays() -> None:
    assert masked("this is not true", A_KEY="true", B_KEY="") == "this is not true"


@pytest.mark.parametrize(
    ("text", "public"),
    [
        ("redis://me:pass@host:1/0 is away", "redis://***@host:1/0 is away"),
        ("GET 'https://host/a?key=one&b=two' (404)", "GET 'https://host/a?***' (404)"),
        ("is it at http://host/a? yes?", "is it at http://host/a? yes?"),
        ("a@b.example?", "a@b.example?"),
    ],
)
def test_urls_are_without_user_and_query(text: str, public: str) -> None:
    assert masked(text) == public
