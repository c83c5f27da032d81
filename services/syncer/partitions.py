"""Repairing the outbox's default partition: its rows go where they would have gone in time."""

import time
from collections.abc import Callable
from typing import LiteralString

import psycopg
import structlog

from services.syncer import metrics
from services.syncer.upkeep import COUNT_DEFAULT, LIMIT_LOCK_WAIT
from shared import postgres

# It copies before it needs anybody out of the way.
LIMIT_COPYING: LiteralString = "SET LOCAL statement_timeout = '15min'"
REPAIR_DEFAULT: LiteralString = "SELECT minutebook_repair_default()"

log = structlog.get_logger()


def repair_default(
    conn: psycopg.Connection, in_commit: Callable[[int], object] = lambda _: None
) -> int:
    """Move the default partition's rows into partitions of their hours; returns their number.

    One transaction, beside writers, syncers and ticks: each row keeps the transaction id by which
    it is counted. Nobody waits for it for more than 50 ms at a time, and then for the swap, some
    milliseconds and one more per hour. `in_commit` is told the number, to write beside it what
    belongs into its commit. Raises `Unavailable`, also when a transaction that stays
    open is in the way for some seconds; then nothing has changed.
    """
    started = time.monotonic()
    with postgres.translating():
        with conn.transaction():
            conn.execute(LIMIT_LOCK_WAIT)
            conn.execute(LIMIT_COPYING)
            moved = int(conn.execute(REPAIR_DEFAULT).fetchall()[0][0])
            in_commit(moved)
        metrics.DEFAULT_PARTITION_ROWS.set(conn.execute(COUNT_DEFAULT).fetchall()[0][0])
    duration_ms = round((time.monotonic() - started) * 1000)
    log.info("default_partition_repaired", rows=moved, duration_ms=duration_ms)
    return moved
