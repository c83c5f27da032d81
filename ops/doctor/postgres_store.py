"""What Postgres is asked for `ops doctor`. Reads only."""

from dataclasses import dataclass
from typing import LiteralString

import psycopg

SETTINGS = (
    "fsync",
    "synchronous_commit",
    "full_page_writes",
    "synchronous_standby_names",
    "idle_in_transaction_session_timeout",
    "max_connections",
    "server_encoding",
    "server_version_num",
    "session_replication_role",
    "zero_damaged_pages",
    "ignore_checksum_failure",
    "transaction_read_only",
)

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
       (SELECT count(*) FROM outbox_default),
       EXISTS (SELECT
                 FROM pg_inherits i
                 JOIN pg_class c ON c.oid = i.inhrelid
                CROSS JOIN LATERAL (
                      SELECT regexp_match(pg_get_expr(c.relpartbound, c.oid),
                                          'FROM \(''(.+)''\) TO \(''(.+)''\)') AS range) AS b
                WHERE i.inhparent = 'outbox'::regclass
                  AND now() + interval '1 hour' >= b.range[1]::timestamptz
                  AND now() + interval '1 hour' < b.range[2]::timestamptz)
"""
# How much of the ids is used: what the sequence has given out, against the narrower of its own end
# and what the column holds.
SELECT_IDS: LiteralString = """
SELECT i.relation, a.attlen, s.seqmax, v.last_value, i.newest
  FROM (SELECT 'historical_transactions' AS relation,
               minutebook_transactions_sequence() AS sequence,
               (SELECT max(id) FROM historical_transactions) AS newest
         UNION ALL
        SELECT 'outbox', pg_get_serial_sequence('outbox', 'id')::regclass, NULL
         UNION ALL
        SELECT 'dead_letter', pg_get_serial_sequence('dead_letter', 'id')::regclass, NULL) AS i
  JOIN pg_attribute a ON a.attrelid = i.relation::regclass AND a.attname = 'id'
  JOIN pg_sequence s ON s.seqrelid = i.sequence
 CROSS JOIN LATERAL (SELECT coalesce(pg_sequence_last_value(i.sequence), 0) AS last_value) AS v
"""

Ids = tuple[str, int, int, int, int | None]
"""A table, its id column's bytes, its sequence's end, what that gave out, the largest id."""


@dataclass(frozen=True, slots=True)
class Load:
    """What is in use now; ages in seconds."""

    connections: int
    oldest_transaction_s: float
    oldest_prepared_s: float
    standbys: int
    xid_age: int
    default_rows: int
    partition_ahead: bool


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


def ids(conn: psycopg.Connection) -> list[Ids]:
    """Return how much of the ids of each table is used."""
    return conn.execute(SELECT_IDS).fetchall()
