"""Where sessions live. Each memory works alone in a notebook as well as behind a runtime."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from .base import Memory, OnBusy
from .event_log import Annotation, SessionLog
from .event_pages import EventPage
from .events import MemoryEvent
from .local import LocalMemory
from .null import NullMemory
from .page import SessionPage
from .session import MemorySession
from .session_id import check_session_id, new_session_id

if TYPE_CHECKING:
    from .redis import RedisMemory
    from .sql import SQLiteMemory, SQLMemory

__all__ = [
    "Annotation",
    "EventPage",
    "LocalMemory",
    "Memory",
    "MemoryEvent",
    "MemorySession",
    "NullMemory",
    "OnBusy",
    "RedisMemory",
    "SQLMemory",
    "SQLiteMemory",
    "SessionLog",
    "SessionPage",
    "check_session_id",
    "new_session_id",
]

# These need an extra, so they are imported when they are first used.
_HOME_OF = {"RedisMemory": "redis", "SQLMemory": "sql", "SQLiteMemory": "sql"}


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f".{_HOME_OF[name]}", __name__), name)
    globals()[name] = value
    return value
