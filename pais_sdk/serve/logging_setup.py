"""How a serving process logs: to stderr, each line with the trace and span that it belongs to."""

from __future__ import annotations

import logging
import sys
import threading
from types import TracebackType
from typing import Literal

from ..settings import Secrets
from .log_lines import PlainLines

_log = logging.getLogger("pais_sdk.serve")

_TALKATIVE = ("a2a", "fastmcp", "httpx", "httpx2", "mcp", "openai")
"""What logs a line for each request, some with session ids or addresses: below WARNING, said at DEBUG only."""


def configure_logging(level: str, line_format: Literal["plain", "json"] = "plain") -> None:
    """Log to stderr, warnings and uncaught errors included, and without what the environment has now as keys.

    Raises:
        MissingExtraError: `json` needs the extra `server`.
    """
    logging.addLevelName(5, "TRACE")
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_lines(line_format))
    logging.basicConfig(level=level, handlers=[handler])
    logging.captureWarnings(True)
    if logging.getLogger().level > logging.DEBUG:
        for library in _TALKATIVE:
            logging.getLogger(library).setLevel(logging.WARNING)
    sys.excepthook = _uncaught
    sys.unraisablehook = _unraisable
    threading.excepthook = _uncaught_in_thread


def _lines(line_format: Literal["plain", "json"]) -> logging.Formatter:
    if line_format == "plain":
        return PlainLines(Secrets())
    from .log_json import JsonLines

    return JsonLines(Secrets())


def _uncaught(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, traceback)
    else:
        _log.critical("the process ends by an error", exc_info=(kind, error, traceback))


def _unraisable(arguments: sys.UnraisableHookArgs) -> None:
    # Without the object's repr(), which may hold what was said.
    what = arguments.err_msg or f"an error in {type(arguments.object).__name__} has nobody to go to"
    _log.error("%s", what, exc_info=arguments.exc_value)


def _uncaught_in_thread(arguments: threading.ExceptHookArgs) -> None:
    if arguments.exc_value is not None and not isinstance(arguments.exc_value, SystemExit):
        name = arguments.thread.name if arguments.thread is not None else "unknown"
        _log.error("the thread %r ends by an error", name, exc_info=arguments.exc_value)
