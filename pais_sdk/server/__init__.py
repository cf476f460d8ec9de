"""The server: an ASGI application over one runtime."""

from .app import AgentServer
from .thread import ServerHandle

__all__ = ["AgentServer", "ServerHandle"]
