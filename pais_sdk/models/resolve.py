"""Which models an environment asks for."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

from pydantic_ai.exceptions import UserError
from pydantic_ai.models import Model, infer_model
from pydantic_ai.models.fallback import FallbackModel
from pydantic_ai.settings import ModelSettings

from ..errors import ConfigurationError
from ..settings import Settings, variable_of
from .auto_mode import AutoModeModel
from .endpoint import Endpoint
from .endpoint_choice import EndpointChoice, choose_endpoint, endpoint_of, warn_of_no_effect
from .mock import mock_model
from .retry_after import RetryAfterModel

ModelT = TypeVar("ModelT", bound=Model | str)

_log = logging.getLogger("pais_sdk.models")
_MAX_TOKENS = {"quick": 2048, "standard": 4096, "determined": 8192}


@dataclass(frozen=True, kw_only=True)
class ResolvedModels:
    """The models of an environment.

    Attributes:
        model: In place of the agent's own; None leaves that.
        efforts: For each effort its settings, and a model or None for that of all runs.
        default_effort: The effort of a run that names none.
    """

    model: Model | str | None
    efforts: Mapping[str, tuple[Model | None, ModelSettings]]
    default_effort: str | None


def resolve_model(settings: Settings, *, given: Model | str | None = None) -> Model | str | None:
    """Return the model that `resolve_models` finds."""
    return resolve_models(settings, given=given).model


def resolve_models(
    settings: Settings, *, given: Model | str | None = None, own: Model | str | None = None
) -> ResolvedModels:
    """Return the models for a runtime: the mock of DEBUG_MOCK_RESPONSES, else the given one, else the endpoint's.

    Args:
        settings: The environment.
        given: What was given in code.
        own: The agent's own; it is only needed where a fallback is to stand behind it.

    Raises:
        ConfigurationError: What is set does not go together; the text names the variables.
    """
    if settings.debug_mock_responses is not None:
        _log.warning("DEBUG_MOCK_RESPONSES is set: answers come from it, no model is asked")
        return ResolvedModels(
            model=mock_model(settings.debug_mock_responses),
            efforts={effort: (None, ModelSettings(max_tokens=limit)) for effort, limit in _MAX_TOKENS.items()},
            default_effort=settings.default_effort,
        )
    chosen = choose_endpoint(settings)
    warn_of_no_effect(settings, chosen)
    models = _Models(settings, chosen)
    names, default_effort, default_names = _effort_names(settings), settings.default_effort, None
    if given is None and chosen is not None and settings.model_name is None:
        default_names = _default_names(chosen)
        names, default_effort = {**default_names, **names}, default_effort or "standard"
    efforts = {
        effort: (models.of_effort(effort, names[effort]) if effort in names else None, ModelSettings(max_tokens=limit))
        for effort, limit in _MAX_TOKENS.items()
    }
    if given is not None:
        model = models.with_fallback(given)
    elif default_names is not None:
        model = efforts["standard"][0]
    elif chosen is not None and settings.model_name is not None:
        model = models.with_fallback(models.at_endpoint(settings.model_name))
    else:
        model = models.with_fallback(own) if own is not None and models.have_fallback else None
    return ResolvedModels(model=model, efforts=efforts, default_effort=default_effort)


def _effort_names(settings: Settings) -> dict[str, str]:
    names = {effort: getattr(settings, f"effort_{effort}_model") for effort in _MAX_TOKENS}
    return {effort: name for effort, name in names.items() if name is not None}


def _default_names(chosen: EndpointChoice) -> Mapping[str, str]:
    if chosen.default_names is None:
        ollamas = ", or USE_OLLAMA=true for Ollama's default ones" if chosen.variable == "OLLAMA_ENDPOINT" else ""
        raise ConfigurationError(
            f"{chosen.variable} is set without MODEL_NAME; set the name of a model that it serves{ollamas}"
        )
    return chosen.default_names


class _Models:
    """Makes the models of an environment; one of the same name at the same endpoint is made once."""

    def __init__(self, settings: Settings, chosen: EndpointChoice | None) -> None:
        self._settings = settings
        self._auto = settings.tool_call_mode == "auto"
        self._made: dict[tuple[Endpoint, str], Model] = {}
        self._endpoint = None if chosen is None else chosen.endpoint()
        self._fallback = self._make_fallback()

    @property
    def have_fallback(self) -> bool:
        return self._fallback is not None

    def with_fallback(self, model: ModelT) -> ModelT | FallbackModel:
        if self._fallback is None or model is self._fallback:
            return model
        return FallbackModel(_inferred(f"model {model!r}", model), self._fallback)

    def of_effort(self, effort: str, name: str) -> Model:
        if self._endpoint is not None:
            return self.with_fallback(self.at_endpoint(name))
        return self.with_fallback(_by_name(variable_of(f"effort_{effort}_model"), name))

    def at_endpoint(self, name: str) -> Model:
        """Return a model at the chosen endpoint. Where there is a fallback, that is asked, and not waited."""
        assert self._endpoint is not None
        return self._make(self._endpoint, name, waits=self._fallback is None)

    def _make_fallback(self) -> Model | None:
        settings = self._settings
        name, url, key = settings.fallback_model_name, settings.fallback_model_api_url, settings.fallback_model_api_key
        if name is None:
            if url is not None or key is not None:
                variable = variable_of("fallback_model_api_key" if url is None else "fallback_model_api_url")
                raise ConfigurationError(f"{variable} is set without FALLBACK_MODEL_NAME; set the model's name there")
            return None
        if url is None:
            if key is not None:
                raise ConfigurationError("FALLBACK_MODEL_API_KEY is the key for FALLBACK_MODEL_API_URL; set that, too")
            if self._endpoint is None:
                raise ConfigurationError(
                    "FALLBACK_MODEL_NAME is set without an endpoint; set FALLBACK_MODEL_API_URL, or MODEL_API_URL and "
                    "MODEL_NAME"
                )
            return self._make(self._endpoint, name, waits=True)
        endpoint, first = endpoint_of("FALLBACK_MODEL_API_URL", url, key), self._endpoint
        if first is not None and endpoint.url == first.url and (key is None or endpoint.api_key == first.api_key):
            endpoint = first
        return self._make(endpoint, name, waits=True)

    def _make(self, endpoint: Endpoint, name: str, *, waits: bool) -> Model:
        if (endpoint, name) not in self._made:
            model = endpoint.model(name)
            model = RetryAfterModel(model) if waits else model
            self._made[endpoint, name] = AutoModeModel(model) if self._auto else model
        return self._made[endpoint, name]


def _by_name(variable: str, name: str) -> Model:
    if ":" not in name:
        raise ConfigurationError(
            f"{variable} names a model at an endpoint, and there is none; set MODEL_API_URL, or write it with its "
            "provider, such as openai-chat:gpt-5"
        )
    return _inferred(variable, name)


def _inferred(what: str, model: Model | str) -> Model:
    try:
        return infer_model(model)
    except (UserError, ValueError, ImportError) as error:
        raise ConfigurationError(f"{what} cannot be used: {error}") from error
