"""Variables: how a field names those it is read from, and what is said of one that cannot be used."""

from __future__ import annotations

import os
from typing import Any

from pydantic import AliasChoices, BaseModel, Field, ValidationError
from pydantic.fields import FieldInfo


def env(*names: str, text: str, **options: Any) -> Any:
    """Declare a field that is read from the first of these variables that is set.

    Args:
        names: The variables, in upper case.
        text: What it means, for the table of the environment.
        options: What Pydantic's `Field` takes; without a default it is None.
    """
    if "default_factory" not in options:
        options.setdefault("default", None)
    choices = AliasChoices(*names, names[0].lower())
    return Field(validation_alias=choices, description=text, **options)


def names_of(field: FieldInfo) -> list[str]:
    """Return the variables of a field, in order of precedence."""
    return [name for name in _aliases(field) if name == name.upper()]


def told(model: type[BaseModel], error: ValidationError) -> str:
    """Return in one line what cannot be used, by variables, and never its value."""
    problems = error.errors()
    # A default that depends on another field says no more than what is wrong there.
    return "; ".join(_told(model, problem) for problem in problems if problem["type"] != "default_factory_not_called")


def _told(model: type[BaseModel], problem: Any) -> str:
    location = str(problem["loc"][0])
    fields = model.model_fields.items()
    names = next((names_of(field) for name, field in fields if location in (name, *_aliases(field))), [location])
    variable = next((name for name in names if os.environ.get(name)), names[0])
    text = problem["msg"].removeprefix("Value error, ")
    return f"{variable} cannot be used: {text[0].lower()}{text[1:]}"


def _aliases(field: FieldInfo) -> list[str]:
    choices = field.validation_alias
    assert isinstance(choices, AliasChoices)
    return [str(name) for name in choices.choices]
