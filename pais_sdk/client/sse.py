"""Server-sent events, read from bytes."""

from __future__ import annotations

import re
from collections.abc import Generator

_LINE_END = re.compile(rb"\r\n|\n|\r")


class EventTooLongError(ValueError):
    """An event is longer than it may be."""


class EventReader:
    """Finds the data of events; names, ids and comments are passed over.

    Args:
        max_bytes: How long an event may be.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._line: list[bytes] = []
        self._line_bytes = 0
        self._data: list[bytes] = []
        self._data_bytes = 0

    def feed(self, chunk: bytes) -> Generator[bytes]:
        """Yield the data of each event that ends in the next bytes.

        Raises:
            EventTooLongError: One is longer than `max_bytes`.
        """
        if self._line and self._line[-1].endswith(b"\r"):
            # Whether this ended a line by itself could not be told before.
            chunk = b"\r" + chunk
            self._line[-1] = self._line[-1][:-1]
        held = chunk.endswith(b"\r")
        *lines, rest = _LINE_END.split(chunk[:-1] if held else chunk)
        for line in lines:
            self._line.append(line)
            whole = b"".join(self._line)
            self._line, self._line_bytes = [], 0
            data = self._take(whole)
            if data is not None:
                yield data
        rest += b"\r" if held else b""
        if rest:
            self._line.append(rest)
            self._line_bytes += len(rest)
            self._check(self._data_bytes + self._line_bytes)

    def _take(self, line: bytes) -> bytes | None:
        if line:
            name, _, value = line.partition(b":")
            if name == b"data":
                self._data.append(value.removeprefix(b" "))
                self._data_bytes += len(line)
                self._check(self._data_bytes)
            return None
        if not self._data:
            return None
        data = b"\n".join(self._data)
        self._data, self._data_bytes = [], 0
        return data

    def _check(self, size: int) -> None:
        if size > self._max_bytes:
            raise EventTooLongError
