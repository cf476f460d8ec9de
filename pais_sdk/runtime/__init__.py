"""The runtime: one run of one session, behind every way in."""

from .agent_runtime import AgentRuntime
from .deps import AgentDeps
from .efforts import Effort
from .ended import error_of, model_error_in
from .request import RunOptions
from .stream import RunStream

__all__ = ["AgentDeps", "AgentRuntime", "Effort", "RunOptions", "RunStream", "error_of", "model_error_in"]
