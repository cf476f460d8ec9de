"""Connections of one event loop to one server."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from redis.asyncio import Connection, ConnectionPool
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, AuthorizationError, ResponseError
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

MAX_CONNECTIONS = 50
_TIMEOUT_S = 5.0
_CONNECT_TIMEOUT_S = 2.0
_PAUSES_S = (0.02, 0.08)  # a server that is gone is told at once, and one that is back is found


class Connections:
    """Does what a client does, in half its time: a run's two commands cost as much as all else that a memory does.

    Args:
        options: Those of redis-py's `parse_url`.
    """

    def __init__(self, options: Mapping[str, Any]) -> None:
        made: dict[str, Any] = {"protocol": 2, "socket_connect_timeout": _CONNECT_TIMEOUT_S, **options}
        self._timeout_s: float = made.get("socket_timeout") or _TIMEOUT_S
        max_connections: int = made.pop("max_connections", MAX_CONNECTIONS)
        # It makes connections, and is not asked for any. One timeout for a command is enough.
        made |= {"socket_timeout": None, "retry": Retry(NoBackoff(), 0)}
        self._pool = ConnectionPool(**made)
        self._places = asyncio.Semaphore(max_connections)
        self._idle: list[Connection] = []
        self._closed = False

    async def execute_command(self, *args: str | bytes | int, **options: Any) -> Any:
        """Return the answer to a command, as bytes; a lost connection is made again."""
        command = _packed(args)
        for pause_s in _PAUSES_S:
            try:
                return await self._try(command)
            except (AuthenticationError, AuthorizationError):
                raise
            except RedisConnectionError:
                await asyncio.sleep(pause_s)
        return await self._try(command)

    async def aclose(self) -> None:
        """Close what is idle; the others when their command is done."""
        self._closed = True
        await self._close_idle(nowait=False)

    async def _try(self, command: bytes) -> Any:
        try:
            return await self._execute(command)
        except TimeoutError as error:  # a server that hangs is waited for once
            raise RedisTimeoutError(f"no answer within {self._timeout_s:g} s") from error
        except RedisConnectionError as error:
            for refusal in (error, error.__cause__):
                if isinstance(refusal, AuthenticationError | AuthorizationError | ResponseError):
                    raise refusal from None
            await self._close_idle(nowait=True)  # a restart has cut them all, so that the next try needs one of its own
            raise

    async def _execute(self, command: bytes) -> Any:
        async with asyncio.timeout(self._timeout_s), self._places:
            connection: Any = self._idle.pop() if self._idle else self._pool.make_connection()
            try:
                await connection.send_packed_command(command, check_health=False)
                answer = await connection.read_response(disable_decoding=True)
            except ResponseError as error:
                if is_read_only(error):  # its name may lead to another server by now
                    await self._close_idle(nowait=True)
                    await connection.disconnect()
                else:
                    await self._put_back(connection)
                raise
            except BaseException:  # an answer may still come: to nobody
                await connection.disconnect(nowait=True)
                raise
            await self._put_back(connection)
            return answer

    async def _close_idle(self, *, nowait: bool) -> None:
        while self._idle:
            await self._idle.pop().disconnect(nowait=nowait)

    async def _put_back(self, connection: Connection) -> None:
        if self._closed:
            await connection.disconnect()
        else:
            self._idle.append(connection)


def is_read_only(error: BaseException) -> bool:
    """Whether a server says that it is a replica; from within a script, its own word for it is in the text only."""
    return isinstance(error, ResponseError) and "READONLY" in str(error)


def _packed(args: Sequence[str | bytes | int]) -> bytes:
    parts = [b"*%d\r\n" % len(args)]
    for arg in args:
        data = arg if isinstance(arg, bytes) else str(arg).encode()
        parts.append(b"$%d\r\n%b\r\n" % (len(data), data))
    return b"".join(parts)
