"""Agents elsewhere, as their callers see them."""

from .remote_agent import RemoteAgent
from .values import RemoteAnswer, RemoteCard, RemoteEvent, RemoteProgress, RemoteProtocol, RemoteText, RemoteUsage

__all__ = [
    "RemoteAgent",
    "RemoteAnswer",
    "RemoteCard",
    "RemoteEvent",
    "RemoteProgress",
    "RemoteProtocol",
    "RemoteText",
    "RemoteUsage",
]
