"""The API describes itself: to programs at /openapi.json, to people at /docs."""

from .endpoints import DescriptionEndpoints

__all__ = ["DescriptionEndpoints"]
