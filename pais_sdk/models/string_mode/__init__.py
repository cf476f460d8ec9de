"""String mode: tools for models that know no tools. They are described in the prompt and called by JSON in the text."""

from .capability import StringMode
from .model import StringModeModel

__all__ = ["StringMode", "StringModeModel"]
