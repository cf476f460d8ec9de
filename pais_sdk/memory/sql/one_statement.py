"""A run's write as one statement, for databases to which each statement is a round trip."""

from __future__ import annotations

from collections.abc import Sequence

from ..leases import Lease
from .connection import Step
from .places import PlacedEntry
from .statements import INSERT_SESSION, UPDATE_SESSION

# All parts see the leases as they were at the beginning. A row that is reserved meanwhile is neither deleted nor freed
# then, and the answer says how many were.
_REST = """
), entries AS (
    INSERT INTO pais_entries (id, parent_id, family, depth, run_start, run_id, message)
    SELECT e.id, e.parent_id, :family, e.depth, e.run_start, e.run_id, e.message
    FROM unnest(CAST(:entry_ids AS TEXT[]), CAST(:parent_ids AS TEXT[]), CAST(:depths AS BIGINT[]),
        CAST(:run_starts AS BIGINT[]), CAST(:run_ids AS TEXT[]), CAST(:messages AS TEXT[]))
        AS e (id, parent_id, depth, run_start, run_id, message)
    WHERE EXISTS (SELECT 1 FROM session)
), released AS (
    DELETE FROM pais_leases
    WHERE session_id = :id AND token = :token AND next_until_us <= {now} AND EXISTS (SELECT 1 FROM session)
    RETURNING 1
), reserved AS (
    UPDATE pais_leases SET token = '', until_us = 0
    WHERE session_id = :id AND token = :token AND next_until_us > {now} AND EXISTS (SELECT 1 FROM session)
    RETURNING 1
)
SELECT (SELECT COUNT(*) FROM released) + (SELECT COUNT(*) FROM reserved) FROM session
"""

_INSERT = "WITH session AS (" + INSERT_SESSION + _REST
_UPDATE = "WITH session AS (" + UPDATE_SESSION + _REST


def in_one(session: Step, entries: Sequence[PlacedEntry], lease: Lease) -> Step:
    """Return what stores a session and its entries, and gives the lease back; its row is whether that was done.

    There is no row where the session is not as it was expected, and then nothing is done.
    """
    assert isinstance(session.values, dict)
    values = {
        **session.values,
        "token": lease.token,
        "entry_ids": [entry.id for entry in entries],
        "parent_ids": [entry.parent_id for entry in entries],
        "depths": [entry.place.depth for entry in entries],
        "run_starts": [entry.place.run_start for entry in entries],
        "run_ids": [entry.place.run_id for entry in entries],
        "messages": [entry.message for entry in entries],
    }
    return Step(_INSERT if session.sql == INSERT_SESSION else _UPDATE, values, needed=True)
