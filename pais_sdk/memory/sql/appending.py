"""A run's messages, stored after what is the newest message then."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from pydantic_ai.messages import ModelMessage
from pydantic_ai.usage import RunUsage

from ..append import appended
from ..leases import Lease
from ..message_json import pack_message
from .changes import Written, annotation_steps, entry_steps, lock_families, seen_state, session_step
from .connection import SqlConnection, Step
from .database import Database
from .one_statement import in_one
from .places import Place, PlacedEntry, placed
from .state import SessionState, read_places
from .statements import RELEASE, RELEASE_RESERVED


@dataclass
class Append:
    """First tried in one go, after what the lease's holder has seen; then in a transaction, after what is stored.

    Args:
        lease: Given back with it.
        known: The session as it was when the lease was taken; None where there was none.
        messages: In order.
        annotations: Packed.
        usage: Added to the session's own.
        ttl_s: How long the session is kept; None for ever.
        keep: How many of the session's annotations are kept; None for all.
    """

    lease: Lease
    known: SessionState | None
    messages: Sequence[ModelMessage]
    annotations: Sequence[str]
    usage: RunUsage | None
    ttl_s: float | None
    keep: int | None
    _revisions: list[str] = field(default_factory=list[str])

    def __post_init__(self) -> None:
        self._packed = [pack_message(message).decode() for message in self.messages]

    async def at_once(self, database: Database) -> Written | None:
        """Store it where nothing else was stored since the lease was taken; None where that is not so, or unknown."""
        plan = self._plan(self.known, {})
        if database.dialect.shared and not self.annotations:
            stored = await database.write_at_once([in_one(plan.session, plan.entries, self.lease)], atomic=False)
            if stored is not None and not stored[0][0][0]:  # somebody reserved the session in the midst of it
                await database.change(RELEASE_RESERVED, id=self.lease.session_id, token=self.lease.token)
        else:
            stored = await database.write_at_once(self._steps(plan))
        return None if stored is None else plan.written

    async def __call__(self, connection: SqlConnection) -> Written:
        session_id = self.lease.session_id
        while True:
            await lock_families(connection, session_id, ())
            state = await seen_state(connection, session_id)
            head_id = None if state is None else state.record.head_id
            tried = [f"{revision}-0" for revision in self._revisions]
            places, _ = await read_places(connection, tried if head_id is None else [head_id, *tried])
            if (state is not None and state.revision in self._revisions) or not places.keys().isdisjoint(tried):
                return Written(session_id, created=False)  # an earlier try was stored, of which no answer came
            plan = self._plan(state, places)
            if await connection.run(self._steps(plan), atomic=False) is not None:
                return plan.written

    def _plan(self, state: SessionState | None, places: Mapping[str, Place]) -> _Plan:
        record = None if state is None else state.record
        updated, entries = appended(self.lease.session_id, record, self.messages, self.usage)
        self._revisions.append(updated.revision)
        if state is not None and state.head is not None and record is not None and record.head_id is not None:
            places = {record.head_id: state.head}
        rows = placed(entries, self._packed, places)
        depth = rows[-1].place.depth + 1 if rows else 0 if state is None else state.depth
        family = updated.revision if state is None else state.family
        session, written = session_step(updated, state, family=family, depth=depth, ttl_s=self.ttl_s)
        return _Plan(session, rows, family, written)

    def _steps(self, plan: _Plan) -> list[Step]:
        notes = annotation_steps(self.lease.session_id, self.annotations, after=plan.written.depth, keep=self.keep)
        return [plan.session, *entry_steps(plan.entries, plan.family), *notes, *release_steps(self.lease)]


@dataclass(frozen=True)
class _Plan:
    session: Step
    entries: Sequence[PlacedEntry]
    family: str
    written: Written


def release_steps(lease: Lease) -> list[Step]:
    """Return what gives a lease back; the session stays reserved for who waits for it."""
    values = {"id": lease.session_id, "token": lease.token}
    return [Step(RELEASE, values), Step(RELEASE_RESERVED, values)]
