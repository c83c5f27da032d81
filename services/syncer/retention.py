"""Outbox partitions made ahead and dropped behind, history pruned; never in anybody's way.

A lock that is not had within 50 ms is left for the next round: an open writer delays cleaning,
cleaning never delays a writer. A round takes a part of the time between two ticks. What fails is
reported, is tried again in the next round, and stops nothing else: balances do not depend on it.
"""

import math
import time
from dataclasses import dataclass, replace
from functools import partial
from typing import LiteralString

import psycopg
import structlog

from services.syncer import metrics, partitions
from services.syncer.partitions import DROP_PARTITION, MAKE_PARTITION, Kept
from services.syncer.retention_round import Round
from shared import postgres
from shared.ledger import disk_usage

EVERY_S = 60.0
"""From one round to the next, unless it left something over."""
STEADY_S = 3600.0
"""The clock must have gone on for so long before anything is removed by it."""
NEVER_H = 10_000_000

# A clock that has stepped forward, be it Postgres's or the ticker's as well, makes all look old:
# then no boundary lies where those of an hour ago should.
SELECT_STEADY: LiteralString = """
SELECT EXISTS (
       SELECT
         FROM tick
        WHERE boundary <= now() - make_interval(secs => %(steady_s)s)
          AND boundary >= now() - make_interval(secs => 2 * %(steady_s)s + %(interval_s)s))
"""

# The last tick before the horizon goes, too, if one after it says what held from then on.
PRUNE_TICKS: LiteralString = """
DELETE FROM tick
 WHERE epoch IN (
       SELECT epoch
         FROM (SELECT epoch, max(folded_at) OVER (ORDER BY epoch) AS latest
                 FROM tick
                ORDER BY epoch LIMIT %(most)s) AS oldest
        WHERE latest < now() - make_interval(days => %(history_d)s))
   AND (SELECT folded_at FROM tick ORDER BY epoch DESC LIMIT 1)
       >= now() - make_interval(days => %(history_d)s)
RETURNING epoch
"""
# The newest balance at the horizon stays whatever its age: any later question is answered from it.
# What it has superseded goes; only what the pruned ticks changed can be that.
PRUNE_BALANCES: LiteralString = """
DELETE FROM balance old
 USING (SELECT DISTINCT ON (provider_id) provider_id, epoch
          FROM balance
         WHERE epoch >= %(pruned)s
           AND epoch <= (SELECT min(epoch) FROM tick)
         ORDER BY provider_id, epoch DESC) AS kept
 WHERE old.provider_id = kept.provider_id
   AND old.epoch < kept.epoch
"""
# What messages said whose rows were changed by hand: kept as long as outbox rows are.
PRUNE_MESSAGES: LiteralString = """
DELETE FROM received_message
 WHERE (message_id, provider_id, value) IN (
       SELECT message_id, provider_id, value
         FROM received_message
        WHERE noted_at < now() - make_interval(hours => %(outbox_h)s)
        ORDER BY noted_at
        LIMIT %(most)s)
"""
SELECT_OVERDUE: LiteralString = """
SELECT extract(epoch FROM now() - make_interval(days => %(history_d)s)
                          - (SELECT folded_at FROM tick ORDER BY epoch LIMIT 1))::float8,
       extract(epoch FROM now() - make_interval(hours => %(outbox_h)s)
                          - (SELECT min(noted_at) FROM received_message))::float8
"""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Done:
    """What one round changed; `pruned` counts ticks and messages; `finished`: nothing is left."""

    made: int
    dropped: int
    pruned: int
    finished: bool


class Retention:
    """Rounds, as they become due, over one connection after another."""

    def __init__(self, kept: Kept, *, disk_bytes: float | None = None) -> None:
        """`disk_bytes` is how much of Postgres's disk the database may take; None: not known."""
        self._kept = kept
        self._disk_bytes = disk_bytes
        self._due_at = 0.0
        self._conn: psycopg.Connection | None = None
        self._broke_off = False

    def after_tick(self, conn: psycopg.Connection, interval_s: float) -> None:
        """Do a round if one is due: right after a tick, when the next one is furthest away.

        A new connection begins with one, unless the last one ended within its round.
        """
        is_new, self._conn = conn is not self._conn, conn
        if time.monotonic() < self._due_at and (self._broke_off or not is_new):
            return
        self._due_at, self._broke_off = time.monotonic() + EVERY_S, True
        done = run_once(
            conn, self._kept, interval_s=interval_s, disk_bytes=self._disk_bytes, steady_s=STEADY_S
        )
        self._broke_off = False
        if not done.finished:
            self._due_at = 0.0


