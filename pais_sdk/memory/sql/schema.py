"""The tables, and how a database of an older version becomes one of this version."""

from __future__ import annotations

from ...errors import ConfigurationError
from .connection import SqlConnection

# Ids are compared byte by byte in every database, so that pages and their cursors are in one order.
_VERSION_1 = (
    """CREATE TABLE pais_sessions (
        id {id} NOT NULL PRIMARY KEY,
        scope {id} NOT NULL,
        label {id},
        family {id} NOT NULL,
        revision {id} NOT NULL,
        head_id {id},
        depth BIGINT NOT NULL,
        dropped BIGINT NOT NULL,
        trim_at BIGINT NOT NULL,
        record TEXT NOT NULL,
        used_us BIGINT NOT NULL,
        updated_us BIGINT NOT NULL,
        ttl_us BIGINT,
        expires_us BIGINT
    )""",
    "CREATE INDEX pais_sessions_of_scope ON pais_sessions (scope, used_us, id)",
    "CREATE INDEX pais_sessions_of_label ON pais_sessions (label, updated_us)",
    "CREATE INDEX pais_sessions_updated ON pais_sessions (updated_us)",
    "CREATE INDEX pais_sessions_of_family ON pais_sessions (family)",
    "CREATE INDEX pais_sessions_expiring ON pais_sessions (expires_us) WHERE expires_us IS NOT NULL",
    """CREATE TABLE pais_entries (
        id {id} NOT NULL PRIMARY KEY,
        parent_id {id},
        family {id} NOT NULL,
        depth BIGINT NOT NULL,
        run_start BIGINT NOT NULL,
        run_id {id},
        message TEXT NOT NULL
    )""",
    "CREATE INDEX pais_entries_of_family ON pais_entries (family)",
    """CREATE TABLE pais_annotations (
        session_id {id} NOT NULL,
        seq BIGINT NOT NULL,
        after BIGINT NOT NULL,
        event TEXT NOT NULL,
        PRIMARY KEY (session_id, seq)
    ) {clustered}""",
    "CREATE INDEX pais_annotations_after ON pais_annotations (session_id, after)",
    """CREATE TABLE pais_leases (
        session_id {id} NOT NULL PRIMARY KEY,
        token {id} NOT NULL,
        until_us BIGINT NOT NULL,
        next_process {id},
        next_until_us BIGINT NOT NULL
    ) {clustered}""",
)

MIGRATIONS = (_VERSION_1,)
"""What leads from version 0, nothing, to version 1, and so on; a row is never changed once it was released."""


async def stored_version(connection: SqlConnection) -> int:
    """Return the version of the tables that are there; 0 where there are none."""
    if not await connection.fetch(connection.dialect.has_meta):
        return 0
    rows = await connection.fetch("SELECT version FROM pais_meta")
    return int(rows[0][0]) if rows else 0


async def migrate(connection: SqlConnection) -> None:
    """Bring the tables to this version, inside a transaction that excludes others who do the same.

    Raises:
        ConfigurationError: They are of a newer version.
    """
    await connection.lock_schema()
    version = await stored_version(connection)
    check_version(version)
    if version == 0:
        await connection.fetch("CREATE TABLE IF NOT EXISTS pais_meta (version BIGINT NOT NULL)")
        await connection.fetch("INSERT INTO pais_meta (version) VALUES (0)")
    for migration in MIGRATIONS[version:]:
        for statement in migration:
            await connection.fetch(statement)
    await connection.fetch("UPDATE pais_meta SET version = :version", version=len(MIGRATIONS))


def check_version(version: int) -> None:
    """Raise ConfigurationError where the tables are newer than this code."""
    if version > len(MIGRATIONS):
        raise ConfigurationError(
            f"the tables of this database are of version {version}, and this release knows {len(MIGRATIONS)}: "
            "use a newer pais-sdk, or another database"
        )
