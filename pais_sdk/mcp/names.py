"""Names of tools: what a model calls a tool of an MCP server, and back."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Collection, Iterable
from typing import TypeAlias

_LONGEST = 64
_DIGITS = 12
_REFUSED = re.compile(r"[^A-Za-z0-9_-]")

Tool: TypeAlias = tuple[str, str]
"""A server's name, and its own name of a tool."""


class ToolNames:
    """Gives names that model APIs accept and that no two tools share; the same tools get the same names.

    A tool keeps its own name as long as nothing else has it. Once it collided it is `<server>_<tool>` for good, so
    that a name in an old message never means another tool.
    """

    def __init__(self) -> None:
        self._colliding: set[str] = set()
        self._marked: set[Tool] = set()

    def give(self, tools: Iterable[Tool], *, taken: Collection[str] = ()) -> dict[str, Tool]:
        """Return the tools by the names that a model calls them by, in the same order.

        Args:
            tools: All tools; one that is named twice is there once.
            taken: Names that others have.
        """
        own = {tool: valid_name(tool[1]) for tool in tools}
        counts = Counter(own.values())
        self._colliding.update(name for name, count in counts.items() if count > 1 or name in taken)
        names = {
            tool: valid_name(f"{tool[0]}_{tool[1]}") if name in self._colliding else name for tool, name in own.items()
        }
        counts = Counter(names.values())
        self._marked.update(
            tool for tool, name in names.items() if counts[name] > 1 or name in taken or name in self._colliding
        )
        given: dict[str, Tool] = {}
        for tool, name in names.items():
            given.setdefault(_with_digest(name, "\0".join(tool)) if tool in self._marked else name, tool)
        return given


def valid_name(name: str) -> str:
    """Return a name as model APIs accept it: letters, digits, `_` and `-`, at the most 64."""
    text = _REFUSED.sub("_", name)
    if len(text) > _LONGEST:
        return _with_digest(text, name)
    return text if text.strip("_") else _with_digest("tool", name)


def _with_digest(text: str, of: str) -> str:
    digest = hashlib.sha256(of.encode("utf-8", "surrogatepass")).hexdigest()[:_DIGITS]
    return f"{text[: _LONGEST - _DIGITS - 1]}_{digest}"
