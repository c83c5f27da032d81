"""Outbox partitions made ahead and dropped behind, history pruned; never in anybody's way.

A lock that is not had within 50 ms is left for the next round: an open writer delays cleaning,
cleaning never delays a writer. A round takes a part of the time between two ticks. What fails is
reported, is tried again in the next round, and stops nothing else: balances do not depend on it.
"""

import math
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, LiteralString, TypeVar

import psycopg
import structlog
from psycopg import errors

from services.syncer import metrics
from services.syncer.metrics import Task
from shared import postgres
from shared.errors import Unavailable

EVERY_S = 60.0
"""From one round to the next, unless it left something over."""
TASK_SHARE, TASK_S_MAX = 0.07, 2.0
"""Each task takes this share of the time between two ticks, at most so long."""
STATEMENT_SHARE, STATEMENT_S_MAX = 0.5, 5.0
SLICE_S = 0.2
AHEAD_H = 5
"""So many hours ahead, and two intervals, no hour is without a partition."""
SPAN_H, PARTITIONS_KEPT_MAX = 4, 24
"""A partition takes four hours, or more where more than 24 would be kept: each fold reads each."""

LIMITS: LiteralString = """
SELECT set_config('lock_timeout', '50ms', true),
       set_config('statement_timeout', %(statement_ms)s::text, true)
"""
MAKE_PARTITION: LiteralString = """
SELECT minutebook_make_partition(
       now() + make_interval(hours => %(ahead_h)s), make_interval(hours => %(span_h)s))
"""
# Those that somebody attached under another name are theirs.
SELECT_EXPIRED: LiteralString = r"""
SELECT name, extract(epoch FROM since)::float8
  FROM (SELECT c.relname AS name, now() - make_interval(hours => %(outbox_h)s)
               - substring(pg_get_expr(c.relpartbound, c.oid), 'TO \(''(.+)''\)')::timestamptz
               AS since
          FROM pg_inherits i
          JOIN pg_class c ON c.oid = i.inhrelid
         WHERE i.inhparent = 'outbox'::regclass
           AND c.relname ~ '^outbox_[0-9]{8}_[0-9]{2}(_[0-9]+)?$') AS made
 WHERE since > interval '0'
 ORDER BY since DESC
"""
DROP_PARTITION: LiteralString = "SELECT minutebook_drop_partition(%(name)s)"
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
# What messages said whose rows were changed by hand: kept as long as the change's outbox rows.
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

T = TypeVar("T")
Given = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Done:
    """What one round changed; `pruned` counts ticks and messages; `finished`: nothing is left."""

    made: int
    dropped: int
    pruned: int
    finished: bool


class Retention:
    """Rounds, as they become due, over one connection after another."""

    def __init__(self, *, outbox_h: int, history_d: int) -> None:
        """Both are how long something is kept: hours and days."""
        self._kept = {"outbox_h": outbox_h, "history_d": history_d}
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
        done = run_once(conn, **self._kept, interval_s=interval_s)
        self._broke_off = False
        if not done.finished:
            self._due_at = 0.0


