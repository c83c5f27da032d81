"""What Postgres is asked for `ops doctor`. Reads only."""

from dataclasses import dataclass
from typing import LiteralString

import psycopg

SETTINGS = (
    "fsync", "synchronous_commit", "full_page_writes", "synchronous_standby_names",
    "idle_in_transaction_session_timeout", "max_connections", "server_encoding",
    "server_version_num", "session_replication_role", "zero_damaged_pages",
    "ignore_checksum_failure", "transaction_read_only",
)  # fmt: skip

SELECT_SETTINGS: LiteralString = """
SELECT name, setting
  FROM pg_settings
 WHERE name = ANY (%(names)s)
"""
SELECT_SCHEMA: LiteralString = "SELECT coalesce(max(version), 0) FROM schema_migration"
SELECT_LOAD: LiteralString = r"""
SELECT (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'),
       coalesce((SELECT extract(epoch FROM now() - min(xact_start))::float8
                   FROM pg_stat_activity
                  WHERE datname = current_database()
                    AND pid <> pg_backend_pid()), 0),
       coalesce((SELECT extract(epoch FROM now() - min(prepared))::float8
                   FROM pg_prepared_xacts
                  WHERE database = current_database()), 0),
       (SELECT count(*) FROM pg_stat_replication),
       (SELECT age(datfrozenxid) FROM pg_database WHERE datname = current_database()),
       (SELECT mxid_age(datminmxid) FROM pg_database WHERE datname = current_database()),
       (SELECT count(*) FROM outbox_default),
       EXISTS (SELECT
                 FROM pg_inherits i
                 JOIN pg_class c ON c.oid = i.inhrelid
                CROSS JOIN LATERAL (
                      SELECT regexp_match(pg_get_expr(c.relpartbound, c.oid),
                                          'FROM \(''(.+)''\) TO \(''(.+)''\)') AS range) AS b
                WHERE i.inhparent = 'outbox'::regclass
                  AND now() + interval '1 hour' >= b.range[1]::timestamptz
                  AND now() + interval '1 hour' < b.range[2]::timestamptz),
       (SELECT count(*) FROM pg_inherits WHERE inhparent = 'outbox'::regclass)
"""


@dataclass(frozen=True, slots=True)
class Load:
    """What is in use now; ages in seconds."""

    connections: int
    oldest_transaction_s: float
    oldest_prepared_s: float
    standbys: int
    xid_age: int
    multixact_age: int
    default_rows: int
    partition_ahead: bool
    partitions: int


def settings(conn: psycopg.Connection) -> dict[str, str]:
    """Return what the server's settings are for a connection like `conn`."""
    return dict(conn.execute(SELECT_SETTINGS, {"names": list(SETTINGS)}).fetchall())


def schema(conn: psycopg.Connection) -> int:
    """Return the schema's version; 0 where there is none."""
    try:
        row = conn.execute(SELECT_SCHEMA).fetchone()
    except psycopg.errors.UndefinedTable:
        return 0
    return int(row[0]) if row else 0


def load(conn: psycopg.Connection) -> Load:
    """Return what is in use now."""
    row = conn.execute(SELECT_LOAD).fetchone()
    if row is None:
        raise LookupError(SELECT_LOAD)
    return Load(*row)
