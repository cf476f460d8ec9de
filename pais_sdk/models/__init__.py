"""Models: those that the environment asks for, wrappers for what an endpoint lacks, and mocks."""

from .auto_mode import AutoModeModel
from .endpoint import Endpoint, endpoint_model
from .endpoint_choice import choose_endpoint
from .mock import mock_model
from .resolve import ResolvedModels, resolve_model, resolve_models
from .retry_after import RetryAfterModel, wait_asked_for
from .string_mode import StringMode, StringModeModel

__all__ = [
    "AutoModeModel",
    "Endpoint",
    "ResolvedModels",
    "RetryAfterModel",
    "StringMode",
    "StringModeModel",
    "choose_endpoint",
    "endpoint_model",
    "mock_model",
    "resolve_model",
    "resolve_models",
    "wait_asked_for",
]
