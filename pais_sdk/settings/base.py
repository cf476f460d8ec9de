"""What all classes of settings share."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from ..errors import ConfigurationError
from .variables import told


class EnvironmentSettings(BaseSettings):
    """Values of the environment. Read once, when it is made; values given in code win over the environment.

    Unknown variables and empty ones do not matter; no file is read.

    Raises:
        ConfigurationError: A value cannot be used; the text names the variable.
    """

    model_config = SettingsConfigDict(
        frozen=True, extra="ignore", env_ignore_empty=True, populate_by_name=True, hide_input_in_errors=True
    )

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise ConfigurationError(told(type(self), error)) from None
