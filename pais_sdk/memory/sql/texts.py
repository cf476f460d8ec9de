"""Which texts can be kept in a column."""

from __future__ import annotations

from collections.abc import Iterable

from ...errors import InvalidRequestError

REFUSED = "an id or a label of a session has NUL or half of a character in it, which no database keeps"


def check_texts(texts: Iterable[str | None]) -> None:
    """Raise InvalidRequestError where one of some ids or labels cannot be kept."""
    for text in texts:
        if text is None or (text.isascii() and "\0" not in text):
            continue
        if "\0" in text or any("\ud800" <= character <= "\udfff" for character in text):
            raise InvalidRequestError(REFUSED)
