"""Where sessions live. Each memory works alone in a notebook as well as behind a runtime."""

from .base import Memory, OnBusy
from .event_log import SessionLog, SessionPage
from .events import MemoryEvent
from .local import LocalMemory
from .null import NullMemory
from .session import MemorySession
from .session_id import check_session_id, new_session_id

__all__ = [
    "LocalMemory",
    "Memory",
    "MemoryEvent",
    "MemorySession",
    "NullMemory",
    "OnBusy",
    "SessionLog",
    "SessionPage",
    "check_session_id",
    "new_session_id",
]
