"""What somebody wants of telemetry."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..settings import TelemetrySettings


@dataclass(frozen=True, kw_only=True)
class TelemetryChoice:
    """The arguments of `setup_telemetry`, and what the environment says."""

    settings: TelemetrySettings
    service_name: str | None = None
    endpoint: str | None = None
    protocol: str | None = None
    headers: Mapping[str, str] | None = field(default=None, repr=False)
    traces: bool = True
    metrics: bool = True
    logs: bool = True
    exporters: tuple[Any, ...] | None = None
    content: bool | None = None
    keep_traces: int = 20

    otherwise: str | None = None
    """The service's name where nobody names it."""

    @property
    def says_nothing(self) -> bool:
        """Whether there are no arguments but the environment's."""
        return self == TelemetryChoice(settings=self.settings)

    @property
    def with_content(self) -> bool:
        """Whether spans hold what was said."""
        return self.settings.otel_capture_content if self.content is None else self.content

    @property
    def to_logfire(self) -> bool:
        """Whether Logfire's package is to export; what is named in code comes before the environment."""
        named = self.exporters is not None or self.endpoint is not None
        return self.settings.logfire_token is not None and self.traces and not named
