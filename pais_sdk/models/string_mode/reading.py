"""What goes out of an answer, and what does not."""

from __future__ import annotations

import re

from .calls import Call, Malformed, read_object
from .offer import Offer
from .scanner import Scanner

_TAGS = ("<tool_call>", "<|tool_call|>", "<|python_tag|>", "[TOOL_CALLS]")
_TAG = re.compile("|".join(re.escape(tag[:end]) + r"\Z" for tag in _TAGS for end in range(len(tag), 0, -1)))
_LONGEST_TAG = max(len(tag) for tag in _TAGS)


class Reading:
    """Reads one answer as it comes.

    Text goes out until something begins that is a call, or was meant as one. What stands right before a call goes with
    it: empty lines, the bracket of a list of calls, and the tags that models were trained to write there.
    After a call only more calls count: what a model writes there is often the result that it expects. After what was
    meant as a call all is held until the end: a call that follows is the answer, else the model can be asked again, or
    all of it is text.

    Where the run takes no text and has one output tool, an answer that is one JSON object and no call is the argument
    of that tool, so such an answer is held until its end.

    Args:
        offer: What the request offers.
    """

    def __init__(self, offer: Offer) -> None:
        self.called = False
        self.malformed: Malformed | None = None
        self._scanner = Scanner(offer.names)
        self._output = offer.outputs[0].name if offer.must_call and len(offer.outputs) == 1 else None
        self._flows = False
        self._before: list[str] = []  # space that goes out with the next text
        self._held: list[str] = []
        self._said: list[str] = []

    @property
    def said(self) -> str:
        """The whole text of the answer so far."""
        return "".join(self._said)

    @property
    def failed(self) -> bool:
        """Whether a call was meant and none was made."""
        return self.malformed is not None and not self.called

    def feed(self, text: str) -> list[str | Call]:
        """Take the next piece of the answer, and return what goes out now."""
        self._said.append(text)
        told: list[str | Call] = []
        for piece in self._scanner.feed(text):
            self._sort(piece, told)
        return told

    def finish(self) -> list[str | Call]:
        """Return what goes out at the end of the answer; where it `failed`, the rest is in `surfaced`."""
        told: list[str | Call] = []
        for piece in self._scanner.finish():
            self._sort(piece, told)
        if self.called or self.malformed:
            return told
        rest = self.surfaced()
        if self._output is not None and rest and (arguments := read_object(rest)) is not None:
            self.called = True
            return [Call(self._output, arguments)]
        return [*told, rest] if rest else told

    def called_otherwise(self) -> None:
        """Say that the model made a call by itself, which is not in its text."""
        self.called = True

    def surfaced(self) -> str:
        """Return what is held, as text."""
        return "".join([*self._before, *self._held])

    def _sort(self, piece: str | Call | Malformed, told: list[str | Call]) -> None:
        if isinstance(piece, str):
            if self._flows:
                self._flow(piece, told)
            elif not self.called:
                self._hold(piece, told)
        elif isinstance(piece, Call):
            self.called, self._flows = True, False
            self._before.clear()
            self._held.clear()
            told.append(piece)
        else:
            self.malformed = self.malformed or piece
            self._flows = False
            if not self.called:
                self._held.append(piece.text)

    def _hold(self, text: str, told: list[str | Call]) -> None:
        if self._held:
            self._held.append(text)
        elif not text.strip():
            self._before.append(text)
        elif self._output is not None and text.lstrip()[0] in "{`":
            self._held.append(text)
        else:
            self._flows = True
            self._flow(text, told)

    def _flow(self, text: str, told: list[str | Call]) -> None:
        """Tell text, but for what goes with a call at its end."""
        if text.isspace() and self._before:
            self._before.append(text)
            return
        if self._before:
            text = "".join([*self._before, text])
            self._before.clear()
        if ("\n" in text or "<" in text or "[" in text) and (end := _before_call(text)) < len(text):
            self._before.append(text[end:])
            text = text[:end]
        if text:
            told.append(text)


def _before_call(text: str) -> int:
    """Return where, at the end of a text, that begins which goes with a call, if one comes next."""
    end = len(text.rstrip())
    begin = end - 1 if text.endswith("[", 0, end) else end
    space = len(text[:begin].rstrip())
    if tag := _TAG.search(text, max(0, space - _LONGEST_TAG), space):
        begin = tag.start()
        space = len(text[:begin].rstrip())
    if begin == end:
        begin = len(text)
    line = text.find("\n", space, begin)
    return begin if line < 0 else line
