"""Settings: the environment contract; nothing else in this package reads the environment."""

from .environment import Settings, variable_of
from .ignored import ignored_variables
from .table import environment_table

__all__ = ["Settings", "environment_table", "ignored_variables", "variable_of"]