def run_once(
    conn: psycopg.Connection,
    kept: Kept,
    *,
    interval_s: float = 60.0,
    disk_bytes: float | None = None,
    steady_s: float | None = None,
) -> Done:
    """Do one bounded round between ticks that are `interval_s` apart.

    Nothing is removed for its age unless ticks say that the clock has gone on for `steady_s`.

    What fails is reported; raises `Unavailable` only if the connection is lost. A lock not had in
    50 ms is not an error.
    """
    one = Round(conn, interval_s)
    made = one.each("make_partitions", MAKE_PARTITION, partitions.ahead(kept, interval_s))
    is_steady = partial(_is_steady, conn, steady_s, interval_s)
    steady = steady_s is None or one.attempt("drop_partitions", is_steady)
    by_age_or_size = kept if steady else replace(kept, outbox_h=NEVER_H)
    expired = one.attempt("drop_partitions", partial(partitions.expired, conn, by_age_or_size))
    names = [{"name": name} for name, _ in expired or []]
    dropped, pruned = one.each("drop_partitions", DROP_PARTITION, names), 0
    if steady:
        pruned = one.slices("prune_history", partial(_prune_ticks, conn, kept), 1)
        pruned += one.slices("prune_messages", partial(_prune_messages, conn, kept), 100)
    one.attempt("measure", partial(_measure, conn, kept))
    one.attempt("measure", partial(_measure_disk, conn, disk_bytes))
    if made or dropped or pruned:
        log.info("upkeep", made=made, dropped=dropped, pruned=pruned)
    return Done(made, dropped, pruned, one.finished)


def _is_steady(conn: psycopg.Connection, steady_s: float | None, interval_s: float) -> bool:
    given = {"steady_s": steady_s, "interval_s": interval_s}
    return conn.execute(SELECT_STEADY, given).fetchall() == [(True,)]


def _prune_ticks(conn: psycopg.Connection, kept: Kept, most: int) -> int:
    """Remove the oldest ticks whose time is over, and the balances superseded by then: many."""
    given = {"history_d": kept.history_d, "most": most}
    pruned = conn.execute(PRUNE_TICKS, given).fetchall()
    if pruned:
        conn.execute(PRUNE_BALANCES, {"pruned": min(pruned)[0]})
    return len(pruned)


def _prune_messages(conn: psycopg.Connection, kept: Kept, most: int) -> int:
    return conn.execute(PRUNE_MESSAGES, {"outbox_h": kept.outbox_h, "most": most}).rowcount


def _measure(conn: psycopg.Connection, kept: Kept) -> None:
    given = {"outbox_h": kept.outbox_h, "history_d": kept.history_d}
    ((history_s, messages_s),) = conn.execute(SELECT_OVERDUE, given).fetchall()
    expired = partitions.expired(conn, kept)
    overdue_s = (expired[0][1] if expired else None, history_s, messages_s)
    for task, age_s in zip(metrics.REMOVING, overdue_s, strict=True):
        metrics.RETENTION_OVERDUE.labels(task).set(max(0.0, age_s or 0.0))
    default_rows = int(postgres.scalar(conn, "SELECT count(*) FROM outbox_default"))  # may be slow
    metrics.DEFAULT_PARTITION_ROWS.set(default_rows)
    if default_rows:
        log.warning("default_partition_rows", rows=default_rows)


def _measure_disk(conn: psycopg.Connection, disk_bytes: float | None) -> None:
    disk_usage.note(conn)
    found = disk_usage.read(conn, disk_bytes)
    metrics.DATABASE_BYTES.set(found.database_bytes)
    metrics.OUTBOX_BYTES.set(found.outbox_bytes)
    metrics.DISK_FULL_S.set(math.nan if found.full_in_s is None else found.full_in_s)
