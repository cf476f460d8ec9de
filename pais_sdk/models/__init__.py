"""Models: the one that the environment asks for, and mocks."""

from .mock import mock_model
from .resolve import endpoint_model, resolve_model

__all__ = ["endpoint_model", "mock_model", "resolve_model"]
