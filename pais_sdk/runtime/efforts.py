"""Efforts: names for models and settings that a run may choose."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias, cast

from pydantic_ai.models import Model
from pydantic_ai.settings import ModelSettings

from ..errors import ConfigurationError, InvalidRequestError

Effort: TypeAlias = Model | str | tuple[Model | str | None, ModelSettings] | None
"""A model, or a model with its settings; None in place of a model is the runtime's own."""


class Efforts:
    """The efforts of a runtime.

    Args:
        efforts: What each name stands for.
        default: The effort of a run that names none; None for the runtime's model as it is.

    Raises:
        ConfigurationError: A name is no text, what it stands for is no effort, or the default is not there.
    """

    def __init__(self, efforts: Mapping[str, Effort], *, default: str | None = None) -> None:
        self._efforts = {_checked_name(name): _checked(name, effort) for name, effort in efforts.items()}
        self.default = default
        if default is not None and default not in self.names:
            raise ConfigurationError(f"default_effort {default!r} is not one of efforts; {self._known()}")

    @property
    def names(self) -> list[str]:
        """The names that a run may choose from."""
        return list(self._efforts)

    @property
    def models(self) -> list[Model | str]:
        """The models that are not the runtime's own."""
        return [model for model, _ in self._efforts.values() if model is not None]

    def check(self, name: str | None) -> str | None:
        """Return the effort of a run; None where it has none. InvalidRequestError where it is not known."""
        if name is None:
            return self.default
        if name not in self.names:
            raise InvalidRequestError(f"effort {name!r:.80} is not known; {self._known()}", param="effort")
        return name

    def chosen(self, name: str | None) -> tuple[Model | str | None, ModelSettings | None]:
        """Return the model and the settings of a checked effort."""
        return (None, None) if name is None else self._efforts[name]

    def _known(self) -> str:
        return f"use one of {', '.join(sorted(self.names))}" if self._efforts else "this agent has no effort levels"


def _checked_name(name: Any) -> str:
    if not isinstance(name, str) or not name.strip():
        raise ConfigurationError(f"efforts has the name {name!r}; a name is a text that is not blank")
    return name


def _checked(name: str, effort: Any) -> tuple[Model | str | None, ModelSettings]:
    model, settings = effort, {}
    if isinstance(effort, tuple):
        pair = cast("tuple[Any, ...]", effort)
        if len(pair) != 2 or not isinstance(pair[1], Mapping):
            raise ConfigurationError(f"effort {name!r} is {effort!r}; with settings, write it as (model, settings)")
        model, settings = pair
    if not isinstance(model, (Model, str, type(None))) or model == "":
        raise ConfigurationError(
            f"effort {name!r} has {model!r} for a model; use a Pydantic AI model, the name of one, or None for the "
            "runtime's own"
        )
    return cast("Model | str | None", model), cast("ModelSettings", dict(cast("Mapping[str, Any]", settings)))
