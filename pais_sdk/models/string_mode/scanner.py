"""Finding calls in what a model writes, as it comes."""

from __future__ import annotations

import json
import re
from collections.abc import Collection

from .calls import KEYS, Malformed, Piece, read_calls
from .held import Held
from .states import NOT_CLOSED, PROBLEMS, At, Kind, Object

_WHITE = " \t\r\n"
_SPACE = re.compile(r"[ \t\r\n]*")
_SINGLE = "tool_calls'"  # after a single quote, where only Python would have one
_SINGLE_BEGUN = "|".join(_SINGLE[:length] for length in range(len(_SINGLE)))
_START = re.compile(rf"""\{{(?=[ \t\r\n]*+(?:"|\Z|'(?:{_SINGLE}|(?:{_SINGLE_BEGUN})\Z)))|`""")
_IN_STRING = re.compile(r'["\\]')
_LITERAL = re.compile(r'[^ \t\r\n,:"{}\[\]]*')
_TICKS = re.compile(r"`*")
_WORD = re.compile(r"[\w+.-]*")
_LONGEST_WORD = 24
_MIN_TICKS, _MAX_TICKS = 3, 8


class Scanner:
    """Reads the text of one answer in pieces of any size; what it finds does not depend on how the text is cut.

    An object is a call as `read_calls` says. An object inside another one that is whole and no call is no call either:
    JSON that a model shows is left alone. What begins as a call and is none is `Malformed`; after that only an object
    with `tool_calls` is a call, because the inside of a broken call must not be taken for one.

    Only what may still be a call is held back, and each character is looked at a bounded number of times.

    Args:
        names: The tools that are offered.
    """

    def __init__(self, names: Collection[str]) -> None:
        self.steps = 0  # for the test that work is linear
        self._names = frozenset(names)
        self._longest_name = 12 * max((len(name) for name in self._names), default=0)  # all in escaped surrogate pairs
        self._at = At.TEXT
        self._stack: list[Object | None] = []  # what is open; None is a list
        self._open: list[Object] = []  # the objects among these that may be calls
        self._found: list[tuple[int, int]] = []  # where objects inside others are that may be calls
        self._checked = 0  # how many of these are calls, if what is around them is no whole object
        self._options: Collection[str] = ()  # what the key or name that is read can become
        self._word: list[str] = []
        self._length = 0
        self._raw = False  # the name has escapes
        self._escaped = False
        self._brace = -1  # where `{` is the last in a string, but for space: if its end is a stray quote, a call begins
        self._string_end = -1
        self._fence = -1  # from where on a fence is held back
        self._ticks = 0
        self._in_code = False
        self._after_call = False  # and in its fence
        self._broken = False
        self._held = Held()

    def feed(self, text: str) -> list[Piece]:
        """Take the next piece of the answer, and return what is certain now."""
        held = self._held
        if self._at == At.TEXT and held.told == held.end and _START.search(text) is None:
            self.steps += 1
            held.told = held.end = held.end + len(text)
            return [text] if text else []
        self._read(text, held.add(text))
        return held.take(self._held_from())

    def finish(self) -> list[Piece]:
        """Return what is left at the end of the answer."""
        held = self._held
        if self._stack:
            self._break(held.end, NOT_CLOSED)
        elif self._after_call:
            held.told = held.end
        return held.take(held.end)

    def _held_from(self) -> int:
        """Return where that begins which may still be part of a call."""
        if self._fence >= 0:
            return self._fence
        held = self._open[0].start if self._open else self._held.end
        if self._found:
            held = min(held, self._found[0][0])
        return min(held, self._brace) if self._brace >= 0 else held

    def _read(self, text: str, base: int) -> None:
        index, size = 0, len(text)
        while index < size:
            self.steps += 1
            at = self._at
            if at == At.STRING or at == At.KEY or at == At.NAME:
                index = self._read_string(text, index, base)
            elif at == At.TEXT:
                index = self._read_text(text, index, base)
            elif at == At.LITERAL:
                index = _end_of(_LITERAL, text, index)
                if index < size:
                    self._at = At.AFTER
            elif at == At.TICKS:
                index = self._read_ticks(text, index, base)
            elif at == At.WORD:
                index = self._read_word(text, index)
            elif at == At.SINGLE:
                index = self._read_single(text, index, base)
            else:
                mark = text[index]
                if mark in _WHITE:
                    index = _end_of(_SPACE, text, index)
                else:
                    index += self._read_mark(mark, base + index)

    def _read_text(self, text: str, index: int, base: int) -> int:
        match = _START.search(text, index)
        if match is None:
            return len(text)
        if match[0] == "`":
            self._at, self._fence, self._ticks = At.TICKS, base + match.start(), 0
            return match.start()
        self._push(base + match.start())
        return match.end()

    def _read_ticks(self, text: str, index: int, base: int) -> int:
        end = _end_of(_TICKS, text, index)
        self._ticks += end - index
        if self._ticks > _MAX_TICKS:
            self._fence, self._after_call = -1, False
        if end == len(text):
            return end
        if not _MIN_TICKS <= self._ticks <= _MAX_TICKS:
            self._leave_fence()
        elif self._after_call:
            self._held.told, self._in_code = base + end, False
            self._leave_fence()
        else:
            self._at, self._length = At.WORD, 0
        return end

    def _read_word(self, text: str, index: int) -> int:
        end = _end_of(_WORD, text, index)
        self._length += end - index
        if self._length > _LONGEST_WORD or (end < len(text) and self._in_code and not self._length):
            self._in_code = not self._in_code  # code that is no call begins, or ends
            self._leave_fence()
        elif end < len(text):
            self._at = At.FENCED
        return end

    def _leave_fence(self) -> None:
        self._at, self._fence, self._after_call = At.TEXT, -1, False

    def _read_mark(self, mark: str, here: int) -> int:
        """Read the first character after space; returns 1, or 0 where it has to be read again as what it is then."""
        at = self._at
        if at == At.FENCED:
            return self._read_fenced(mark, here)
        if mark == "'" and at == At.OPEN:
            self._at, self._length = At.SINGLE, 0
            return 1
        if at == At.COLON and mark == ":":
            self._at, self._brace = At.VALUE, -1
            return 1
        if mark == '"' and (at == At.OPEN or at == At.NEXT_KEY):
            self._start_string(At.KEY)
            return 1
        if at == At.AFTER and mark == ",":
            self._at, self._brace = At.VALUE if self._stack[-1] is None else At.NEXT_KEY, -1
            return 1
        if at == At.AFTER or (at == At.OPEN and mark == "}") or (at == At.FIRST and mark == "]"):
            if mark == ("]" if self._stack[-1] is None else "}"):
                self._pop(here + 1)
                return 1
        elif (at == At.VALUE or at == At.FIRST) and mark not in "]},:":
            return self._read_value(mark, here)
        return self._restart(here)

    def _read_fenced(self, mark: str, here: int) -> int:
        if mark == "{":
            self._push(here)
            return 1
        if mark == "[" and not self._after_call:  # of a list of calls
            return 1
        if mark == "`" and self._after_call:
            self._at, self._ticks = At.TICKS, 0
            return 0
        self._in_code = self._in_code or not self._after_call
        self._leave_fence()
        return 0

    def _read_value(self, mark: str, here: int) -> int:
        top = self._stack[-1]
        is_name = top is not None and top.kind == Kind.OPEN and top.key == "name"
        if mark == '"':
            self._start_string(At.NAME if is_name else At.STRING)
            return 1
        if is_name:
            self._no_call()
        if mark == "{":
            self._push(here)
            return 1
        if mark == "[":
            self._stack.append(None)
            self._at = At.FIRST
            return 1
        self._at = At.LITERAL
        return 0

    def _read_single(self, text: str, index: int, base: int) -> int:
        """Read what follows a single quote: a call as Python writes it is meant as one, and is no JSON."""
        piece = text[index : index + len(_SINGLE) - self._length]
        if not _SINGLE.startswith(piece, self._length):
            self._restart(base + index)
            return index
        self._length += len(piece)
        if self._length == len(_SINGLE):
            top = self._stack[-1]
            assert top is not None
            top.kind = Kind.EXPLICIT
            self._restart(base + index + len(piece))
        return index + len(piece)

    def _start_string(self, at: str) -> None:
        self._at, self._brace, self._escaped = at, -1, False
        if at != At.STRING:
            self._options = KEYS if at == At.KEY else self._names
            self._word, self._length, self._raw = [], 0, False

    def _read_string(self, text: str, index: int, base: int) -> int:
        """Read up to the end of the string or of the text, or to a backslash, or the one character after that."""
        if self._escaped:
            self._escaped = False
            self._match_word(text[index])
            self._brace = base + index if text[index] == "{" else -1
            return index + 1
        match = _IN_STRING.search(text, index)
        end = match.start() if match else len(text)
        last = end
        while last > index and text[last - 1] in _WHITE:
            last -= 1
        if last > index:
            self._brace = base + last - 1 if text[last - 1] == "{" else -1
        if end > index and self._at != At.STRING:
            self._match_word(text[index:end])
        if match is None:
            return end
        if match[0] == "\\":
            self._escaped = self._raw = True
            self._brace = -1
            self._match_word("\\")
            return end + 1
        if self._at == At.KEY:
            self._end_key()
        else:
            if self._at == At.NAME:
                self._end_name()
            self._at = At.AFTER
        self._string_end = base + end + 1
        return end + 1

    def _match_word(self, text: str) -> None:
        """Compare the next piece of a key or name with what it can be; where it can be nothing, this is no call."""
        top = self._stack[-1]
        if self._at == At.STRING or top is None or top.kind == Kind.OTHER or top.kind == Kind.EXPLICIT:
            return
        if self._at == At.NAME:
            self._word.append(text)
        if not self._raw:
            self._options = [option for option in self._options if option.startswith(text, self._length)]
        self._length += len(text)
        if not self._options or (self._raw and (self._at == At.KEY or self._length > self._longest_name)):
            self._no_call()

    def _end_key(self) -> None:
        self._at = At.COLON
        top = self._stack[-1]
        if top is None or top.kind == Kind.OTHER or top.kind == Kind.EXPLICIT:
            return
        top.key = next((option for option in self._options if len(option) == self._length), "")
        if top.key == "tool_calls":
            top.kind = Kind.EXPLICIT
        elif not top.key or self._broken:
            self._no_call()

    def _end_name(self) -> None:
        top = self._stack[-1]
        if top is None or top.kind != Kind.OPEN:
            return
        try:
            name = json.loads(f'"{"".join(self._word)}"', strict=False)
        except ValueError:
            name = None
        if name in self._names:
            top.kind = Kind.NAMED
        else:
            self._no_call()

    def _no_call(self) -> None:
        """The innermost object is no call, and so is one of which it is the `function`."""
        while True:
            top = self._open.pop()
            top.kind = Kind.OTHER
            if not self._open or self._open[-1].key != "function":
                break
        if self._fence >= 0 and top is self._stack[0]:
            self._fence, self._in_code, self._after_call = -1, True, False
        self._check_found()

    def _push(self, start: int) -> None:
        item = Object(start)
        self._stack.append(item)
        self._open.append(item)
        self._at = At.OPEN

    def _pop(self, end: int) -> None:
        self._at, self._brace = At.AFTER, -1
        item = self._stack.pop()
        if item is not None and item.kind != Kind.OTHER:
            self._open.pop()
            if item.kind != Kind.OPEN:
                while self._found and self._found[-1][0] > item.start:
                    self._found.pop()
                self._found.append((item.start, end))
            around = self._stack[-1] if item.kind == Kind.NAMED and self._stack else None
            if around is not None and around.kind == Kind.OPEN and around.key == "function":
                around.kind = Kind.AROUND
            self._check_found()
        if not self._stack:
            self._end_outermost(end, called=item is not None and item.kind not in (Kind.OPEN, Kind.OTHER))

    def _check_found(self) -> None:
        """Forget objects that are no calls, as soon as no object around them can be one."""
        if self._open or self._checked >= len(self._found) or not self._stack:
            return
        fresh = self._found[self._checked :]
        del self._found[self._checked :]
        for start, end in fresh:
            if isinstance(read_calls(self._held.between(start, end), self._names), list):
                self._found.append((start, end))
        self._checked = len(self._found)

    def _end_outermost(self, end: int, *, called: bool) -> None:
        fenced = self._fence >= 0
        if called:
            called = self._tell_calls(self._fence if fenced else self._found[0][0])
        self._clear()
        self._after_call = called and fenced
        if self._after_call:
            self._at, self._fence = At.FENCED, end
        elif fenced:
            self._in_code = True

    def _tell_calls(self, first: int) -> bool:
        """Tell the objects that were found, the first from where its fence begins; whether the last was a call."""
        read = None
        for start, end in self._found:
            read = read_calls(self._held.between(start, end), self._names)
            if read is not None:
                first = min(first, start)
                self._held.tell(first)
                self._held.told = end
                if isinstance(read, list):
                    self._held.pieces += read
                else:
                    self._broken = True
                    self._held.pieces.append(Malformed(self._held.between(first, end), read.problem))
            first = self._held.end
        return isinstance(read, list)

    def _break(self, here: int, problem: str) -> None:
        """What is open is not JSON: tell the calls inside, and the outermost that was meant as one."""
        meant = next((item for item in self._open if item.kind in (Kind.NAMED, Kind.EXPLICIT)), None)
        fence, outermost = self._fence, self._stack[0]
        if meant is not None:
            self._found = [found for found in self._found if found[0] < meant.start]
        self._tell_calls(self._held.end)
        if meant is not None:
            start = fence if fence >= 0 and meant is outermost else meant.start
            self._held.tell(start)
            self._held.pieces.append(Malformed(self._held.between(start, here), problem))
            self._held.told = here
            self._broken = True
        self._in_code = self._in_code or fence >= 0
        self._clear()

    def _clear(self) -> None:
        self._stack.clear()
        self._open.clear()
        self._found.clear()
        self._checked = 0
        self._brace = -1
        self._leave_fence()

    def _restart(self, here: int) -> int:
        """Go on as text where something is not JSON, or in an object whose first quote was taken for an end."""
        brace, string_end = self._brace, self._string_end
        self._break(here if brace < 0 else brace, PROBLEMS[self._at])
        if brace >= 0:
            self._push(brace)
            self._start_string(At.KEY)
            if string_end != here:  # space, which no key of a call begins with
                self._no_call()
        return 0


def _end_of(pattern: re.Pattern[str], text: str, index: int) -> int:
    match = pattern.match(text, index)
    return index if match is None else match.end()
