"""Retry-After: what an endpoint says about when to come again, waited for once."""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from logging import getLogger
from typing import Any

import anyio
from pydantic_ai import RunContext
from pydantic_ai.exceptions import ModelAPIError, ModelHTTPError, ModelQuotaExceededError
from pydantic_ai.messages import ModelMessage, ModelResponse
from pydantic_ai.models import ModelRequestParameters, StreamedResponse
from pydantic_ai.models.wrapper import WrapperModel
from pydantic_ai.settings import ModelSettings

LONGEST_WAIT_S = 30.0
"""A wait that is longer than this is left to the caller: the error says how long it is."""

_log = getLogger("pais_sdk.models")


class RetryAfterModel(WrapperModel):
    """Sends a request once more where the endpoint answered 429 or 503 and said when to come again.

    Only before anything of the answer was there, and only where the wait is at most `LONGEST_WAIT_S`. The run's cancel
    and timeout end the wait. The second failure is the error.
    """

    async def request(
        self,
        messages: list[ModelMessage],
        model_settings: ModelSettings | None,
        model_request_parameters: ModelRequestParameters,
    ) -> ModelResponse:
        try:
            return await self.wrapped.request(messages, model_settings, model_request_parameters)
        except ModelHTTPError as error:
            wait_s = _worth_a_wait(error)
        await self._wait(wait_s)
        return await self.wrapped.request(messages, model_settings, model_request_parameters)

    @asynccontextmanager
    async def request_stream(
        self,
        messages: list[ModelMessage],
        model_settings: ModelSettings | None,
        model_request_parameters: ModelRequestParameters,
        run_context: RunContext[Any] | None = None,
    ) -> AsyncGenerator[StreamedResponse]:
        request = (messages, model_settings, model_request_parameters, run_context)
        stream, wait_s = None, 0.0
        async with AsyncExitStack() as stack:
            try:
                stream = await stack.enter_async_context(self.wrapped.request_stream(*request))
            except ModelHTTPError as error:
                wait_s = _worth_a_wait(error)
            if stream is None:
                await self._wait(wait_s)
                stream = await stack.enter_async_context(self.wrapped.request_stream(*request))
            yield stream

    async def _wait(self, wait_s: float) -> None:
        _log.info("model %r asks to come again in %.1f s, which is waited for", self.model_name, wait_s)
        await anyio.sleep(wait_s)


def wait_asked_for(error: ModelAPIError) -> float | None:
    """Return in how many seconds a model's endpoint, or the one behind it, asks to come again; None if it does not."""
    if error.retry_after is not None:
        return error.retry_after
    # LiteLLM's proxy passes its upstream's header on under a name of its own.
    raw = (error.headers or {}).get("llm_provider-retry-after", "") if isinstance(error, ModelHTTPError) else ""
    try:
        wait_s = float(raw)
    except ValueError:
        return _until(raw)
    return wait_s if 0 <= wait_s < math.inf else None


def _until(date: str) -> float | None:
    try:
        at = parsedate_to_datetime(date)
    except ValueError:
        return None
    return max(0.0, (at.replace(tzinfo=at.tzinfo or UTC) - datetime.now(UTC)).total_seconds())


def _worth_a_wait(error: ModelHTTPError) -> float:
    """Return how long to wait; raises the error where waiting is of no use."""
    wait_s = wait_asked_for(error)
    exhausted = isinstance(error, ModelQuotaExceededError)  # a 429, too, but time does not help
    if wait_s is None or wait_s > LONGEST_WAIT_S or error.status_code not in (429, 503) or exhausted:
        raise error
    return wait_s
