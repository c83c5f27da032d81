"""The outbox's partitions under test."""

from datetime import datetime
from typing import LiteralString

import psycopg

ATTACHED: LiteralString = (
    "SELECT inhrelid::regclass::text FROM pg_inherits"
    " WHERE inhparent = 'outbox'::regclass ORDER BY 1"
)
SPANS: LiteralString = r"""
SELECT relname, b[1]::timestamptz AS begins, b[2]::timestamptz
  FROM pg_class c, regexp_match(pg_get_expr(relpartbound, oid), '\(''(.+)''\) TO \(''(.+)''\)') AS b
 WHERE relname ~ '^outbox_2'
   AND relkind = 'r'
 ORDER BY begins
"""
# Retention believes a clock by which ticks have gone on for an hour: here the first tick says so.
GO_ON: LiteralString = """
UPDATE tick
   SET boundary = now() - interval '90 minutes'
 WHERE epoch = 0
   AND NOT EXISTS (
       SELECT
         FROM tick
        WHERE boundary BETWEEN now() - interval '110 minutes' AND now() - interval '61 minutes')
"""
IN_DEFAULT: LiteralString = "SELECT count(*) FROM ONLY outbox_default"


def in_default(conn: psycopg.Connection) -> int:
    """Return how many rows lie in the default partition."""
    return int(conn.execute(IN_DEFAULT).fetchall()[0][0])


def made(conn: psycopg.Connection) -> list[str]:
    """Return the names of all but the default one, in order."""
    return [name for (name,) in conn.execute(ATTACHED) if name != "outbox_default"]


def drop_made(conn: psycopg.Connection) -> None:
    """Leave the outbox with the default partition only, as if the syncer was long away."""
    for name in made(conn):
        conn.execute(f"DROP TABLE {name}")


def spans(conn: psycopg.Connection) -> list[tuple[str, datetime, datetime]]:
    """Return the name of each partition that was made, and what it covers, in order of time."""
    return conn.execute(SPANS).fetchall()
