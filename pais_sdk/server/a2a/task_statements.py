# ruff: noqa: S608 - statements are put together from constants of this file
"""What is asked of the tables of tasks. Times are microseconds since 1970.

A task is stored as it was at the version `whole`; what was added to its artifacts after that is in its events.
"""

from __future__ import annotations

from .task_states import ENDED

TABLES = (
    """CREATE TABLE pais_a2a_tasks (
        id {id} NOT NULL PRIMARY KEY,
        owner {id} NOT NULL,
        context_id {id} NOT NULL,
        state BIGINT NOT NULL,
        changed_ns BIGINT NOT NULL,
        version BIGINT NOT NULL,
        whole BIGINT NOT NULL,
        task BYTEA NOT NULL,
        until_us BIGINT,
        ended_us BIGINT,
        has_events BIGINT NOT NULL
    )""",
    "CREATE INDEX pais_a2a_tasks_of_owner ON pais_a2a_tasks (owner, changed_ns, id)",
    "CREATE INDEX pais_a2a_tasks_ended ON pais_a2a_tasks (ended_us) WHERE ended_us IS NOT NULL",
    "CREATE INDEX pais_a2a_tasks_told ON pais_a2a_tasks (ended_us) WHERE ended_us IS NOT NULL AND has_events = 1",
    "CREATE INDEX pais_a2a_tasks_worked_on ON pais_a2a_tasks (owner) WHERE ended_us IS NULL",
    """CREATE TABLE pais_a2a_events (
        task_id {id} NOT NULL,
        version BIGINT NOT NULL,
        event BYTEA NOT NULL,
        PRIMARY KEY (task_id, version)
    ) {clustered}""",
)

# --- writing: a task that is worked on has a lease (`until_us`), every other one an end (`ended_us`)

_UNTIL = "{now} + CAST(:lease_us AS BIGINT)"
_ENDED = "CASE WHEN CAST(:lease_us AS BIGINT) IS NULL THEN {now} END"
# What has ended stays so: a2a-sdk goes on to save what it had in hand when it found that another process ended a task.
_NEXT = f"""WHERE id = :id AND owner = :owner AND version = CAST(:version AS BIGINT) - 1
    AND state NOT IN ({", ".join(str(int(state)) for state in sorted(ENDED))})"""

INSERT = f"""
INSERT INTO pais_a2a_tasks (id, owner, context_id, state, changed_ns, version, whole, task, until_us, ended_us,
    has_events)
VALUES (:id, :owner, :context_id, :state, :changed_ns, :version, :version, :task, {_UNTIL}, {_ENDED}, 1)
ON CONFLICT (id) DO NOTHING
RETURNING 1
"""

UPDATE = f"""
UPDATE pais_a2a_tasks SET context_id = :context_id, state = :state, changed_ns = :changed_ns, version = :version,
    whole = :version, task = :task, until_us = {_UNTIL}, ended_us = {_ENDED}, has_events = 1
{_NEXT}
RETURNING 1
"""

GROW = f"""
UPDATE pais_a2a_tasks SET version = :version
{_NEXT}
RETURNING 1
"""

INSERT_EVENT = "INSERT INTO pais_a2a_events (task_id, version, event) VALUES (:id, :version, :event)"

EVENT = """
SELECT e.event FROM pais_a2a_events e JOIN pais_a2a_tasks s ON s.id = e.task_id
WHERE s.id = :id AND s.owner = :owner AND e.version = :version
"""

LOCK = "SELECT 1 FROM pais_a2a_tasks s WHERE s.id = :id AND s.owner = :owner {lock}"

DELETE = """
DELETE FROM pais_a2a_tasks WHERE id IN (SELECT id FROM {ids})
"""

DELETE_EVENTS = "DELETE FROM pais_a2a_events WHERE task_id IN (SELECT id FROM {ids})"

NO_EVENTS = "UPDATE pais_a2a_tasks SET has_events = 0 WHERE id IN (SELECT id FROM {ids})"

# --- reading

DEAD = "(s.ended_us IS NULL AND s.until_us <= {now})"

READ = f"""
SELECT s.version, s.whole, CASE WHEN {DEAD} THEN 1 ELSE 0 END, s.task
FROM pais_a2a_tasks s WHERE s.id = :id AND s.owner = :owner
UNION ALL
SELECT e.version, CAST(NULL AS BIGINT), 0, e.event
FROM pais_a2a_tasks s JOIN pais_a2a_events e ON e.task_id = s.id AND e.version > s.whole
WHERE s.id = :id AND s.owner = :owner
"""

_OF_QUERY = """
FROM pais_a2a_tasks s
WHERE s.owner = :owner AND s.changed_ns >= CAST(:since_ns AS BIGINT)
    AND (CAST(:context_id AS TEXT) IS NULL OR s.context_id = CAST(:context_id AS TEXT))
    AND (CAST(:state AS BIGINT) IS NULL OR s.state = CAST(:state AS BIGINT))
"""

COUNT = f"SELECT COUNT(*) {_OF_QUERY}"

PAGE = f"""
SELECT s.changed_ns, s.id, s.version, s.whole, s.task {_OF_QUERY}
    AND (s.changed_ns, s.id) < (CAST(:before_ns AS BIGINT), CAST(:before_id AS TEXT))
ORDER BY s.changed_ns DESC, s.id DESC LIMIT CAST(:limit AS BIGINT)
"""

ADDED = """
SELECT e.task_id, e.version, e.event
FROM pais_a2a_tasks s JOIN pais_a2a_events e ON e.task_id = s.id AND e.version > s.whole
WHERE s.id IN (SELECT id FROM {ids}) ORDER BY e.version
"""

NEWS = f"""
SELECT s.version, CASE WHEN s.ended_us IS NOT NULL THEN 'ended' WHEN {DEAD} THEN 'dead' ELSE 'worked on' END, s.owner,
    NULL
FROM pais_a2a_tasks s WHERE s.id = :id
UNION ALL
SELECT e.version, NULL, NULL, e.event
FROM pais_a2a_events e WHERE e.task_id = :id AND e.version > CAST(:after AS BIGINT)
"""

# --- looking after tasks

DEAD_OF_OWNER = f"SELECT s.id FROM pais_a2a_tasks s WHERE s.owner = :owner AND {DEAD}"

DEAD_OF_ALL = f"SELECT s.id, s.owner FROM pais_a2a_tasks s WHERE {DEAD} LIMIT CAST(:limit AS BIGINT)"

RENEW = """
UPDATE pais_a2a_tasks SET until_us = {now} + CAST(:lease_us AS BIGINT)
WHERE id IN (SELECT id FROM {ids}) AND ended_us IS NULL
"""

ENDED_OF = "SELECT s.id FROM pais_a2a_tasks s WHERE s.id IN (SELECT id FROM {ids}) AND s.ended_us IS NOT NULL"

EXPIRED = """
SELECT s.id FROM pais_a2a_tasks s WHERE s.ended_us <= {now} - CAST(:ttl_us AS BIGINT)
ORDER BY s.ended_us LIMIT CAST(:limit AS BIGINT)
"""

TOLD = """
SELECT s.id FROM pais_a2a_tasks s WHERE s.has_events = 1 AND s.ended_us <= {now} - CAST(:told_us AS BIGINT)
ORDER BY s.ended_us LIMIT CAST(:limit AS BIGINT)
"""
