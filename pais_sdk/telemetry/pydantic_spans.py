"""Pydantic AI's own spans and metrics, switched on for all agents."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable
from typing import Any, Literal, cast

from ..settings import TelemetrySettings

_log = logging.getLogger("pais_sdk.telemetry")

Version = Literal[2, 3, 4, 5, 6]
_VERSIONS = ("2", "3", "4", "5", "6")
_DEFAULT: Version = 5

_told: set[tuple[str, str]] = set()


def instrument_pydantic(settings: TelemetrySettings, *, content: bool) -> Callable[[], None]:
    """Instrument all agents that have no settings of their own, where nobody has; return what undoes that.

    Args:
        settings: Say in which format.
        content: Whether spans hold what was said. Files and images they never hold.
    """
    from pydantic_ai import Agent
    from pydantic_ai.models.instrumented import InstrumentationSettings

    version = _span_version(settings)
    if _default_of_agents() is not False:
        return lambda: None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that old formats are old: who names one knows
        ours = InstrumentationSettings(include_content=content, include_binary_content=False, version=version)
    Agent.instrument_all(ours)

    def undo() -> None:
        if _default_of_agents() is ours:
            Agent.instrument_all(False)

    return undo


def _span_version(settings: TelemetrySettings) -> Version:
    """Return the format that is asked for; what there is not is told of once in this process."""
    mode, version = settings.otel_event_mode, settings.otel_instrumentation_version
    if mode is not None and mode.strip().lower() != "attributes":
        _tell_once("OTEL_EVENT_MODE", mode, "contents are attributes of spans")
    if version is None:
        return _DEFAULT
    if version.strip() not in _VERSIONS:
        _tell_once("OTEL_INSTRUMENTATION_VERSION", version, f"{_DEFAULT} is used; there are {', '.join(_VERSIONS)}")
        return _DEFAULT
    return cast("Version", int(version))


def _tell_once(variable: str, value: str, what_happens: str) -> None:
    if (variable, value) not in _told:
        _told.add((variable, value))
        _log.warning("%s=%r is not supported: %s", variable, value[:40], what_happens)


def _default_of_agents() -> Any:
    from pydantic_ai import Agent

    return vars(Agent)["_instrument_default"]  # what instrument_all has set, and there is no other way to ask
