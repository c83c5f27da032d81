"""Partitions of the outbox made ahead and dropped behind, and history pruned; never in the way.

Every lock is given up after 50 ms and tried again at the next round: an open writer delays
cleaning, cleaning never delays a writer.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import LiteralString

import psycopg
import structlog
from psycopg import errors

from services.syncer import metrics
from shared import postgres

AHEAD_H = range(5)
"""A partition takes four hours, or less beside hourly ones; no hour until then is without one."""
PRUNED_TICKS_MAX = 100
FORGOTTEN_MAX = 10_000
EVERY_S = 60.0

LIMIT_LOCK_WAIT: LiteralString = "SET LOCAL lock_timeout = '50ms'"
MAKE_PARTITION: LiteralString = """
SELECT minutebook_make_partition(now() + make_interval(hours => %(hours)s))
"""
SELECT_EXPIRED: LiteralString = r"""
SELECT c.relname
  FROM pg_inherits i
  JOIN pg_class c ON c.oid = i.inhrelid
 WHERE i.inhparent = 'outbox'::regclass
   AND c.relname ~ '^outbox_[0-9]{8}_[0-9]{2}$'
   AND (regexp_match(pg_get_expr(c.relpartbound, c.oid), 'TO \(''(.+)''\)'))[1]::timestamptz
       < now() - make_interval(hours => %(retention_h)s)
 ORDER BY c.relname
"""
DROP_PARTITION: LiteralString = "SELECT minutebook_drop_partition(%(name)s)"
COUNT_DEFAULT: LiteralString = "SELECT count(*) FROM outbox_default"

PRUNE_TICKS: LiteralString = """
DELETE FROM tick
 WHERE epoch IN (
       SELECT epoch
         FROM tick
        WHERE epoch < (SELECT epoch
                         FROM tick
                        WHERE folded_at >= now() - make_interval(days => %(retention_d)s)
                        ORDER BY epoch
                        LIMIT 1)
        ORDER BY epoch
        LIMIT %(ticks_max)s)
RETURNING epoch
"""
# The newest balance at the horizon stays whatever its age: any later question is answered from it.
# What it has superseded goes. Only what the pruned ticks changed is looked at.
PRUNE_BALANCES: LiteralString = """
DELETE FROM balance old
 USING (SELECT DISTINCT ON (provider_id) provider_id, epoch
          FROM balance
         WHERE epoch >= %(first)s
           AND epoch <= (SELECT min(epoch) FROM tick)
         ORDER BY provider_id, epoch DESC) AS kept
 WHERE old.provider_id = kept.provider_id
   AND old.epoch < kept.epoch
"""

# What messages said whose rows were changed by hand: kept as long as the outbox rows of the change.
FORGET_RECEIVED: LiteralString = """
DELETE FROM received_message
 WHERE (message_id, provider_id, value) IN (
       SELECT message_id, provider_id, value
         FROM received_message
        WHERE noted_at < now() - make_interval(hours => %(retention_h)s)
        ORDER BY noted_at
        LIMIT %(most)s)
"""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Done:
    """What one round changed."""

    made: int
    dropped: int
    pruned: int


def run_once(conn: psycopg.Connection, *, outbox_h: int, history_d: int) -> Done:
    """Do one bounded round. Raises `Unavailable`; a lock not had in 50 ms is not an error."""
    with postgres.translating():
        made = _until_in_the_way(conn, [partial(_make, conn, hours) for hours in AHEAD_H])
        expired = conn.execute(SELECT_EXPIRED, {"retention_h": outbox_h}).fetchall()
        dropped = _until_in_the_way(conn, [partial(_drop, conn, name) for (name,) in expired])
        pruned = _prune(conn, history_d) + _forget(conn, outbox_h)
        _report_default(conn)
    if made or dropped or pruned:
        log.info("upkeep", made=made, dropped=dropped, pruned=pruned)
    return Done(made, dropped, pruned)


def _until_in_the_way(conn: psycopg.Connection, works: Iterable[Callable[[], bool]]) -> int:
    done, in_use = 0, False
    for work in works:
        try:
            with conn.transaction():
                conn.execute(LIMIT_LOCK_WAIT)
                done += work()
        except errors.LockNotAvailable:
            break  # who holds this up holds up the rest, too, and writers queue behind each attempt
        except errors.CheckViolation:
            in_use = True
    if in_use:
        log.error("default_partition_in_use", hint="rows there lie in the time of a new partition")
    return done


def _make(conn: psycopg.Connection, hours: int) -> bool:
    return conn.execute(MAKE_PARTITION, {"hours": hours}).fetchone() == (True,)


def _drop(conn: psycopg.Connection, name: str) -> bool:
    return conn.execute(DROP_PARTITION, {"name": name}).fetchone() == (True,)


def _prune(conn: psycopg.Connection, history_d: int) -> int:
    with conn.transaction():
        limits = {"retention_d": history_d, "ticks_max": PRUNED_TICKS_MAX}
        epochs = [epoch for (epoch,) in conn.execute(PRUNE_TICKS, limits)]
        if not epochs:
            return 0
        return len(epochs) + conn.execute(PRUNE_BALANCES, {"first": min(epochs)}).rowcount


def _forget(conn: psycopg.Connection, retention_h: int) -> int:
    limits = {"retention_h": retention_h, "most": FORGOTTEN_MAX}
    return conn.execute(FORGET_RECEIVED, limits).rowcount


def _report_default(conn: psycopg.Connection) -> None:
    row = conn.execute(COUNT_DEFAULT).fetchone()
    rows = row[0] if row else 0
    metrics.DEFAULT_PARTITION_ROWS.set(rows)
    if rows:
        log.warning("default_partition_rows", rows=rows)
