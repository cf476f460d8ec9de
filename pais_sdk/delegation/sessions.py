"""The sessions that delegates have for ours."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Generator
from contextlib import contextmanager


class DelegatedSessions:
    """Derives the session of a delegate from ours, so that a second task goes on where the first one ended.

    Tasks for one delegate that are worked on at the same time get sessions of their own, or they would wait for each
    other.
    """

    def __init__(self) -> None:
        self._taken: set[str] = set()
        self._guard = threading.Lock()

    @contextmanager
    def taken(self, scope: str | None, session_id: str | None, *, by: str | None, to: str) -> Generator[str | None]:
        """Give a session of the delegate `to` while the block runs; None, for a new one, where we have none."""
        if session_id is None:
            yield None
            return
        base = delegated_session_id(scope, session_id, by=by, to=to)
        with self._guard:
            given, number = base, 1
            while given in self._taken:
                number += 1
                given = f"{base}-{number}"
            self._taken.add(given)
        try:
            yield given
        finally:
            with self._guard:
                self._taken.discard(given)


def delegated_session_id(scope: str | None, session_id: str, *, by: str | None, to: str) -> str:
    """Return the id of a delegate's session for one of ours; nobody can read ours from it.

    Args:
        scope: The namespace of our session.
        session_id: Our session.
        by: The agent that delegates, for several may work for one user in sessions of one name; None where it is not
            known.
        to: The delegate.
    """
    return hashlib.sha256(json.dumps([scope, session_id, by, to]).encode()).hexdigest()[:32]
