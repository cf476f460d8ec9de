"""Which of the endpoints of an environment holds."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import SecretStr

from ..errors import ConfigurationError
from ..settings import Settings, variable_of
from .endpoint import Endpoint

_log = logging.getLogger("pais_sdk.models")

_OLLAMA = "http://localhost:11434/v1"
_NAMES = {
    "quick": "Qwen/Qwen2.5-7B-Instruct",
    "standard": "Qwen/Qwen2.5-32B-Instruct",
    "determined": "Qwen/Qwen2.5-72B-Instruct",
}
_OLLAMA_NAMES = {"quick": "qwen2.5:7b", "standard": "qwen2.5:32b", "determined": "qwen2.5:72b"}
_KEYS = {"model_api_key": "model_api_url", "llm_api_key": "llm_endpoint", "vllm_api_key": "vllm_endpoint"}


@dataclass(frozen=True, kw_only=True)
class EndpointChoice:
    """An endpoint of the environment.

    Attributes:
        variable: The variable that named it.
        url: As it was written.
        key: Its own key.
        default_names: The models of the efforts where MODEL_NAME is not set; None where it must be.
    """

    variable: str
    url: str
    key: SecretStr | None = None
    default_names: Mapping[str, str] | None = None

    def endpoint(self) -> Endpoint:
        """Return the endpoint; ConfigurationError where its URL cannot be used."""
        return endpoint_of(self.variable, self.url, self.key)


def choose_endpoint(settings: Settings) -> EndpointChoice | None:
    """Return the first endpoint that is set; None where none is."""
    names = _OLLAMA_NAMES if settings.use_ollama else _NAMES
    if (url := settings.model_api_url) is not None:
        return EndpointChoice(variable="MODEL_API_URL", url=url, key=settings.model_api_key)
    if (url := settings.llm_endpoint) is not None:
        return EndpointChoice(variable="LLM_ENDPOINT", url=url, key=settings.llm_api_key, default_names=names)
    if (url := settings.vllm_endpoint) is not None:
        return EndpointChoice(variable="VLLM_ENDPOINT", url=url, key=settings.vllm_api_key, default_names=names)
    if (url := settings.ollama_endpoint) is not None:
        default_names = names if settings.use_ollama else None
        return EndpointChoice(variable="OLLAMA_ENDPOINT", url=url, default_names=default_names)
    return EndpointChoice(variable="USE_OLLAMA", url=_OLLAMA, default_names=names) if settings.use_ollama else None


def warn_of_no_effect(settings: Settings, chosen: EndpointChoice | None) -> None:
    """Log what is set for an endpoint that is not the chosen one."""
    which = "no endpoint is set" if chosen is None else f"the endpoint is that of {chosen.variable}"
    for key, url in _KEYS.items():
        if getattr(settings, key) is not None and (chosen is None or chosen.variable != variable_of(url)):
            _log.warning("%s has no effect: %s", variable_of(key), which)
    if settings.model_name is not None and chosen is None:
        _log.warning("MODEL_NAME has no effect: %s", which)


def endpoint_of(variable: str, url: str, key: SecretStr | None) -> Endpoint:
    """Return the endpoint of a variable; ConfigurationError naming it where its URL cannot be used."""
    try:
        return Endpoint(url, api_key=None if key is None else key.get_secret_value())
    except ConfigurationError as error:
        raise ConfigurationError(f"{variable} cannot be used: {error}") from None
