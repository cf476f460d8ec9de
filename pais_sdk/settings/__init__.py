"""Settings: the environment contract; nothing else in this package reads the environment."""

from .environment import Settings, variable_of
from .ignored import ignored_variables
from .secrets import Secrets
from .table import environment_table
from .telemetry import TelemetrySettings

__all__ = ["Secrets", "Settings", "TelemetrySettings", "environment_table", "ignored_variables", "variable_of"]
