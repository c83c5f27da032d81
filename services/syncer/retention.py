"""Partitions of the outbox made ahead and dropped behind, and history pruned; never in the way.

Every lock is given up after 50 ms and tried again at the next round: an open writer delays
cleaning, cleaning never delays a writer. A round takes a part of the time between two ticks, and
what is left over waits for the next round. What fails is reported and tried again at the next
round, and stops nothing else: balances do not depend on it.
"""

import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import LiteralString, TypeVar

import psycopg
import structlog
from psycopg import errors

from services.syncer import metrics, pruning
from services.syncer.metrics import Task
from shared import postgres
from shared.errors import Unavailable

EVERY_S = 60.0
"""From one round to the next, unless it left something over."""
TASK_SHARE, TASK_S_MAX = 0.07, 2.0
"""Each task takes this share of the time between two ticks, at most so long."""
STATEMENT_SHARE, STATEMENT_S_MAX = 0.5, 5.0
SLICE_S = 0.2
"""Rows are removed in slices that take about so long each."""
AHEAD_H = 5
"""So many hours ahead, and two intervals, no hour is without a partition."""
SPAN_H = 4
PARTITIONS_KEPT_MAX = 24
"""A partition takes four hours, or more where so many of them would be kept: each read of what is
fresh looks into each of them."""

LIMITS: LiteralString = """
SELECT set_config('lock_timeout', '50ms', true),
       set_config('statement_timeout', %(statement_ms)s::text, true)
"""
LIMIT_LOCK_WAIT: LiteralString = "SET LOCAL lock_timeout = '50ms'"
MAKE_PARTITION: LiteralString = """
SELECT minutebook_make_partition(
       now() + make_interval(hours => %(ahead_h)s), make_interval(hours => %(span_h)s))
"""
# Those that somebody attached under another name are theirs.
EXPIRED: LiteralString = r"""
SELECT name, extract(epoch FROM now() - make_interval(hours => %(outbox_h)s) - ends)::float8
  FROM (SELECT c.relname AS name,
               (regexp_match(pg_get_expr(c.relpartbound, c.oid), 'TO \(''(.+)''\)'))[1]::timestamptz
               AS ends
          FROM pg_inherits i
          JOIN pg_class c ON c.oid = i.inhrelid
         WHERE i.inhparent = 'outbox'::regclass
           AND c.relname ~ '^outbox_[0-9]{8}_[0-9]{2}(_[0-9]+)?$') AS made
 WHERE ends < now() - make_interval(hours => %(outbox_h)s)
 ORDER BY ends
"""
DROP_PARTITION: LiteralString = "SELECT minutebook_drop_partition(%(name)s)"
COUNT_DEFAULT: LiteralString = "SELECT count(*) FROM outbox_default"
SELECT_OVERDUE: LiteralString = """
SELECT extract(epoch FROM now() - make_interval(days => %(history_d)s)
                          - (SELECT folded_at FROM tick ORDER BY epoch LIMIT 1))::float8,
       extract(epoch FROM now() - make_interval(hours => %(outbox_h)s)
                          - (SELECT min(noted_at) FROM received_message))::float8
"""

log = structlog.get_logger()

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Done:
    """What one round changed; `pruned` counts ticks and messages. Not `finished`: more is left."""

    made: int
    dropped: int
    pruned: int
    finished: bool


class Retention:
    """Rounds, as they become due, over one connection after another."""

    def __init__(self, *, outbox_h: int, history_d: int) -> None:
        """Both are how long something is kept: hours and days."""
        self._outbox_h = outbox_h
        self._history_d = history_d
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
            conn, outbox_h=self._outbox_h, history_d=self._history_d, interval_s=interval_s
        )
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
    one = _Round(conn, interval_s)
    ahead = range(AHEAD_H + 2 * int(interval_s // 3600))
    made = one.each("make_partitions", [partial(_make, conn, hours, outbox_h) for hours in ahead])
    expired = one.attempt("drop_partitions", partial(_expired, conn, outbox_h)) or []
    dropped = one.each("drop_partitions", [partial(_drop, conn, name) for name, _ in expired])
    pruned = one.slices("prune_history", partial(pruning.prune_history, conn, history_d), 1)
    pruned += one.slices("prune_messages", partial(pruning.prune_messages, conn, outbox_h), 100)
    one.attempt("measure", partial(_report_default, conn))
    one.attempt("measure", partial(_report_overdue, conn, outbox_h, history_d))
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
        """Return what `work` returns; None if it came to nothing. The first failure is reported."""
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

    def each(self, task: Task, works: Iterable[Callable[[], bool]]) -> int:
        """Attempt one after the other while there is time; returns how many did something."""
        done, until = 0, time.monotonic() + self._task_s
        for work in works:
            if time.monotonic() > until:
                self.finished = False
                break
            did = self.attempt(task, work)
            done += bool(did)
            if did is None and self._locked:
                break  # who holds this up holds up the rest, too, and writers queue behind each try
        return done

    def slices(self, task: Task, remove: Callable[[int], int], size: int) -> int:
        """Have `remove` take away `size` at first, then as many as it can in `SLICE_S`; a sum."""
        removed, until = 0, time.monotonic() + self._task_s
        while True:
            began = time.monotonic()
            count = self.attempt(task, partial(remove, size)) or 0
            removed += count
            now = time.monotonic()
            if count < size:
                return removed
            if now > until:
                self.finished = False
                return removed
            if now - began < SLICE_S / 2:
                size *= 2


def _report(task: Task, error: Unavailable) -> None:
    metrics.RETENTION_FAILURES.labels(task).inc()
    if task == "make_partitions" and isinstance(error.__cause__, errors.CheckViolation):
        log.error("default_partition_in_use", hint="rows there lie in the time of a new partition")
    else:
        log.warning("upkeep_failed", task=task, detail=error.detail)


def _make(conn: psycopg.Connection, ahead_h: int, outbox_h: int) -> bool:
    made = {"ahead_h": ahead_h, "span_h": span_h(outbox_h)}
    return conn.execute(MAKE_PARTITION, made).fetchone() == (True,)


def _expired(conn: psycopg.Connection, outbox_h: int) -> list[tuple[str, float]]:
    return conn.execute(EXPIRED, {"outbox_h": outbox_h}).fetchall()


def _drop(conn: psycopg.Connection, name: str) -> bool:
    return conn.execute(DROP_PARTITION, {"name": name}).fetchone() == (True,)


def _report_default(conn: psycopg.Connection) -> None:
    rows = int(postgres.scalar(conn, COUNT_DEFAULT))
    metrics.DEFAULT_PARTITION_ROWS.set(rows)
    if rows:
        log.warning("default_partition_rows", rows=rows)


def _report_overdue(conn: psycopg.Connection, outbox_h: int, history_d: int) -> None:
    kept = {"outbox_h": outbox_h, "history_d": history_d}
    history_s, messages_s = conn.execute(SELECT_OVERDUE, kept).fetchall()[0]
    partitions_s = max((overdue_s for _, overdue_s in _expired(conn, outbox_h)), default=0.0)
    metrics.overdue("drop_partitions", partitions_s)
    metrics.overdue("prune_history", history_s or 0.0)
    metrics.overdue("prune_messages", messages_s or 0.0)
