"""The outbox's partitions: which there are and what is in them."""

from dataclasses import dataclass
from typing import LiteralString

import psycopg

from shared import postgres

# Rows are what the last VACUUM or ANALYZE saw, but for the default partition, which is counted.
SELECT_PARTITIONS: LiteralString = """
SELECT c.relname, pg_get_expr(c.relpartbound, c.oid),
       CASE WHEN c.relname = 'outbox_default' THEN (SELECT count(*) FROM outbox_default)
            WHEN c.reltuples >= 0 THEN c.reltuples::bigint
       END,
       pg_total_relation_size(c.oid)
  FROM pg_inherits i
  JOIN pg_class c ON c.oid = i.inhrelid
 WHERE i.inhparent = 'outbox'::regclass
 ORDER BY c.relname
"""


@dataclass(frozen=True, slots=True)
class Partition:
    """One partition; `rows` is an estimate (None: none yet), exact for the default partition."""

    name: str
    bounds: str
    rows: int | None
    bytes: int


def partitions(conn: psycopg.Connection) -> list[Partition]:
    """Return all partitions of the outbox, by name. Raises `Unavailable`."""
    with postgres.translating():
        return [Partition(*row) for row in conn.execute(SELECT_PARTITIONS)]
