"""A memory from the environment."""

from __future__ import annotations

import logging
from typing import TypedDict

from ..errors import ConfigurationError
from ..memory import LocalMemory, Memory, NullMemory
from ..settings import Settings, variable_of

_log = logging.getLogger("pais_sdk.compose")
_SCHEMES = ("redis://", "rediss://", "unix://")


class _Limits(TypedDict):
    max_sessions: int | None
    max_session_messages: int | None
    ttl_s: float | None
    stateless_ttl_s: float | None


def create_memory(settings: Settings) -> Memory:
    """Return the memory that the environment asks for, not opened yet.

    Raises:
        ConfigurationError: It lacks something, or its URL cannot be used.
        MissingExtraError: What it needs is not installed.
    """
    if settings.memory_type != "sqlite" and "memory_sqlite_path" in settings.model_fields_set:
        _log.warning("MEMORY_SQLITE_PATH has no effect: MEMORY_TYPE is %s, and not sqlite", settings.memory_type)
    limits: _Limits = {
        "max_sessions": settings.memory_max_sessions,
        "max_session_messages": settings.memory_max_session_events,
        "ttl_s": settings.memory_ttl_s or None,
        "stateless_ttl_s": settings.memory_stateless_ttl_s or None,
    }
    match settings.memory_type:
        case "null":
            return NullMemory()
        case "local":
            return LocalMemory(**limits)
        case "sqlite":
            from ..memory import SQLiteMemory

            return SQLiteMemory(settings.memory_sqlite_path, **limits)
        case "redis":
            url = _redis_url(settings)
            from ..memory import RedisMemory

            return RedisMemory.from_url(url, **limits)


def _redis_url(settings: Settings) -> str:
    if settings.memory_redis_url is None:
        raise ConfigurationError(
            "MEMORY_TYPE=redis needs MEMORY_REDIS_URL (or REDIS_URL), such as redis://127.0.0.1:6379/0"
        )
    url = settings.memory_redis_url.get_secret_value()
    if not url.startswith(_SCHEMES):
        variable = variable_of("memory_redis_url")
        raise ConfigurationError(f"{variable} cannot be used: it must begin with redis://, rediss:// or unix://")
    return url
