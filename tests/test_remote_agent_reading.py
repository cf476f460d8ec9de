"""What remote agents send, read in any cut: server-sent events and values of JSON."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from pais_sdk.client.a2a_news import read_news
from pais_sdk.client.agent_url import AgentUrl
from pais_sdk.client.card import CARD_PATHS, read_card
from pais_sdk.client.failures import Failures
from pais_sdk.client.json_values import count_in
from pais_sdk.client.progress import progress_in_text, read_progress
from pais_sdk.client.sse import EventReader, EventTooLongError
from pais_sdk.client.task_story import TaskStory
from pais_sdk.client.usage import read_usage
from pais_sdk.client.values import RemoteAnswer, RemoteProgress, RemoteText, RemoteUsage

STREAM: tuple[tuple[bytes, ...], ...] = (
    (b"data: one",),
    (b"data: two", b"data:  lines"),
    (b"event: x", b"id: 7", b"data:three", b"retry: 1"),
    (b"data: \xc3\xa4",),
    (b"data:",),
    (b"event: nothing",),
)
DATA = [b"one", b"two\n lines", b"three", b"\xc3\xa4", b""]


def in_pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    places = sorted({cut % (len(data) + 1) for cut in cuts})
    return [data[start:end] for start, end in zip([0, *places], [*places, len(data)], strict=True)]


@hypothesis_settings(deadline=None)
@given(st.sampled_from([b"\n", b"\r\n", b"\r"]), st.lists(st.integers(0, 300), max_size=12), st.booleans())
def test_events_are_read_with_any_line_end_in_any_cut(end: bytes, cuts: list[int], comments: bool) -> None:
    comment = [b": ping"] if comments else []
    lines = [line for event in STREAM for line in (*comment, *event, b"")]
    data = end.join([*lines, b"data: unfinished"])
    reader = EventReader(1000)
    read = [found for piece in in_pieces(data, cuts) for found in reader.feed(piece)]
    assert read == DATA


@pytest.mark.parametrize("data", [b"data: " + b"x" * 200, b"data: x\n" * 50, b"x" * 200])
def test_an_event_that_is_too_long_is_not_kept(data: bytes) -> None:
    reader = EventReader(100)
    with pytest.raises(EventTooLongError):
        for place in range(0, len(data), 7):
            list(reader.feed(data[place : place + 7]))


def test_events_that_are_short_may_be_any_number() -> None:
    reader = EventReader(100)
    assert sum(len(list(reader.feed(b"data: 0123456789\n\n"))) for _ in range(1000)) == 1000


def test_a_long_event_in_small_pieces_is_read_once() -> None:
    """Joining what is there with each piece would take minutes."""
    reader = EventReader(20_000_000)
    pieces = [b"data: ", *[b"x" * 100] * 100_000, b"\n\n"]
    assert [len(found) for piece in pieces for found in reader.feed(piece)] == [10_000_000]


@pytest.mark.parametrize(
    ("value", "count"),
    [
        (3, 3),
        (3.0, 3),
        (3.5, 0),
        (-1, 0),
        (True, 0),
        ("3", 0),
        (None, 0),
        (float("inf"), 0),
        (float("nan"), 0),
        ([], 0),
        (2**53, 2**53),
        (2**63, 0),  # no telemetry and no database takes it
        (1e300, 0),
    ],
)
def test_a_count_is_a_whole_number_or_nothing(value: Any, count: int) -> None:
    assert count_in(value) == count


WORDS = st.sampled_from(
    [
        "",
        "task",
        "kind",
        "status",
        "state",
        "parts",
        "text",
        "artifact",
        "artifacts",
        "history",
        "metadata",
        "id",
        "usage",
        "statusUpdate",
        "artifactUpdate",
        "message",
        "artifact-update",
        "status-update",
        "working",
        "data",
        "progress",
    ]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=5),
    max_leaves=12,
)


@hypothesis_settings(deadline=None)
@given(JSON)
def test_any_json_is_read_as_news_or_not_at_all(said: Any) -> None:
    story = TaskStory("a2a-1.0", "worker")
    news = read_news(said)
    if news is not None:
        story.take(news)
        story.take(news)
    answer = story.answer()[-1]
    assert isinstance(answer, RemoteAnswer)
    assert isinstance(answer.text, str)
    read_usage(said)
    Failures("http://w", "w", []).of_status(500, said)
    Failures("http://w", "w", []).of_code(said)
    Failures("http://w", "w", []).of_error(said)


HALF = "\ud83d"


def test_what_could_not_be_written_again_is_not_passed_on() -> None:
    """Half a character, NaN and the like would break whoever sends or stores them: our model, our clients, a memory."""
    odd = {HALF: [HALF, float("nan"), float("inf"), 2.0, 1.5, True, None]}
    progress = read_progress({"action": f"a{HALF}", "target": HALF, "detail": odd})
    assert progress is not None
    assert (progress.action, progress.target) == ("a\ufffd", "\ufffd")
    assert progress.detail["detail"] == {"\ufffd": ["\ufffd", None, None, 2, 1.5, True, None]}
    assert type(progress.detail["detail"]["\ufffd"][3]) is int

    assert read_usage({"requests": 1, "details": {HALF: 1, "a\nb": 1, "ok": 1}}) == RemoteUsage(
        requests=1, details={"ok": 1}
    )

    raw = {"name": HALF, "description": HALF, "skills": [HALF]}
    card = read_card(raw, path=CARD_PATHS[0], url=AgentUrl("http://w"), choice="auto")
    assert (card.name, card.description, [*card.skills]) == ("\ufffd", "\ufffd", ["\ufffd"])

    story = TaskStory("a2a-1.0", "worker")
    status = {"state": "TASK_STATE_WORKING", "message": {"parts": [{"text": HALF}]}}
    news = read_news({"statusUpdate": {"taskId": "t", "status": status}})
    assert news is not None
    assert story.take(news) == [RemoteProgress("status", "worker", {"text": "\ufffd"})]


PIECES = st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from(["", "x", "yz"]), st.booleans()), max_size=8)


@hypothesis_settings(deadline=None)
@given(PIECES)
def test_the_pieces_are_the_answer_or_the_beginning_of_what_was_taken_back(pieces: list[tuple[str, str, bool]]) -> None:
    story = TaskStory("a2a-1.0", "worker")
    artifacts: dict[str, str] = {}
    told = ""
    for artifact_id, text, append in pieces:
        artifacts[artifact_id] = (artifacts.get(artifact_id, "") if append else "") + text
        parts = {"artifactId": artifact_id, "parts": [{"text": text}]}
        news = read_news({"artifactUpdate": {"taskId": "t", "artifact": parts, "append": append}})
        assert news is not None
        told += "".join(event.text for event in story.take(news) if isinstance(event, RemoteText))
    news = read_news({"statusUpdate": {"taskId": "t", "status": {"state": "TASK_STATE_COMPLETED"}}})
    assert news is not None
    story.take(news)
    *rest, answer = story.answer()
    told += "".join(event.text for event in rest if isinstance(event, RemoteText))
    assert isinstance(answer, RemoteAnswer)
    assert answer.text == "\n\n".join(filter(None, artifacts.values()))
    is_in_order = all(append for *_, append in pieces) and sorted(item[0] for item in pieces) == [i[0] for i in pieces]
    assert told == answer.text or not is_in_order


@pytest.mark.parametrize(
    "text",
    ["{", '{"type": "progress"', '{"type": "progress"}', '{"progress": ' + "[" * 100_000, "progress", '["progress"]'],
)
def test_text_that_is_no_progress_is_text(text: str) -> None:
    assert progress_in_text(text) is None
