"""The trace of a run as a tree, in text and in HTML; the spans are made by hand."""

from __future__ import annotations

import re
import threading
from collections.abc import Sequence
from html.parser import HTMLParser
from typing import Any

import pytest

from pais_sdk import RunTrace, TraceSpan
from pais_sdk.traces import RecentTraces, keep_traces, recent, recent_traces

MS = 1_000_000
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


@pytest.fixture(autouse=True)
def kept(monkeypatch: pytest.MonkeyPatch) -> RecentTraces:
    """Keep traces in a store of this test's own."""
    monkeypatch.setattr(recent, "_kept", None)
    return keep_traces(20)


def span(name: str, span_id: str, parent_id: str | None, start: float, end: float | None, **more: Any) -> TraceSpan:
    values: dict[str, Any] = {"attributes": {}, "failed": False, "scope": "test", "trace_id": TRACE} | more
    end_ns = None if end is None else int(end * MS)
    return TraceSpan(name=name, span_id=span_id, parent_id=parent_id, start_ns=int(start * MS), end_ns=end_ns, **values)


def keep(kept: RecentTraces, *spans: TraceSpan) -> None:
    for one in spans:
        kept.begin(one.trace_id, one.span_id, lambda one=one: one)
        if one.end_ns is not None:
            kept.end(one)


RUN = (
    span("server-run", "a", "caller", 0, 1240, attributes={"agent.name": "boss"}, scope="pais_sdk.runtime"),
    span("memory.open_session", "b", "a", 1, 2.5, scope="pais_sdk.memory"),
    span("invoke_agent boss", "c", "a", 3, 1230, attributes={"gen_ai.operation.name": "invoke_agent"}),
    span(
        "chat gpt",
        "d",
        "c",
        4,
        400,
        attributes={"gen_ai.operation.name": "chat", "gen_ai.usage.input_tokens": 51, "gen_ai.usage.output_tokens": 7},
    ),
    span(
        "execute_tool add",
        "e",
        "c",
        401,
        500,
        attributes={"gen_ai.operation.name": "execute_tool"},
        failed=True,
        error="ValueError",
    ),
    span("delegate.worker", "f", "e", 402, 490, scope="pais_sdk.delegation"),
    span("memory.append", "g", "a", 1231, 1239, scope="pais_sdk.memory"),
)


def test_the_text_is_a_tree_with_times_tokens_and_failures(kept: RecentTraces) -> None:
    keep(kept, *RUN)
    assert str(RunTrace(TRACE, "a")).splitlines() == [
        "server-run (boss)         1.24 s",
        "├─ memory.open_session    1.5 ms",
        "├─ invoke_agent boss      1.23 s",
        "│  ├─ chat gpt            396 ms  51 in, 7 out",
        "│  └─ execute_tool add     99 ms                failed: ValueError",
        "│     └─ delegate.worker   88 ms",
        "└─ memory.append          8.0 ms",
    ]


def test_the_columns_of_the_tree_are_straight_whatever_the_names_are_made_of(kept: RecentTraces) -> None:
    keep(kept, span("run", "a", None, 0, 5), span("天気", "b", "a", 1, 2), span("me\u0301te\u0301o", "c", "a", 3, 4))
    assert str(RunTrace(TRACE, "a")).splitlines() == [
        "run       5.0 ms",
        "├─ 天気   1.0 ms",
        "└─ me\u0301te\u0301o  1.0 ms",
    ]


def test_what_has_not_ended_still_runs(kept: RecentTraces) -> None:
    keep(kept, span("server-run", "a", None, 0, None), span("chat gpt", "b", "a", 1, 2))
    trace = RunTrace(TRACE, "a")
    assert str(trace).splitlines() == ["server-run   still runs", "└─ chat gpt      1.0 ms"]
    assert "still runs" in trace._repr_html_()
    kept.end(span("server-run", "a", None, 0, 3))
    assert "still runs" not in str(trace)
    assert len(trace.spans) == 2


def test_a_run_shows_its_own_spans_and_not_those_beside_or_above_it(kept: RecentTraces) -> None:
    keep(
        kept,
        span("my app", "app", None, 0, 100),
        span("server-run", "one", "app", 10, 50),
        span("chat gpt", "one.chat", "one", 11, 40),
        span("server-run", "two", "app", 12, 50),
        span("chat gpt", "two.chat", "two", 13, 40),
    )
    assert [one.span_id for one in RunTrace(TRACE, "one").spans] == ["one", "one.chat"]
    assert [one.span_id for one in RunTrace(TRACE, "two").spans] == ["two", "two.chat"]
    assert len(RunTrace(TRACE, "app").spans) == 5


