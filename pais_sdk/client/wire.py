"""The requests of one exchange with a remote agent."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import anyio
import httpx2
from opentelemetry import propagate

from .._delegation_wire import TIMEOUT_HEADER
from ..errors import RemoteAgentError
from .deadline import Deadline
from .failures import Failures
from .reply import Reply, told

_CARD_S = 10.0
_RETRIES = 2
_FIRST_WAIT_S = 0.2
_HEADERS = {"accept-encoding": "identity"}  # a compressed stream would come in lumps
_POST_HEADERS = {"accept": "text/event-stream, application/json", "content-type": "application/json"}


class Wire:
    """Sends requests and reads what is answered; every failure is a RemoteAgentError.

    A request is sent again only where nobody took the connection. An answer of 429 is none of these: it may be the
    model's, in the middle of a run.

    Args:
        client: Who has the connections.
        failures: The words for what goes wrong.
        headers: Sent with every request; their names in lower case.
        deadline: When the exchange is over; what is left of it is told with every task.
        connect_timeout_s: Seconds to connect.
        read_timeout_s: Seconds that the agent may say nothing.
    """

    def __init__(
        self,
        client: httpx2.AsyncClient,
        failures: Failures,
        *,
        headers: Mapping[str, str],
        deadline: Deadline,
        connect_timeout_s: float,
        read_timeout_s: float,
    ) -> None:
        self._client = client
        self._headers = headers
        self._connect_timeout_s = connect_timeout_s
        self._read_timeout_s = read_timeout_s
        self.failures = failures
        self.deadline = deadline

    @asynccontextmanager
    async def get(self, url: str) -> AsyncGenerator[Reply]:
        """Ask for something, and give the answer whatever its status."""
        headers = {"accept": "application/json"}
        async with self._answered("GET", url, None, headers, min(_CARD_S, self._read_timeout_s)) as reply:
            yield reply

    @asynccontextmanager
    async def post(
        self, url: str, body: Any, *, headers: Mapping[str, str] | None = None, patience_s: float | None = None
    ) -> AsyncGenerator[Reply]:
        """Send a task, or something about one.

        Args:
            url: Where to.
            body: What to say, as JSON.
            headers: Sent with this request.
            patience_s: Seconds that the agent may say nothing, where that is not what it may otherwise.
        """
        all_headers = {**_POST_HEADERS, **(headers or {})}
        async with self._answered("POST", url, json.dumps(body).encode(), all_headers, patience_s) as reply:
            if reply.status != 200:
                raise await reply.error()
            yield reply

    @asynccontextmanager
    async def _answered(
        self, method: str, url: str, content: bytes | None, headers: Mapping[str, str], patience_s: float | None
    ) -> AsyncGenerator[Reply]:
        read_s = self._read_timeout_s if patience_s is None else max(patience_s, 0.001)
        response = await self._send(method, url, content, headers, read_s)
        try:
            yield Reply(response, self.failures, read_s)
        finally:
            await response.aclose()

    async def _send(
        self, method: str, url: str, content: bytes | None, headers: Mapping[str, str], read_s: float
    ) -> httpx2.Response:
        for retries in range(_RETRIES + 1):
            try:
                return await self._send_once(method, url, content, headers, read_s)
            except RemoteAgentError as error:
                # Not after a timeout: TCP itself has tried again for so long.
                if retries == _RETRIES or not isinstance(error.__cause__, httpx2.ConnectError):
                    raise
            await anyio.sleep(_FIRST_WAIT_S * 2**retries)
        raise AssertionError("the last try returns or raises")

    async def _send_once(
        self, method: str, url: str, content: bytes | None, headers: Mapping[str, str], read_s: float
    ) -> httpx2.Response:
        if self._client.is_closed:
            raise self.failures.unreachable()
        all_headers = {**_HEADERS, **self._headers, **headers}
        left_s = self.deadline.left_s()
        if method == "POST" and left_s is not None:
            all_headers[TIMEOUT_HEADER] = f"{max(left_s, 0.001):.3f}"
        propagate.inject(all_headers)
        timeout = httpx2.Timeout(connect=self._connect_timeout_s, read=read_s, write=read_s, pool=None)
        request = self._client.build_request(method, url, content=content, headers=all_headers, timeout=timeout)
        with told(self.failures, read_s):
            # What a redirect points to may be anybody's, and would get the key.
            return await self._client.send(request, stream=True, follow_redirects=False)
