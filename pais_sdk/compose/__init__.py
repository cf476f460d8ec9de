"""From settings to a runtime: the one place that puts the parts together."""

from .memory import create_memory
from .runtime import RuntimeOptions, create_agent, create_runtime
from .target import find_target

__all__ = ["RuntimeOptions", "create_agent", "create_memory", "create_runtime", "find_target"]
