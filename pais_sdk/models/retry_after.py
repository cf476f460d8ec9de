"""Retry-After: what an endpoint says about when to come again, waited for once."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from logging import getLogger

import anyio
from pydantic_ai.exceptions import ModelAPIError, ModelHTTPError, ModelQuotaExceededError
from pydantic_ai.models import Model, ModelRequestParameters

from .second_try import SecondTryModel

LONGEST_WAIT_S = 30.0
"""A wait that is longer than this is left to the caller: the error says how long it is."""

_log = getLogger("pais_sdk.models")


class RetryAfterModel(SecondTryModel):
    """Sends a request once more where the endpoint answered 429 or 503 and said when to come again.

    Only before anything of the answer was there, and only where the wait is at most `LONGEST_WAIT_S`. The run's cancel
    and timeout end the wait. The second failure is the error.
    """

    async def _second(self, asked: Model, error: ModelAPIError, parameters: ModelRequestParameters) -> Model | None:
        wait_s = _worth_a_wait(error)
        if wait_s is None:
            return None
        _log.info("model %r asks to come again in %.1f s, which is waited for", self.model_name, wait_s)
        await anyio.sleep(wait_s)
        return asked


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


def _worth_a_wait(error: ModelAPIError) -> float | None:
    """Return how long to wait; None where waiting is of no use."""
    if not isinstance(error, ModelHTTPError) or error.status_code not in (429, 503):
        return None
    if isinstance(error, ModelQuotaExceededError):  # a 429, too, but time does not help
        return None
    wait_s = wait_asked_for(error)
    return None if wait_s is None or wait_s > LONGEST_WAIT_S else wait_s
