"""The outbox's partitions under test."""

from typing import LiteralString

import psycopg

ATTACHED: LiteralString = (
    "SELECT inhrelid::regclass::text FROM pg_inherits"
    " WHERE inhparent = 'outbox'::regclass ORDER BY 1"
)
IN_DEFAULT: LiteralString = "SELECT count(*) FROM ONLY outbox_default"


def in_default(conn: psycopg.Connection) -> int:
    """Return how many rows lie in the default partition."""
    return int(conn.execute(IN_DEFAULT).fetchall()[0][0])


def drop_hourly(conn: psycopg.Connection) -> None:
    """Leave the outbox without any hourly partition, as if the syncer was long away."""
    for (name,) in conn.execute(ATTACHED).fetchall():
        if name != "outbox_default":
            conn.execute(f"DROP TABLE {name}")
