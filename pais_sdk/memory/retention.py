"""How much a memory keeps, and how long."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import ConfigurationError

LONGEST_S = 100 * 365 * 86_400.0
"""What is to be kept for longer is kept for ever."""


@dataclass(frozen=True, kw_only=True)
class Retention:
    """The limits of a memory; None for no limit.

    Raises:
        ConfigurationError: A limit would keep nothing.
    """

    max_sessions: int | None = None
    max_session_messages: int | None = None
    ttl_s: float | None = None

    def __post_init__(self) -> None:
        limits = {"max_sessions": self.max_sessions, "max_session_messages": self.max_session_messages}
        for name, limit in limits.items():
            if limit is not None and limit < 1:
                raise ConfigurationError(f"{name}={limit!r} keeps nothing; use 1 or more, None for no limit")
        if self.ttl_s is not None and not 0 < self.ttl_s <= LONGEST_S:
            raise ConfigurationError(f"ttl_s={self.ttl_s!r} is no time; use more than 0 seconds, None for no limit")

    def ttl_of(self, ttl_s: float | None) -> float | None:
        """Return the seconds that a session is kept whose writer asked for `ttl_s`; None for ever."""
        if ttl_s is not None and not ttl_s <= LONGEST_S:
            ttl_s = None
        if ttl_s is None or self.ttl_s is None:
            return self.ttl_s if ttl_s is None else ttl_s
        return min(ttl_s, self.ttl_s)

    def is_over(self, messages: int) -> bool:
        """Whether a session of so many messages is to be trimmed: it is, in steps of an eighth."""
        limit = self.max_session_messages
        return limit is not None and messages > limit + limit // 8
