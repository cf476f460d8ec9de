"""RedisMemory: sessions that many processes and machines share."""

from ...errors import MissingExtraError

try:
    import redis.asyncio  # noqa: F401  # pyright: ignore[reportUnusedImport]
except ImportError as error:
    raise MissingExtraError("RedisMemory", extra="redis") from error

from .memory import RedisMemory

__all__ = ["RedisMemory"]
