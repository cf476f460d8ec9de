"""Other agents as tools."""

from .capability import Delegation
from .delegates import Delegate
from .progress import DelegationProgress, DelegationProgressEvent, DelegationTold
from .toolset import DelegationToolset

__all__ = [
    "Delegate",
    "Delegation",
    "DelegationProgress",
    "DelegationProgressEvent",
    "DelegationTold",
    "DelegationToolset",
]
