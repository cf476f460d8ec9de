"""Agents elsewhere, as their callers see them."""

from .values import RemoteAnswer, RemoteCard, RemoteEvent, RemoteProgress, RemoteProtocol, RemoteText, RemoteUsage

__all__ = [
    "RemoteAnswer",
    "RemoteCard",
    "RemoteEvent",
    "RemoteProgress",
    "RemoteProtocol",
    "RemoteText",
    "RemoteUsage",
]