def test_spans_whose_parent_is_elsewhere_hang_at_the_run_that_they_began_in(kept: RecentTraces) -> None:
    keep(
        kept,
        span("POST /v1/chat/completions", "post", "client", 0, 100),
        span("server-run", "run", "post", 10, 50),
        span("chat gpt", "chat", "run", 30, 40),
        span("server-run", "back", "another process", 20, 25),
        span("chat gpt", "back.chat", "back", 21, 22),
        span("POST /v1/chat/completions", "beside", "client", 20, 30),
        span("server-run", "beside.run", "beside", 21, 29),
        span("server-run", "later", "a third process", 60, 70),
    )
    assert str(RunTrace(TRACE, "run")).splitlines() == [
        "server-run       40 ms",
        "├─ server-run   5.0 ms",
        "│  └─ chat gpt  1.0 ms",
        "└─ chat gpt      10 ms",
    ]


def test_without_a_span_of_its_own_a_run_shows_all_of_its_trace(kept: RecentTraces) -> None:
    keep(kept, span("a", "a", "elsewhere", 0, 1), span("b", "b", "a", 0.5, 1), span("c", "c", None, 2, 3))
    for trace in (RunTrace(TRACE), RunTrace(TRACE, "not recorded")):
        assert [one.name for one in trace.spans] == ["a", "b", "c"]
        assert str(trace).splitlines() == ["a     1.0 ms", "└─ b  500 µs", "c     1.0 ms"]


def test_spans_that_are_each_others_parents_hang_nobody(kept: RecentTraces) -> None:
    keep(kept, span("a", "a", "b", 0, 1), span("b", "b", "a", 0, 1), span("c", "c", "c", 0, 1))
    assert [one.name for one in RunTrace(TRACE, "a").spans] == ["a", "b"]
    assert RunTrace(TRACE).spans == ()


def test_where_nothing_is_kept_one_line_says_what_to_do(monkeypatch: pytest.MonkeyPatch, kept: RecentTraces) -> None:
    trace = RunTrace(TRACE, "a")
    assert trace.spans == ()
    for text in (str(trace), trace._repr_html_()):
        assert TRACE in text
        assert "keep_traces=" in text
        assert "\n" not in text
    monkeypatch.setattr(recent, "_kept", None)
    assert recent_traces() is None
    for text in (str(trace), trace._repr_html_()):
        assert "call setup_telemetry() before the run" in text


def test_of_many_traces_those_are_kept_in_which_something_happened_last() -> None:
    kept = RecentTraces(2)
    for trace_id in ("one", "two"):
        keep(kept, span("run", trace_id, None, 0, None, trace_id=trace_id))
    kept.end(span("run", "one", None, 0, 1, trace_id="one"))
    keep(kept, span("run", "three", None, 0, 1, trace_id="three"))
    assert kept.trace_ids() == ["one", "three"]
    kept.end(span("run", "two", None, 0, 1, trace_id="two"))
    assert kept.spans_of("two") == ()
    assert [one.end_ns for one in kept.spans_of("one")] == [MS]
    kept.max_traces = 1
    assert kept.trace_ids() == ["three"]


def test_of_many_spans_those_that_last_and_the_newest_are_kept() -> None:
    kept = RecentTraces(1, max_spans=3)
    keep(kept, span("run", "run", None, 0, None))
    keep(kept, *(span("step", f"step{number}", "run", number, number + 1) for number in range(1, 9)))
    assert [one.span_id for one in kept.spans_of(TRACE)] == ["run", "step6", "step7", "step8"]
    keep(kept, *(span("never ends", f"open{number}", "run", 10 + number, None) for number in range(5)))
    assert [one.span_id for one in kept.spans_of(TRACE) if one.end_ns is None] == ["open2", "open3", "open4"]


def test_a_span_may_end_because_another_is_forgotten() -> None:
    kept = RecentTraces(1)

    class Forgotten:
        """Stands for whatever the garbage collector finds while a span is being kept."""

        def __call__(self) -> TraceSpan:
            return span("forgotten", "a", None, 0, None)

        def __del__(self) -> None:
            kept.end(span("ends then", "b", None, 0, 1, trace_id="new"))

    kept.begin("old", "a", Forgotten())
    new = span("new", "c", None, 0, None)
    thread = threading.Thread(target=kept.begin, args=("new", "c", lambda: new), daemon=True)
    thread.start()
    thread.join(5)
    assert not thread.is_alive()
    assert {one.name for one in kept.spans_of("new")} == {"new", "ends then"}


def test_a_process_keeps_its_traces_in_one_place(kept: RecentTraces) -> None:
    assert recent_traces() is kept
    assert keep_traces(3) is kept
    assert kept.max_traces == 3


