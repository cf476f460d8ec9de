"""Calls in text: what is found, what is left alone, however the text is cut."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from pydantic_ai.tools import ToolDefinition

from pais_sdk.models.string_mode.calls import Call, Malformed, Piece, read_object
from pais_sdk.models.string_mode.held import Held
from pais_sdk.models.string_mode.offer import Offer
from pais_sdk.models.string_mode.reading import Reading
from pais_sdk.models.string_mode.scanner import Scanner

TOOLS = ("greet", "add", 'say "hi"', "größe")
GREET = '{"tool_calls": [{"name": "greet", "arguments": {"name": "Al"}}]}'
SHORT = '{"name": "greet", "arguments": {"name": "Al"}}'
GREETED = Call("greet", {"name": "Al"})
MEGABYTE = 1_000_000


def scan(text: str, *cuts: int, names: tuple[str, ...] = TOOLS) -> list[Piece]:
    """Read a text that comes cut at these places; pieces of text that are next to each other are one."""
    scanner = Scanner(names)
    ends = [*sorted(cuts), len(text)]
    pieces: list[Piece] = []
    for begin, end in zip([0, *ends], ends, strict=False):
        pieces += scanner.feed(text[begin:end])
    return joined([*pieces, *scanner.finish()])


def joined(pieces: Sequence[Piece]) -> list[Piece]:
    told: list[Piece] = []
    for piece in pieces:
        if isinstance(piece, str) and told and isinstance(last := told[-1], str):
            told[-1] = last + piece
        else:
            told.append(piece)
    return told


def calls(text: str) -> list[Call]:
    return [piece for piece in scan(text) if isinstance(piece, Call)]


# Words that calls, JSON and Markdown consist of, in any order: what a model may write around and instead of a call.
MARKS = [*'{}[]:,`1é😀 \n\\"', "}}", '{"', "```", "```json\n"]
KEYS = [
    "name",
    "greet",
    '"name": "greet"',
    '"tool_calls": [',
    '{"a": ',
    '{"arguments": ',
    '{"id": ',
    '{"function": ',
    '{"name": "nobody"',
]
WORDS = st.sampled_from([*MARKS, *KEYS])
PROSE = st.lists(st.one_of(WORDS, st.text(max_size=5)), max_size=12).map("".join)
MEANT = st.sampled_from(['{"tool_calls"', '{"tool_calls": [{"name": "greet", ', '{"name": "greet", ', GREET, SHORT])
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.text()),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(), inner, max_size=3)),
    max_leaves=6,
)
ARGUMENTS = st.dictionaries(st.one_of(st.text(), st.sampled_from(["name", "tool_calls"])), VALUES, max_size=3)


@st.composite
def call_texts(draw: st.DrawFn) -> tuple[str, list[Call]]:
    """Draw calls in one of the forms that are accepted, and what they are."""
    wanted: list[Call] = []
    entries: list[dict[str, Any]] = []
    short = draw(st.booleans())
    for _ in range(1 if short else draw(st.integers(1, 3))):
        name = draw(st.sampled_from(TOOLS) if short else st.one_of(st.sampled_from(TOOLS), st.text(min_size=1)))
        arguments = draw(ARGUMENTS)
        wanted.append(Call(name, arguments))
        written: Any = json.dumps(arguments) if draw(st.booleans()) else arguments
        entry: dict[str, Any] = {"name": name, draw(st.sampled_from(["arguments", "parameters"])): written}
        if draw(st.booleans()):
            entry = dict(reversed(entry.items()))
        if draw(st.booleans()):
            entry = {"id": "call_1", "type": "function", "function": entry}
        elif draw(st.booleans()):
            entry = {"type": "function", **entry, "id": "call_1"}
        entries.append(entry)
    data = entries[0] if short else {"tool_calls": entries}
    text = json.dumps(data, ensure_ascii=draw(st.booleans()), indent=draw(st.sampled_from([None, 2])))
    fence = draw(st.sampled_from(["", "```", "```json\n", "```` tool\n"]))
    return (f"{fence}{text}\n{fence[:3]}" if fence else text), wanted


@settings(max_examples=200, deadline=None)
@given(st.one_of(st.text(), PROSE))
def test_text_without_a_call_comes_out_unchanged(text: str) -> None:
    found = scan(text)
    if all(isinstance(piece, str) for piece in found):
        assert found == ([text] if text else [])
    else:
        assert '"tool_calls"' in text or '"greet"' in text


@settings(max_examples=150, deadline=None)
@given(PROSE, call_texts(), st.text(max_size=8))
def test_a_call_is_found_in_any_prose(before: str, call: tuple[str, list[Call]], after: str) -> None:
    alone = scan(before)
    assume(not any(isinstance(piece, Malformed) for piece in alone))  # what follows that may be a part of it
    text, wanted = call
    after = after.replace("}", ")")  # so that prose does not make an object around the call whole
    assert calls(before + text + after) == [piece for piece in alone if isinstance(piece, Call)] + wanted


@settings(max_examples=100, deadline=None)
@given(st.lists(st.one_of(WORDS, MEANT, call_texts().map(lambda call: call[0])), max_size=8).map("".join), st.data())
def test_every_way_to_cut_a_text_gives_the_same(text: str, data: st.DataObject) -> None:
    whole = scan(text)
    assert scan(text, *range(1, len(text))) == whole
    cuts = data.draw(st.lists(st.integers(0, len(text)), max_size=6))
    assert scan(text, *cuts) == whole


def read(text: str, *cuts: int, output: bool) -> tuple[list[Piece], bool, str]:
    """Read an answer that comes cut at these places: what goes out, whether there was a call, and what is held."""
    tools = [ToolDefinition(name="greet")]
    reading = Reading(Offer([], tools, True, False, None) if output else Offer(tools, [], False, False, None))
    ends = [*sorted(cuts), len(text)]
    told: list[str | Call] = []
    for begin, end in zip([0, *ends], ends, strict=False):
        told += reading.feed(text[begin:end])
    told += reading.finish()
    return joined(told), reading.called, reading.surfaced() if reading.failed else ""


TAGS = ["<tool_call>", "</tool_call>", "<|python_tag|>", "[TOOL_CALLS]", "<tool", "<", "[", "\n\n", " "]


@settings(max_examples=200, deadline=None)
@given(st.lists(st.one_of(st.sampled_from(TAGS), WORDS, MEANT), max_size=8).map("".join), st.booleans(), st.data())
def test_every_way_to_cut_an_answer_tells_the_same(text: str, output: bool, data: st.DataObject) -> None:
    whole = read(text, output=output)
    assert read(text, *range(1, len(text)), output=output) == whole
    assert read(text, *data.draw(st.lists(st.integers(0, len(text)), max_size=6)), output=output) == whole
    told, called, held = whole
    if not called:
        assert "".join([*map(str, told), held]) == text


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (GREET, [GREETED]),
        (SHORT, [GREETED]),
        (f"```json\n{GREET}\n```", [GREETED]),
        (f"```\n{GREET}\n{SHORT}\n```", [GREETED, GREETED]),
        (f"Let me see.\n\n```json\n{GREET}\n```\n", ["Let me see.\n\n", GREETED, "\n"]),
        (f"`{GREET}`", ["`", GREETED, "`"]),
        (f'Use {{x}} or "{{" or ```: {GREET} }}', ['Use {x} or "{" or ```: ', GREETED, " }"]),
        (f"{GREET}\n{SHORT}", [GREETED, "\n", GREETED]),
        ('{"parameters": {"name": "Al"}, "name": "greet"}', [GREETED]),
        ('{"name": "greet", "arguments": "{\\"name\\": \\"Al\\"}"}', [GREETED]),
        ('{"name": "greet"}', [Call("greet", {})]),
        ('{"name": "greet", "arguments": null}', [Call("greet", {})]),
        ('{"type": "function", "name": "greet", "parameters": {"name": "Al"}}', [GREETED]),
        ('{"name": "greet", "arguments": {"name": "Al"}, "id": "1"}', [GREETED]),
        ('{"id": "1", "type": "function", "function": {"name": "greet", "arguments": {"name": "Al"}}}', [GREETED]),
        (f'{{"function": {SHORT}', ['{"function": ', GREETED]),
        ('{"function": {"arguments": "{\\"name\\": \\"Al\\"}", "name": "greet"}, "id": "1"}', [GREETED]),
        ('{"tool_calls": {"name": "greet", "arguments": {"name": "Al"}}}', [GREETED]),
        ('{"name": "greet", "arguments": ""}', [Call("greet", {})]),
        ('{"name": "gr\\u0065et"}', [Call("greet", {})]),
        ('{"name": "say \\"hi\\""}', [Call('say "hi"', {})]),
        ('{"name": "gr\\u00f6\\u00dfe", "name": "greet"}', [Call("greet", {})]),
        ('{"name": "greet", "name": "nobody"}', ['{"name": "greet", "name": "nobody"}']),
        ('{"tool_calls": [{"name": "nobody", "arguments": {}}]}', [Call("nobody", {})]),
        (
            '{"tool_calls": [{"id": "1", "type": "function", "function": {"name": "greet", "arguments": "{}"}}]}',
            [Call("greet", {})],
        ),
        ('{"name": "greet", "arguments": {"name": "a } b { \\" ``` c"}}', [Call("greet", {"name": 'a } b { " ``` c'})]),
        ('{"name": "greet", "arguments": {"name": "two\nlines"}}', [Call("greet", {"name": "two\nlines"})]),
        ('{"name": "greet", "arguments": {"a": 1, "a": 2}}', [Call("greet", {"a": 2})]),
        ('{"name": "greet", "arguments": {"a": "\\ud800"}}', [Call("greet", {"a": "?"})]),
    ],
)
def test_the_forms_of_calls(text: str, found: list[Piece]) -> None:
    assert scan(text) == found


@pytest.mark.parametrize(
    "text",
    [
        '{"answer": 42}',
        '{"name": "Al", "age": 3}',
        '{"name": "nobody", "arguments": {}}',
        '{"name": "greet", "arguments": {}, "result": "Hello"}',
        '{"name": {"name": 1}}',
        '{"tool_calls": []}',
        '{"id": 1, "name": "greet"}',
        '{"type": "function", "name": "greet"}',
        '{"type": "person", "name": "greet", "arguments": {}}',
        '{"function": {"name": "nobody", "arguments": {}}}',
        '{"function": {"name": "greet", "description": "Say hello.", "parameters": {}}}',
        '{"function": "greet", "id": 1}',
        f'{{"type": "function", "function": [{SHORT}]}}',
        '{"tool_calls": null}',
        '{"arguments": {"a": 1}}',
        f'{{"example": {GREET}}}',
        f'{{"usage": {{"tool_calls": 5}}, "list": [{SHORT}]}}',
        "{}",
        '```json\n{"a": 1}\n```\nand ```py\nx = {}\n```',
        "{ not json",
        '{"name": "gre',
        '{"tool_ca',
        "``````````{",
    ],
)
def test_json_that_is_no_call_is_left_alone(text: str) -> None:
    assert scan(text) == [text]


@pytest.mark.parametrize(
    "text", ["{'tool': 1}", "{ 'tool_call': 1}", "{'", "{'tool_calls", "{''}", "{'name': 'greet'}"]
)
def test_single_quotes_that_are_no_list_of_calls_are_text_however_they_come(text: str) -> None:
    for pieces in ([text], list(text), [text[:3], text[3:]]):
        scanner = Scanner({"greet"})
        told = [piece for part in pieces for piece in scanner.feed(part)] + scanner.finish()
        assert all(isinstance(piece, str) for piece in told)
        assert "".join(map(str, told)) == text


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('{"tool_calls": [{"name": "greet", "arguments": {"a": 1,}}]}', "after the comma"),
        ('{"tool_calls": [{"name": "greet", arguments: {"name": "greet"}}]}', "double quotes"),
        ('{"tool_calls": [{"name": "greet", "arguments": {"a": 1}]}', "the bracket that fits"),
        ('{"name": "greet", "arguments": {"a": "say "hi""}}', "a double quote in a text"),
        ("{'tool_calls': [{'name': 'greet', 'arguments': {}}]}", "in double quotes"),
        ('{"tool_calls": [{"name": "greet"', "does not end"),
        ('{"name": "greet", "arguments": {"a": "', "does not end"),
        ('{"name": "greet" "arguments": {}}', "a comma"),
        ('{"name": "greet", "arguments" {}}', "a colon"),
        ('{"name": "greet", "arguments": }', "a value is missing"),
        ('{"name": "greet", "arguments": {"a": NaN}}', "there is no NaN"),
        ('{"name": "greet", "arguments": {"a": oops}}', "Expecting value, at character"),
        ('{"name": "greet", "arguments": [1]}', "`arguments` must be an object"),
        ('{"name": "greet", "arguments": "{oops"}', "not valid JSON; write an object"),
        ('{"tool_calls": 5}', "must be a list"),
        ('{"tool_calls": ["greet"]}', "must be an object"),
        ('{"tool_calls": [{"arguments": {}}]}', "the name of a tool"),
        ('{"name": "greet", "arguments": {"a": ' + "[" * 200 + "]" * 200 + "}}", "levels deep"),
        ('{"name": "greet", "arguments": {"a": ' + "[" * 99999 + "]" * 99999 + "}}", "nested too deeply"),
        ('{"name": "greet", "arguments": {"a": ' + "9" * 5000 + "}}", "a number that is too long"),
    ],
)
def test_what_was_meant_as_a_call_is_told_with_what_is_wrong(text: str, problem: str) -> None:
    rest = "" if "does not end" in problem else " And so on."
    found = scan(f"Hm. {text}{rest}")
    assert found[0] == "Hm. "
    assert isinstance(malformed := found[1], Malformed)
    assert problem in malformed.problem
    assert not calls(text)
    assert "".join(piece if isinstance(piece, str) else getattr(piece, "text", "") for piece in found) == (
        f"Hm. {text}{rest}"
    )


def test_a_call_that_is_written_again_after_a_broken_one_is_found() -> None:
    broken, *_, call = scan(f'{{"tool_calls": [{{"name": "greet", oops]}} Sorry: {GREET}')
    assert isinstance(broken, Malformed)
    assert call == GREETED


def test_what_is_no_call_any_more_flows_on() -> None:
    scanner = Scanner(TOOLS)
    assert scanner.feed('so {"') == ["so "]
    assert scanner.feed("na") == []
    assert scanner.feed("tion") == ['{"nation']
    assert scanner.feed('": {"city') == ['": {"city']
    assert scanner.feed('", ') == ['", ']
    assert scanner.feed('{ "tool') == []


def test_an_object_in_a_fence_flows_like_any_other() -> None:
    scanner = Scanner(TOOLS)
    assert scanner.feed('See ```json\n{"x') == ['See ```json\n{"x']
    assert scanner.feed('": 1, "b": ') == ['": 1, "b": ']
    assert scanner.feed(f"{GREET}") == []
    assert scanner.feed("}") == [f"{GREET}}}"]
    assert scanner.feed("\n```\nor ") == ["\n```\nor "]
    assert scanner.feed(f"```\n{GREET}\n```") == [GREETED]


def test_one_object_is_read_with_or_without_a_fence() -> None:
    assert read_object(' {"a": 1} ') == {"a": 1}
    assert read_object('```json\n{"a": "}"}\n```\n') == {"a": "}"}
    for text in (
        "",
        "[1]",
        '{"a": 1} {"b": 2}',
        'see {"a": 1}',
        "{oops",
        '{"a": NaN}',
        '{"a":' * 2000 + "1" + "}" * 2000,
    ):
        assert read_object(text) is None, text[:20]


NASTY = {
    "braces": "{",
    "braces and space": "{ ",
    "quotes": '"',
    "backticks": "`",
    "fences": "```\n",
    "fences with braces": "```json\n{",
    "names": '{"name":',
    "names of the tool": '{"name":"greet","arguments":',
    "arguments": '{"arguments":',
    "functions": '{"function":',
    "functions of the tool": '{"function":{"name":"greet",',
    "calls that open": '{"tool_calls":[',
    "objects": '{"a":',
    "objects that open in texts": '{"',
    "braces in texts": '{"a{ ',
    "escaped quotes": '\\"',
    "lists": "[",
    "calls": SHORT,
    "calls in an object": f'{{"a":[{SHORT},',
}
ENDLESS = '{"name": "greet", "arguments": {"text": "'


@pytest.mark.parametrize("size", [7, MEGABYTE])
@pytest.mark.parametrize("begin", ["", ENDLESS, '{"a": ['])
@pytest.mark.parametrize("nasty", NASTY.values(), ids=NASTY)
def test_a_text_takes_linear_work(nasty: str, begin: str, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    length = 20_000  # a megabyte of each is in `benchmarks/string_mode.py`
    copied = 0
    between = Held.between

    def counting(held: Held, start: int, end: int) -> str:
        nonlocal copied
        copied += end - start
        return between(held, start, end)

    monkeypatch.setattr(Held, "between", counting)
    text = (begin + nasty * length)[:length]
    scanner = Scanner(TOOLS)
    pieces = [piece for at in range(0, length, size) for piece in scanner.feed(text[at : at + size])]
    pieces += scanner.finish()
    assert scanner.steps <= 2 * length + 10
    assert copied <= 4 * length
    assert sum(len(piece.text) for piece in pieces if isinstance(piece, Malformed)) <= length
