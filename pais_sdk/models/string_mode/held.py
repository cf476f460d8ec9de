"""What came of an answer and is not told yet."""

from __future__ import annotations

from bisect import bisect_left, bisect_right

from .calls import Piece


class Held:
    """Keeps the text of an answer until it is told; a place is the number of characters before it in the answer."""

    __slots__ = ("_starts", "_texts", "end", "pieces", "told")

    def __init__(self) -> None:
        self.told = 0  # what is before this has been told, or is part of a call
        self.end = 0
        self.pieces: list[Piece] = []  # what to tell next
        self._texts: list[str] = []  # as they came
        self._starts: list[int] = []

    def add(self, text: str) -> int:
        """Keep the text that comes next, and return where it begins."""
        base = self.end
        self.end += len(text)
        self._texts.append(text)
        self._starts.append(base)
        return base

    def between(self, start: int, end: int) -> str:
        """Return text that is kept."""
        first = bisect_right(self._starts, start) - 1
        last = bisect_left(self._starts, end, lo=first)
        base = self._starts[first]
        if last == first + 1:
            return self._texts[first][start - base : end - base]
        texts = self._texts[first:last]
        texts[0] = texts[0][start - base :]
        texts[-1] = texts[-1][: end - self._starts[last - 1]]
        return "".join(texts)

    def tell(self, until: int) -> None:
        """Tell the text up to here next."""
        if until > self.told:
            self.pieces.append(self.between(self.told, until))
            self.told = until

    def take(self, until: int) -> list[Piece]:
        """Return what is to tell, with the text up to here, and forget it."""
        if until == self.end and not self.pieces and self._starts and self._starts[-1] == self.told:
            text = self._texts[-1]
            self.told = until
            self._texts.clear()
            self._starts.clear()
            return [text] if text else []
        self.tell(until)
        gone = len(self._texts) if self.told == self.end else bisect_right(self._starts, self.told) - 1
        if gone:
            del self._texts[:gone], self._starts[:gone]
        pieces, self.pieces = self.pieces, []
        return pieces
