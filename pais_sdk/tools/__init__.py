"""Tools without a model, and tools whose results are kept."""

from .cached import CachedToolset
from .executor import ToolExecutor
from .result import ToolResult

__all__ = ["CachedToolset", "ToolExecutor", "ToolResult"]
