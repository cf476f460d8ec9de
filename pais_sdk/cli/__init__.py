"""What people hold in their hands: the `pais` command."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command; without its extra, say in one line what to install."""
    from ..errors import MissingExtraError

    try:
        from .app import app
    except MissingExtraError as error:
        sys.exit(f"pais_sdk: {error}")
    app()
