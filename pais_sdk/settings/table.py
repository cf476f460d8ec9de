"""The table of all variables, for the docs."""

from __future__ import annotations

from typing import Any

from .environment import Settings
from .telemetry import TelemetrySettings
from .variables import names_of


def environment_table() -> str:
    """Return all variables as a Markdown table: names in order of precedence, default, meaning."""
    rows = ["| variable | default | meaning |", "|---|---|---|"]
    of_telemetry = dict(TelemetrySettings.model_fields)
    of_telemetry.pop("agent_name")  # which is the agent's above all
    own = {name: field for name, field in Settings.model_fields.items() if name not in of_telemetry}
    for field in [*own.values(), *of_telemetry.values()]:
        names = ", ".join(f"`{name}`" for name in names_of(field))
        default = "" if field.default is None or field.default_factory is not None else f"`{_shown(field.default)}`"
        rows.append(f"| {names} | {default} | {field.description} |")
    return "\n".join(rows)


def _shown(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
