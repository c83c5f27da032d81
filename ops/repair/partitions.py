"""The outbox's partitions: which there are, and the default one emptied.

Rows of the default partition go where they would have gone in time.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import LiteralString

import psycopg
import structlog

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
# It copies before it needs anybody out of the way.
LIMITS: LiteralString = "SET LOCAL statement_timeout = '15min'; SET LOCAL lock_timeout = '50ms'"
REPAIR_DEFAULT: LiteralString = "SELECT minutebook_repair_default()"

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Partition:
    """One partition; `rows` is an estimate (None: none yet), exact for the default partition."""

    name: str
    bounds: str
    rows: int | None
    bytes: int


def existing(conn: psycopg.Connection) -> list[Partition]:
    """Return all partitions of the outbox, by name. Raises `Unavailable`."""
    with postgres.translating():
        return [Partition(*row) for row in conn.execute(SELECT_PARTITIONS)]


def repair_default(
    conn: psycopg.Connection, before_commit: Callable[[int], object] = lambda _: None
) -> int:
    """Move the default partition's rows into partitions of their hours; returns their number.

    One transaction, beside writers, syncers and ticks: each row keeps the transaction id by which
    it is counted. Others wait for it for 50 ms at a time at most, and then for the swap, some
    milliseconds and a few more per hour. `before_commit` is called with the number, to write within
    the same commit. Raises `Unavailable`, also when a transaction that stays open is in the way for
    some seconds; then nothing has changed.
    """
    started = time.monotonic()
    with postgres.translating(), conn.transaction():
        conn.execute(LIMITS)
        moved = int(postgres.scalar(conn, REPAIR_DEFAULT))
        before_commit(moved)
    duration_ms = round((time.monotonic() - started) * 1000)
    log.info("default_partition_repaired", rows=moved, duration_ms=duration_ms)
    return moved
