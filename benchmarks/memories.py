"""Memories by the URLs of their stores; also for processes that serve, which need nothing else of the tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pais_sdk
from pais_sdk.memory import Memory

_NO_LIMITS: dict[str, Any] = {"max_sessions": None, "max_session_messages": None}


def memory_of(url: str, **options: Any) -> Memory:
    """Return a memory on a store, without limits where `options` set none."""
    scheme, _, rest = url.partition(":")
    if scheme == "local":
        return pais_sdk.LocalMemory(**{**_NO_LIMITS, **options})
    if scheme == "sqlite":
        return pais_sdk.SQLiteMemory(rest, **options)
    if scheme.startswith("postgres"):
        return pais_sdk.SQLMemory(url, **options)
    return pais_sdk.RedisMemory.from_url(url, **options)


def database_of(url: str) -> Path | None:
    """Return the file of a SQLite store; None for the others."""
    scheme, _, rest = url.partition(":")
    return Path(rest) if scheme == "sqlite" else None
