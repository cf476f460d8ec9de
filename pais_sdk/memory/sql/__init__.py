"""Sessions in a database."""

from __future__ import annotations

from ...errors import MissingExtraError

try:
    import sqlalchemy as _sqlalchemy  # noqa: F401  # pyright: ignore[reportUnusedImport]
except ImportError as error:
    raise MissingExtraError("SQLMemory", extra="sql") from error

from .memory import SQLiteMemory as SQLiteMemory
from .memory import SQLMemory as SQLMemory
