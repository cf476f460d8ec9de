"""What is asked of the tables. Times are microseconds since 1970; each statement is an index look-up or a walk."""

from __future__ import annotations

ALL = 1 << 40
"""More messages than a session can have."""

HELD = "EXISTS (SELECT 1 FROM pais_leases l WHERE l.session_id = s.id AND l.until_us > {now})"
"""The word `{held}`: of a session `s`."""

SEEN = "(s.expires_us IS NULL OR s.expires_us > {now} OR " + HELD + ")"
"""The word `{seen}`: whether a session `s` is to be seen; one whose time is over is not, unless it is held."""

# --- leases: no row where a session is neither held nor reserved

TAKE = """
INSERT INTO pais_leases AS l (session_id, token, until_us, next_process, next_until_us)
VALUES (:id, :token, {now} + CAST(:lease_us AS BIGINT), NULL, 0)
ON CONFLICT (session_id) DO UPDATE
SET token = excluded.token, until_us = excluded.until_us, next_process = NULL, next_until_us = 0
WHERE l.token = excluded.token
   OR (l.until_us <= {now} AND (l.next_until_us <= {now} OR l.next_process = CAST(:process AS TEXT)))
RETURNING 1
"""

RESERVE = """
UPDATE pais_leases SET next_process = :process, next_until_us = {now} + CAST(:reserve_us AS BIGINT)
WHERE session_id = :id AND (next_until_us <= {now} OR next_process = :process)
"""

RENEW = """
UPDATE pais_leases SET until_us = {now} + CAST(:lease_us AS BIGINT)
WHERE session_id IN (SELECT id FROM {ids}) AND token IN (SELECT id FROM {tokens})
RETURNING token
"""

RELEASE = """
DELETE FROM pais_leases WHERE session_id = :id AND token = :token AND next_until_us <= {now}
"""

RELEASE_RESERVED = "UPDATE pais_leases SET token = '', until_us = 0 WHERE session_id = :id AND token = :token"

# --- reading

# From each message to the one before until the limit is reached, and on to the start of that run. The newest one is
# there for every limit, for what follows it has to know its place.
WINDOW = """
WITH RECURSIVE session AS (
    SELECT revision, head_id, depth, dropped, trim_at, family, record,
        CASE WHEN expires_us <= {now} THEN 1 ELSE 0 END AS expired
    FROM pais_sessions WHERE id = :id
), h (parent_id, depth, run_start, run_id, oldest, message) AS (
    SELECT e.parent_id, e.depth, e.run_start, e.run_id, session.depth - CAST(:limit AS BIGINT), e.message
    FROM session JOIN pais_entries e ON e.id = session.head_id
    UNION ALL
    SELECT e.parent_id, e.depth, e.run_start, e.run_id, h.oldest, e.message
    FROM h JOIN pais_entries e ON e.id = h.parent_id
    WHERE h.depth > h.oldest OR (h.depth > h.run_start AND CAST(:limit AS BIGINT) > 0)
)
SELECT -1, record, revision, family, depth, dropped, trim_at, expired FROM session
UNION ALL SELECT depth, message, run_id, NULL, run_start, 0, 0, 0 FROM h
"""

HISTORY = """
WITH RECURSIVE h (id, parent_id, depth, oldest, message) AS (
    SELECT id, parent_id, depth, depth + 1 - CAST(:limit AS BIGINT), message FROM pais_entries WHERE id = :head_id
    UNION ALL
    SELECT e.id, e.parent_id, e.depth, h.oldest, e.message
    FROM h JOIN pais_entries e ON e.id = h.parent_id WHERE h.depth > h.oldest
)
SELECT depth, id, parent_id, message FROM h
"""

# Of annotations, first the newest by number: none older is looked at where all of those are wanted, nor, where one of
# them is too old, any but those that the index has for these messages.
LOG = """
WITH RECURSIVE session AS (
    SELECT s.id, s.head_id, s.depth FROM pais_sessions s WHERE s.id = :id AND {seen}
), h (id, parent_id, depth, run_start, oldest, message) AS (
    SELECT e.id, e.parent_id, e.depth, e.run_start, session.depth - CAST(:limit AS BIGINT), e.message
    FROM session JOIN pais_entries e ON e.id = session.head_id WHERE CAST(:limit AS BIGINT) > 0
    UNION ALL
    SELECT e.id, e.parent_id, e.depth, e.run_start, h.oldest, e.message
    FROM h JOIN pais_entries e ON e.id = h.parent_id
    WHERE h.depth > h.oldest OR h.depth > h.run_start
), first AS (
    SELECT COALESCE((SELECT MIN(depth) FROM h), (SELECT depth FROM session)) AS depth
), newest AS (
    SELECT seq, after, event FROM pais_annotations WHERE session_id = (SELECT id FROM session)
    ORDER BY seq DESC LIMIT CAST(:annotations AS BIGINT)
), wanted AS (
    SELECT seq, after, event FROM newest WHERE after >= (SELECT depth FROM first)
    UNION ALL
    SELECT seq, after, event FROM pais_annotations
    WHERE EXISTS (SELECT 1 FROM newest WHERE after < (SELECT depth FROM first))
      AND session_id = (SELECT id FROM session) AND after >= (SELECT depth FROM first)
      AND seq < (SELECT MIN(seq) FROM newest)
)
SELECT 0, depth, 0, NULL, NULL, NULL FROM session
UNION ALL SELECT 1, depth, 0, id, parent_id, message FROM h
UNION ALL SELECT 2, after, seq, NULL, NULL, event FROM wanted
"""