@pytest.mark.parametrize("prefix", ["gen_ai.usage.", "gen_ai.aggregated_usage.", "pais_sdk.usage."])
def test_tokens_are_found_under_each_of_their_names(prefix: str) -> None:
    counted = span("chat", "a", None, 0, 1, attributes={f"{prefix}input_tokens": 5, f"{prefix}output_tokens": 0})
    assert (counted.input_tokens, counted.output_tokens) == (5, 0)
    assert span("chat", "a", None, 0, 1).input_tokens is None


class Seen(HTMLParser):
    """What a browser would make of HTML: its elements, their attributes, and its text."""

    VOID: frozenset[str] = frozenset()

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: Sequence[tuple[str, str | None]]) -> None:
        self.open.append(tag)
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += f"{data}\n"


def test_the_html_is_one_foldable_row_for_each_span(kept: RecentTraces) -> None:
    keep(kept, *RUN)
    html = RunTrace(TRACE, "a")._repr_html_()
    seen = Seen(html)
    assert seen.open == []
    assert [tag for tag, _ in seen.elements].count("details") == len(RUN)
    figure = seen.elements[0][1]
    assert (figure["role"], figure["aria-label"]) == ("figure", "Trace of server-run (boss): 7 spans; 1.24 s")
    for text in ("execute_tool add", "51 in, 7 out", "failed", "gen_ai.usage.input_tokens: 51", "396 ms", TRACE):
        assert text in seen.text
    assert len(html) < 1000 * len(RUN)


def test_a_bar_goes_from_the_start_of_a_span_to_its_end(kept: RecentTraces) -> None:
    model = {"gen_ai.operation.name": "chat"}
    keep(kept, span("run", "a", None, 0, 200), span("chat", "b", "a", 50, 150, attributes=model))
    bars = re.findall(r"margin-left:([\d.]+)%;width:([\d.]+)%;background:(#\w+)", RunTrace(TRACE, "a")._repr_html_())
    assert bars == [("0.0", "100.0", "#8c8c8c"), ("25.0", "50.0", "#8b62d9")]


def test_the_html_needs_no_style_sheet_and_loads_nothing(kept: RecentTraces) -> None:
    keep(kept, *RUN)
    seen = Seen(RunTrace(TRACE, "a")._repr_html_())
    assert {tag for tag, _ in seen.elements} <= {"div", "details", "summary", "span", "b", "code"}
    assert {name for _, attributes in seen.elements for name in attributes} <= {"style", "role", "aria-label", "title"}
    assert not any("url(" in (attributes.get("style") or "") for _, attributes in seen.elements)


EVIL = "</details><script>alert('x')</script>\"><img src=x onerror=alert(1)>\x1b[31m\x00\u202e\ud800\nnext"


def test_whatever_a_span_says_is_text(kept: RecentTraces) -> None:
    attributes = {EVIL: EVIL, "agent.name": EVIL, "error.type": EVIL, "list": [EVIL]}
    said = {"scope": EVIL, "kind": EVIL, "error": EVIL}
    keep(kept, span(EVIL, "a", None, 0, 1, attributes=attributes, failed=True, **said))
    trace = RunTrace(TRACE, "a")
    seen = Seen(trace._repr_html_())
    assert seen.open == []
    assert {tag for tag, _ in seen.elements} <= {"div", "details", "summary", "span", "b", "code"}
    assert "<script>" in seen.text
    assert len(str(trace).splitlines()) == 1
    for shown in (seen.text, str(trace)):
        assert not {"\x1b", "\x00", "\u202e", "\ud800"} & set(shown)


def test_large_traces_and_texts_are_cut(kept: RecentTraces) -> None:
    long = {"gen_ai.input.messages": "x" * 100_000}
    keep(kept, span("run", "a", None, 0, 1000, attributes=long | {f"k{number}": number for number in range(100)}))
    keep(kept, *(span("x" * 1000, f"s{number}", "a", number, number + 1, attributes=long) for number in range(900)))
    trace = RunTrace(TRACE, "a")
    assert len(trace.spans) == 901
    assert str(trace).endswith("\n… and 701 spans more")
    assert max(map(len, str(trace).splitlines())) < 130
    html = trace._repr_html_()
    assert "and 701 spans more" in html
    assert "and 61 attributes more" in html
    assert len(html) < 250_000


def test_a_deep_trace_is_drawn_without_recursion(kept: RecentTraces) -> None:
    keep(kept, *(span("step", f"{number}", f"{number - 1}", number, 2000) for number in range(1000)))
    trace = RunTrace(TRACE, "0")
    assert len(trace.spans) == 1000
    assert len(trace._repr_html_()) < 250_000


def test_a_span_without_length_has_a_bar_that_can_be_seen(kept: RecentTraces) -> None:
    keep(kept, span("run", "a", None, 5, 5))
    html = RunTrace(TRACE, "a")._repr_html_()
    assert "margin-left:0.0%;width:0.0%" in html
    assert "min-width:2px" in html
