"""What runs commands: a client that was given, or connections for each event loop, made from a URL."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

from redis.asyncio.connection import parse_url
from redis.exceptions import (
    AuthenticationError,
    AuthorizationError,
    ClusterDownError,
    NoPermissionError,
    RedisClusterException,
    RedisError,
    ResponseError,
)
from redis.exceptions import (
    ConnectionError as RedisConnectionError,
)

from ...errors import ConfigurationError, InvalidRequestError, MemoryUnavailableError
from ..per_loop import PerLoop
from .connections import Connections, is_read_only
from .scripts import RedisClient


@contextmanager
def redis_errors() -> Generator[None]:
    """Raise what goes wrong with Redis as MemoryUnavailableError; its texts name hosts and ports, no passwords.

    Raises:
        InvalidRequestError: An id or label cannot be sent.
    """
    try:
        yield
    except UnicodeEncodeError as error:
        raise InvalidRequestError("an id or label holds half of a surrogate pair; use whole characters") from error
    except (RedisError, RedisClusterException, OSError) as error:
        raise MemoryUnavailableError(f"Redis failed: {error or type(error).__name__}") from error


def passes_soon(error: BaseException | None) -> bool:
    """Whether this is how a server looks that is being started again, or replaced by another."""
    if isinstance(error, AuthenticationError | AuthorizationError):
        return False
    return isinstance(error, RedisConnectionError | ClusterDownError) or (error is not None and is_read_only(error))


async def _verify(client: RedisClient) -> None:
    with redis_errors():
        try:
            await client.execute_command("PING")
        except (AuthenticationError, AuthorizationError, NoPermissionError) as error:
            raise ConfigurationError(f"Redis refuses this user or password: {error}") from error
        except ResponseError as error:  # such as a number of a database that there is not
            raise ConfigurationError(f"Redis refuses what its URL asks for: {error}") from error


class GivenClient:
    """A client of the caller's, who closes it; it serves one event loop, for its sockets do.

    Args:
        client: A client of `redis.asyncio`.
    """

    def __init__(self, client: RedisClient) -> None:
        self._client = client
        self._loop: weakref.ref[asyncio.AbstractEventLoop] | None = None

    async def open(self) -> None:
        await _verify(await self.get())

    async def get(self) -> RedisClient:
        """Return the client.

        Raises:
            ConfigurationError: It is in use on another loop.
        """
        here = asyncio.get_running_loop()
        loop = None if self._loop is None else self._loop()
        if loop is not here:
            if loop is not None and not loop.is_closed():
                raise ConfigurationError(
                    "this Redis client is in use on another event loop; use RedisMemory.from_url, which makes one for "
                    "each loop"
                )
            self._loop = weakref.ref(here)
        return self._client

    async def close(self) -> None: ...


class UrlClient:
    """Connections to what a URL names, for each event loop its own.

    Args:
        url: `redis://`, `rediss://` or `unix://`, as redis-py reads it.

    Raises:
        ConfigurationError: It is none of these.
    """

    def __init__(self, url: str) -> None:
        try:
            self._options: dict[str, Any] = {**parse_url(url)}
        except (ValueError, TypeError):
            # Not the cause: it may hold a piece of the password.
            raise ConfigurationError(
                "the URL of Redis cannot be read; write it as redis://user:password@host:6379/0 (rediss:// for TLS, "
                "unix:///path for a socket), with %XX for characters such as / # ? in the password"
            ) from None
        self._connections: PerLoop[Connections] = PerLoop(self._connect, Connections.aclose)

    async def open(self) -> None:
        await self._connections.get()

    async def get(self) -> RedisClient:
        """Return the connections of this loop; the first time, connect."""
        return await self._connections.get()

    async def close(self) -> None:
        await self._connections.close()

    async def _connect(self) -> Connections:
        connections = Connections(self._options)
        try:
            await _verify(connections)
        except BaseException:
            await connections.aclose()
            raise
        return connections
