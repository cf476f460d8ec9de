"""What a remote agent answers to one request."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator, Mapping
from contextlib import aclosing, contextmanager
from typing import Any

import anyio
import httpx2

from ..errors import RemoteAgentError
from .failures import Failures
from .json_values import parsed
from .sse import EventReader, EventTooLongError

MAX_ANSWER_BYTES = 16 * 2**20
_MAX_ERROR_BYTES = 64 * 1024
_ERROR_S = 5.0
_REST_S = 0.05
_ENCODINGS = ("", "identity", "gzip", "deflate")


class Reply:
    """What is answered to one request."""

    def __init__(self, response: httpx2.Response, failures: Failures, read_s: float) -> None:
        self._response = response
        self._failures = failures
        self._read_s = read_s

    @property
    def status(self) -> int:
        """The HTTP status."""
        return self._response.status_code

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers."""
        return self._response.headers

    @property
    def is_stream(self) -> bool:
        """Whether it is server-sent events."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower() == "text/event-stream"

    async def body(self, max_bytes: int) -> bytes:
        """Return all of it.

        Raises:
            RemoteAgentError: It is longer than `max_bytes`, or did not come to its end.
        """
        chunks: list[bytes] = []
        size = 0
        async with aclosing(self._chunks()) as incoming:
            async for chunk in incoming:
                chunks.append(chunk)
                size += len(chunk)
                if size > max_bytes:
                    raise self._failures.too_long()
        return b"".join(chunks)

    async def json(self) -> Any:
        """Return what it says in JSON.

        Raises:
            RemoteAgentError: It is not JSON, too long, or did not come to its end.
        """
        return self.parsed(await self.body(MAX_ANSWER_BYTES))

    async def events(self) -> AsyncGenerator[bytes]:
        """Yield the data of its events.

        Raises:
            RemoteAgentError: One is too long, or the connection broke.
        """
        reader = EventReader(MAX_ANSWER_BYTES)
        try:
            async with aclosing(self._chunks()) as incoming:
                async for chunk in incoming:
                    for data in reader.feed(chunk):
                        yield data
        except EventTooLongError:
            raise self._failures.too_long() from None

    def parsed(self, data: bytes) -> Any:
        """Return what data says in JSON, or raise RemoteAgentError."""
        try:
            return parsed(data)
        except ValueError as error:
            raise self._failures.unreadable() from error

    async def rest(self, events: AsyncGenerator[bytes]) -> None:
        """Read what comes after the last event that matters, so that the connection can be used again."""
        try:
            with anyio.move_on_after(_REST_S):
                async for _ in events:
                    pass
        except RemoteAgentError:
            pass  # all that was to be said was said

    async def error(self) -> RemoteAgentError:
        """Return the error that an answer with another status than 200 is."""
        if 300 <= self.status < 400:
            return self._failures.redirected()
        body: Any = None
        try:
            with anyio.move_on_after(_ERROR_S):
                body = parsed(await self.body(_MAX_ERROR_BYTES))
        except (RemoteAgentError, ValueError):
            pass  # the status says enough
        return self._failures.of_status(self.status, body)

    async def _chunks(self) -> AsyncGenerator[bytes]:
        if self.headers.get("content-encoding", "identity").strip().lower() not in _ENCODINGS:
            raise self._failures.unreadable()  # nobody asked for it, and a few bytes may become gigabytes
        with told(self._failures, self._read_s):
            async with aclosing(self._response.aiter_bytes()) as chunks:
                async for chunk in chunks:
                    yield chunk


@contextmanager
def told(failures: Failures, read_s: float) -> Generator[None]:
    """Raise what HTTP raises as the agent's failure."""
    try:
        yield
    except (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.ProxyError, httpx2.UnsupportedProtocol) as error:
        raise failures.unreachable() from error
    except httpx2.TimeoutException as error:
        raise failures.silent(read_s) from error
    except (httpx2.HTTPError, httpx2.StreamError) as error:
        raise failures.broken_off() from error
