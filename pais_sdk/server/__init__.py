"""The server: an ASGI application over one runtime."""

from .app import AgentServer
from .auth import Authenticate
from .thread import ServerHandle

__all__ = ["AgentServer", "Authenticate", "ServerHandle"]
