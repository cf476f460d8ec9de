"""Put a plain Pydantic AI agent wherever people and programs can talk to it."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from .serve import serve as serve

if TYPE_CHECKING:
    from .client import RemoteAgent as RemoteAgent
    from .client import RemoteAnswer as RemoteAnswer
    from .client import RemoteCard as RemoteCard
    from .client import RemoteProgress as RemoteProgress
    from .client import RemoteText as RemoteText
    from .client import RemoteUsage as RemoteUsage
    from .delegation import Delegation as Delegation
    from .delegation import DelegationProgress as DelegationProgress
    from .delegation import DelegationToolset as DelegationToolset
    from .errors import ConfigurationError as ConfigurationError
    from .errors import DelegationLoopError as DelegationLoopError
    from .errors import InvalidRequestError as InvalidRequestError
    from .errors import InvalidSessionIdError as InvalidSessionIdError
    from .errors import MaxStepsError as MaxStepsError
    from .errors import MemoryUnavailableError as MemoryUnavailableError
    from .errors import MissingExtraError as MissingExtraError
    from .errors import OverloadedError as OverloadedError
    from .errors import PaisError as PaisError
    from .errors import RemoteAgentError as RemoteAgentError
    from .errors import RunCancelledError as RunCancelledError
    from .errors import RunError as RunError
    from .errors import RunFailedError as RunFailedError
    from .errors import RunTimeoutError as RunTimeoutError
    from .errors import SessionBusyError as SessionBusyError
    from .events import Progress as Progress
    from .events import RunEnded as RunEnded
    from .events import RunEvent as RunEvent
    from .events import RunOutcome as RunOutcome
    from .events import RunStarted as RunStarted
    from .events import TextDelta as TextDelta
    from .events import ThinkingDelta as ThinkingDelta
    from .events import ToolCalled as ToolCalled
    from .events import ToolReturned as ToolReturned
    from .mcp import MCPServer as MCPServer
    from .mcp import MCPServers as MCPServers
    from .memory import LocalMemory as LocalMemory
    from .memory import Memory as Memory
    from .memory import MemoryEvent as MemoryEvent
    from .memory import NullMemory as NullMemory
    from .memory import RedisMemory as RedisMemory
    from .memory import SQLiteMemory as SQLiteMemory
    from .memory import SQLMemory as SQLMemory
    from .models import AutoModeModel as AutoModeModel
    from .models import StringMode as StringMode
    from .models import StringModeModel as StringModeModel
    from .models import mock_model as mock_model
    from .runtime import AgentDeps as AgentDeps
    from .runtime import AgentRuntime as AgentRuntime
    from .runtime import RunStream as RunStream
    from .server import AgentServer as AgentServer
    from .settings import Settings as Settings
    from .telemetry import KaosLoggingHandler as KaosLoggingHandler
    from .telemetry import Telemetry as Telemetry
    from .telemetry import setup_telemetry as setup_telemetry
    from .tools import CachedToolset as CachedToolset
    from .tools import ToolExecutor as ToolExecutor
    from .tools import ToolResult as ToolResult
    from .traces import RunTrace as RunTrace
    from .traces import TraceSpan as TraceSpan

# Public names and where they live. They are imported when they are first used: Pydantic AI alone takes over a second.
_HOMES = {
    "client": "RemoteAgent RemoteAnswer RemoteCard RemoteProgress RemoteText RemoteUsage",
    "delegation": "Delegation DelegationProgress DelegationToolset",
    "errors": (
        "ConfigurationError DelegationLoopError InvalidRequestError InvalidSessionIdError MaxStepsError "
        "MemoryUnavailableError MissingExtraError OverloadedError PaisError RemoteAgentError RunCancelledError "
        "RunError RunFailedError RunTimeoutError SessionBusyError"
    ),
    "events": "Progress RunEnded RunEvent RunOutcome RunStarted TextDelta ThinkingDelta ToolCalled ToolReturned",
    "mcp": "MCPServer MCPServers",
    "memory": "LocalMemory Memory MemoryEvent NullMemory RedisMemory SQLiteMemory SQLMemory",
    "models": "AutoModeModel StringMode StringModeModel mock_model",
    "runtime": "AgentDeps AgentRuntime RunStream",
    "server": "AgentServer",
    "settings": "Settings",
    "telemetry": "KaosLoggingHandler Telemetry setup_telemetry",
    "tools": "CachedToolset ToolExecutor ToolResult",
    "traces": "RunTrace TraceSpan",
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names.split()}

__version__ = "0.1.0"
__all__ = ["__version__", "serve", *sorted(_HOME_OF)]  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f".{_HOME_OF[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