PAGE = """
SELECT s.id, s.used_us FROM pais_sessions s
WHERE s.scope = :scope AND (s.used_us, s.id) < (CAST(:used_us AS BIGINT), CAST(:id AS TEXT)) AND {seen}
ORDER BY s.used_us DESC, s.id DESC LIMIT CAST(:limit AS BIGINT)
"""

EXISTS = "SELECT s.depth FROM pais_sessions s WHERE s.id = :id AND {seen}"

RECORD = "SELECT s.record FROM pais_sessions s WHERE s.id = :id AND {seen}"

RECORDS = """
SELECT s.record FROM pais_sessions s WHERE {seen} ORDER BY s.updated_us DESC LIMIT CAST(:limit AS BIGINT)
"""

RECORDS_OF_LABEL = """
SELECT s.record FROM pais_sessions s WHERE s.label = :label AND {seen}
ORDER BY s.updated_us DESC LIMIT CAST(:limit AS BIGINT)
"""

ENTRY = "SELECT id, parent_id, message FROM pais_entries WHERE id = :id"

# --- writing

SESSION = """
SELECT s.revision, s.family, s.depth, s.dropped, s.trim_at, s.record, CASE WHEN {seen} THEN 1 ELSE 0 END
FROM pais_sessions s WHERE s.id = :id {lock}
"""

PLACES = "SELECT id, family, depth, run_start, run_id FROM pais_entries WHERE id IN (SELECT id FROM {ids})"

INSERT_SESSION = """
INSERT INTO pais_sessions (id, scope, label, family, revision, head_id, depth, dropped, trim_at, record, used_us,
    updated_us, ttl_us, expires_us)
VALUES (:id, :scope, :label, :family, :revision, :head_id, :depth, 0, 0, :record, {now},
    :updated_us, CAST(:ttl_us AS BIGINT), {now} + CAST(:ttl_us AS BIGINT))
ON CONFLICT (id) DO NOTHING
RETURNING 1
"""

UPDATE_SESSION = """
UPDATE pais_sessions SET label = :label, revision = :revision, head_id = :head_id, depth = :depth,
    dropped = :dropped, trim_at = :trim_at, record = :record, used_us = {now}, updated_us = :updated_us,
    ttl_us = CAST(:ttl_us AS BIGINT), expires_us = {now} + CAST(:ttl_us AS BIGINT)
WHERE id = :id AND revision = :expected AND family = :family
RETURNING 1
"""

USE_SESSION = """
UPDATE pais_sessions AS s SET used_us = {now}, expires_us = {now} + s.ttl_us
WHERE s.id = :id AND {seen}
RETURNING depth
"""

INSERT_ENTRY = """
INSERT INTO pais_entries (id, parent_id, family, depth, run_start, run_id, message)
VALUES (:id, :parent_id, :family, :depth, :run_start, :run_id, :message)
ON CONFLICT (id) DO UPDATE SET parent_id = excluded.parent_id, depth = excluded.depth,
    run_start = excluded.run_start, run_id = excluded.run_id, message = excluded.message
"""

INSERT_ANNOTATION = """
INSERT INTO pais_annotations (session_id, seq, after, event)
SELECT CAST(:id AS TEXT), COALESCE(MAX(seq), 0) + 1, CAST(:after AS BIGINT), CAST(:event AS TEXT)
FROM pais_annotations WHERE session_id = :id
"""

KEEP_ANNOTATIONS = """
DELETE FROM pais_annotations WHERE session_id = :id
AND seq <= (SELECT MAX(seq) FROM pais_annotations WHERE session_id = :id) - CAST(:keep AS BIGINT)
"""

# --- families: sessions that may share messages, for one was forked from another

FAMILIES = """
SELECT family FROM pais_sessions WHERE id = :id
UNION SELECT family FROM pais_entries WHERE id IN (SELECT id FROM {ids})
"""

FAMILY_OF_ENTRIES = "UPDATE pais_entries SET family = :family WHERE family = :other"

