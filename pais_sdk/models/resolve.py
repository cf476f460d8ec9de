"""Which model an environment asks for."""

from __future__ import annotations

import logging

from pydantic_ai.models import Model

from ..errors import ConfigurationError, MissingExtraError
from ..settings import Settings
from .mock import mock_model

_log = logging.getLogger("pais_sdk.models")
_NO_KEY = "not-needed"  # the client wants one; endpoints without keys ignore it


def resolve_model(settings: Settings, *, given: Model | str | None = None) -> Model | str | None:
    """Return the model for a runtime: the mock of DEBUG_MOCK_RESPONSES, else the given one, else MODEL_API_URL's.

    Returns:
        None where the environment says nothing: then the agent's own model is used.

    Raises:
        ConfigurationError: MODEL_API_URL is set without MODEL_NAME.
    """
    if settings.debug_mock_responses is not None:
        _log.warning("DEBUG_MOCK_RESPONSES is set: answers come from it, no model is asked")
        return mock_model(settings.debug_mock_responses)
    if given is not None:
        return given
    if settings.model_api_url is None:
        return None
    if settings.model_name is None:
        raise ConfigurationError("MODEL_API_URL is set without MODEL_NAME; set the name of a model that it serves")
    key = settings.model_api_key.get_secret_value() if settings.model_api_key else _NO_KEY
    return endpoint_model(settings.model_api_url, settings.model_name, api_key=key)


def endpoint_model(url: str, name: str, *, api_key: str = _NO_KEY) -> Model:
    """Return a model behind an OpenAI-compatible endpoint.

    Its client never retries by itself, so that timeouts mean what they say and nobody pays twice.

    Args:
        url: The endpoint; `/v1` is appended where it is missing.
        name: The model's name there.
        api_key: The key of that endpoint.
    """
    try:
        from pydantic_ai.models.openai import OpenAIChatModel
        from pydantic_ai.providers.openai import OpenAIProvider
    except ImportError as error:
        raise MissingExtraError("an OpenAI-compatible endpoint", extra="server") from error
    base = url.rstrip("/")
    provider = OpenAIProvider(base_url=base if base.endswith("/v1") else f"{base}/v1", api_key=api_key)
    provider.client.max_retries = 0
    return OpenAIChatModel(name, provider=provider)
