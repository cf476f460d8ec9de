"""Secrets: what the environment holds that nobody is to read, taken out of texts."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Generator, Mapping
from urllib.parse import unquote

_NAMES = re.compile(r"(KEYS?|TOKENS?|SECRETS?|PASSWORD|PASSWD|CREDENTIALS?|HEADERS)$", re.IGNORECASE)
_SHORTEST = 8
"""Characters; what is shorter is in many texts that have nothing to do with it."""

_USERINFO = re.compile(r"(?<=://)[^\s/@'\"\\]+@")
_QUERY = re.compile(r"(\w://[^\s?'\"\\<>]*)\?[^\s'\"\\<>)]+")


class Secrets:
    """The values of variables such as MODEL_API_KEY, REDIS_PASSWORD and OTEL_EXPORTER_OTLP_HEADERS, as they are now.

    Args:
        environment: In place of the process's own.
    """

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        variables = os.environ if environment is None else environment
        found = {part for name, value in variables.items() if _NAMES.search(name) for part in _parts(value)}
        # The longest first, so that nothing is left of one that another one begins.
        written = sorted(found | {json.dumps(text)[1:-1] for text in found}, key=len, reverse=True)
        self._known = re.compile("|".join(map(re.escape, written))) if written else None

    def masked(self, text: str) -> str:
        """Return a text with `***` for each secret, and URLs without user and query, which may hold one, too."""
        if self._known is not None:
            text = self._known.sub("***", text)
        return text if "://" not in text else _QUERY.sub(r"\1?***", _USERINFO.sub("***@", text))


def _parts(value: str) -> Generator[str]:
    """Yield a value and what it may be a list of, such as `alice=key, bob=key` and `authorization=Bearer%20key`."""
    for item in (value, *re.split(r"[,\s]+", value)):
        for text in (item, item.partition("=")[2]):
            for said in {text, unquote(text), unquote(text).rpartition(" ")[2]}:
                if len(said.strip()) >= _SHORTEST:
                    yield said.strip()