def run_once(
    conn: psycopg.Connection, *, outbox_h: int, history_d: int, interval_s: float = 60.0
) -> Done:
    """Do one bounded round between ticks that are `interval_s` apart.

    What fails is reported; raises `Unavailable` only if the connection is lost. A lock not had in
    50 ms is not an error.
    """
    kept = {"outbox_h": outbox_h, "history_d": history_d}
    one = _Round(conn, interval_s)
    hours = range(AHEAD_H + 2 * int(interval_s // 3600))
    ahead = [{"ahead_h": hour, "span_h": span_h(outbox_h)} for hour in hours]
    made = one.each("make_partitions", MAKE_PARTITION, ahead)
    expired = one.attempt("drop_partitions", partial(_rows, conn, SELECT_EXPIRED, kept)) or []
    dropped = one.each("drop_partitions", DROP_PARTITION, [{"name": name} for name, _ in expired])
    pruned = one.slices("prune_history", partial(_prune_ticks, conn, kept), 1)
    pruned += one.slices(
        "prune_messages", lambda n: conn.execute(PRUNE_MESSAGES, {**kept, "most": n}).rowcount, 100
    )
    one.attempt("measure", partial(_measure, conn, kept))
    if made or dropped or pruned:
        log.info("upkeep", made=made, dropped=dropped, pruned=pruned)
    return Done(made, dropped, pruned, one.finished)


def span_h(outbox_h: int) -> int:
    """Return how many hours a partition takes, so that no more than some are kept."""
    return SPAN_H * math.ceil(outbox_h / (SPAN_H * PARTITIONS_KEPT_MAX))


class _Round:
    """Transactions of which each may fail, or find a lock held, and the next one goes on."""

    def __init__(self, conn: psycopg.Connection, interval_s: float) -> None:
        self._conn = conn
        self._task_s = min(TASK_S_MAX, TASK_SHARE * interval_s)
        self._statement_ms = round(1000 * min(STATEMENT_S_MAX, STATEMENT_SHARE * interval_s))
        self._locked = False
        self._failed: set[Task] = set()
        self.finished = True

    def attempt(self, task: Task, work: Callable[[], T]) -> T | None:
        """Return what `work` returns; None if it failed. A task's first failure is reported."""
        try:
            with postgres.translating(), self._conn.transaction():
                self._conn.execute(LIMITS, {"statement_ms": self._statement_ms})
                return work()
        except Unavailable as error:
            if self._conn.closed:
                raise
            self._locked = isinstance(error.__cause__, errors.LockNotAvailable)
            if not self._locked and task not in self._failed:
                self._failed.add(task)
                _report(task, error)
        return None

    def each(self, task: Task, query: LiteralString, several: Iterable[Given]) -> int:
        """Ask `query` with each of `several` while there is time; return how often it said yes."""
        done, until = 0, time.monotonic() + self._task_s
        for given in several:
            if time.monotonic() > until:
                self.finished = False
                break
            rows = self.attempt(task, partial(_rows, self._conn, query, given))
            done += rows == [(True,)]
            if rows is None and self._locked:
                break  # who holds this up holds up the rest, too, and writers queue behind each try
        return done

    def slices(self, task: Task, remove: Callable[[int], int], size: int) -> int:
        """Have `remove` take away `size` rows, then as many as take `SLICE_S`; return their sum."""
        removed, began, until = 0, time.monotonic(), time.monotonic() + self._task_s
        while (count := self.attempt(task, partial(remove, size)) or 0) == size:
            removed, last, began = removed + count, began, time.monotonic()
            if began > until:
                self.finished = False
                return removed
            size *= 2 if began - last < SLICE_S / 2 else 1
        return removed + count


def _report(task: Task, error: Unavailable) -> None:
    metrics.RETENTION_FAILURES.labels(task).inc()
    if task == "make_partitions" and isinstance(error.__cause__, errors.CheckViolation):
        log.error("default_partition_in_use", hint="rows there lie in the time of a new partition")
    else:
        log.warning("upkeep_failed", task=task, detail=error.detail)


def _rows(conn: psycopg.Connection, query: LiteralString, given: Given) -> list[tuple[Any, ...]]:
    return conn.execute(query, given).fetchall()


def _prune_ticks(conn: psycopg.Connection, kept: Given, most: int) -> int:
    """Remove the oldest ticks whose time is over, and the balances superseded by then: many."""
    pruned = _rows(conn, PRUNE_TICKS, {**kept, "most": most})
    if pruned:
        conn.execute(PRUNE_BALANCES, {"pruned": min(pruned)[0]})
    return len(pruned)


def _measure(conn: psycopg.Connection, kept: Given) -> None:
    ((history_s, messages_s),) = _rows(conn, SELECT_OVERDUE, kept)
    expired = _rows(conn, SELECT_EXPIRED, kept)
    overdue_s = (expired[0][1] if expired else None, history_s, messages_s)
    for task, age_s in zip(metrics.REMOVING, overdue_s, strict=True):
        metrics.RETENTION_OVERDUE.labels(task).set(max(0.0, age_s or 0.0))
    default_rows = int(postgres.scalar(conn, "SELECT count(*) FROM outbox_default"))  # may be slow
    metrics.DEFAULT_PARTITION_ROWS.set(default_rows)
    if default_rows:
        log.warning("default_partition_rows", rows=default_rows)
