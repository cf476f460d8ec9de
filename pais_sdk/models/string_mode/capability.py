"""String mode as a capability, for an agent or for one run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pydantic_ai.capabilities import AbstractCapability
from pydantic_ai.models import Model
from pydantic_ai.models.wrapper import WrapperModel

from .model import StringModeModel


@dataclass
class StringMode(AbstractCapability[Any]):
    """Makes an agent's model call its tools by JSON in its text, see `StringModeModel`.

        await agent.run("What is 2 + 3?", capabilities=[StringMode()])

    A model that is in string mode already stays as it is.

    Args:
        one_system_message: As of `StringModeModel`.
    """

    one_system_message: bool = True
    id: str | None = "pais_sdk.string_mode"

    def get_wrapper_model(self, model: Model) -> Model | None:
        inner = model
        while isinstance(inner, WrapperModel):
            if isinstance(inner, StringModeModel):
                return None
            inner = inner.wrapped
        return StringModeModel(model, one_system_message=self.one_system_message)