FAMILY_OF_SESSIONS = "UPDATE pais_sessions SET family = :family WHERE family = :other"

# --- dropping

FAMILIES_OF_SESSIONS = "SELECT DISTINCT family FROM pais_sessions WHERE id IN (SELECT id FROM {ids})"

HOLD = """
INSERT INTO pais_leases AS l (session_id, token, until_us, next_process, next_until_us)
SELECT id, CAST(:token AS TEXT), {now} + 1000000, NULL, 0 FROM {ids} WHERE true
ON CONFLICT (session_id) DO UPDATE SET token = excluded.token, until_us = excluded.until_us WHERE l.until_us <= {now}
RETURNING session_id
"""

LET_GO = "DELETE FROM pais_leases WHERE session_id IN (SELECT id FROM {ids}) AND token = :token"

DELETE_SESSIONS = "DELETE FROM pais_sessions WHERE id IN (SELECT id FROM {ids})"

DELETE_ANNOTATIONS = "DELETE FROM pais_annotations WHERE session_id IN (SELECT id FROM {ids})"

MEMBERS = "SELECT id, family, head_id, record FROM pais_sessions WHERE family IN (SELECT id FROM {ids})"

DELETE_FAMILIES = "DELETE FROM pais_entries WHERE family IN (SELECT id FROM {ids})"

# Who holds a session stores its messages without waiting for those who drop others of its family: its newest message is
# read together with what is deleted, for by then it may be another than when the members were read.
DELETE_UNREACHED = """
WITH RECURSIVE r (id) AS (
    SELECT id FROM {ids}
    UNION SELECT head_id FROM pais_sessions WHERE family = :family AND head_id IS NOT NULL
    UNION
    SELECT e.parent_id FROM r JOIN pais_entries e ON e.id = r.id WHERE e.parent_id IS NOT NULL
)
DELETE FROM pais_entries WHERE family = :family AND id NOT IN (SELECT id FROM r)
"""

EXPIRED = """
SELECT s.id FROM pais_sessions s WHERE s.expires_us <= {now} AND NOT {held} LIMIT CAST(:limit AS BIGINT)
"""

STILL_EXPIRED = """
SELECT s.id FROM pais_sessions s WHERE s.id IN (SELECT id FROM {ids}) AND s.expires_us <= {now} {lock}
"""

USED = "SELECT s.id, s.used_us FROM pais_sessions s WHERE s.id IN (SELECT id FROM {ids}) {lock}"

SCOPES = "SELECT scope, COUNT(*), MIN(used_us) FROM pais_sessions GROUP BY scope"

OLDEST = """
SELECT s.used_us, s.id FROM pais_sessions s WHERE s.scope = :scope AND s.id <> :id AND NOT {held}
ORDER BY s.used_us, s.id LIMIT CAST(:limit AS BIGINT)
"""

DELETE_LEFT_LEASES = "DELETE FROM pais_leases WHERE until_us <= {now} - 3600000000 AND next_until_us <= {now}"

# --- trimming

CHAIN = """
WITH RECURSIVE h (id, parent_id, depth, run_start, oldest) AS (
    SELECT e.id, e.parent_id, e.depth, e.run_start, s.depth - CAST(:limit AS BIGINT)
    FROM pais_sessions s JOIN pais_entries e ON e.id = s.head_id WHERE s.id = :id
    UNION ALL
    SELECT e.id, e.parent_id, e.depth, e.run_start, h.oldest FROM h JOIN pais_entries e ON e.id = h.parent_id
    WHERE h.depth > h.oldest OR h.depth > h.run_start
)
SELECT depth, id, parent_id FROM h ORDER BY depth LIMIT 1
"""

ANCESTORS = """
WITH RECURSIVE h (id, parent_id) AS (
    SELECT id, parent_id FROM pais_entries WHERE id = :id
    UNION ALL SELECT e.id, e.parent_id FROM h JOIN pais_entries e ON e.id = h.parent_id
)
SELECT id, parent_id FROM h
"""

REACHES = """
WITH RECURSIVE r (id) AS (
    SELECT id FROM {ids}
    UNION
    SELECT e.parent_id FROM r JOIN pais_entries e ON e.id = r.id WHERE e.parent_id IS NOT NULL
)
SELECT 1 FROM r WHERE id = :id
"""

DELETE_ENTRIES = "DELETE FROM pais_entries WHERE id IN (SELECT id FROM {ids})"

BEGIN_AT = "UPDATE pais_entries SET parent_id = NULL WHERE id = :id"

TRIMMED = "UPDATE pais_sessions SET dropped = :dropped, trim_at = :trim_at WHERE id = :id"

DELETE_EARLIER_ANNOTATIONS = "DELETE FROM pais_annotations WHERE session_id = :id AND after < :after"
