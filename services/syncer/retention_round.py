"""One round of retention: transactions of which each is short, may fail, and stops no other."""

import time
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import LiteralString, TypeVar

import psycopg
import structlog
from psycopg import errors

from services.syncer import metrics
from services.syncer.metrics import Task
from shared import postgres
from shared.errors import Unavailable

TASK_SHARE, TASK_S_MAX = 0.07, 2.0
"""Each task takes this share of the time between two ticks, at most so long."""
STATEMENT_SHARE, STATEMENT_S_MAX = 0.5, 5.0
SLICE_S = 0.2

LIMITS: LiteralString = """
SELECT set_config('lock_timeout', '50ms', true),
       set_config('statement_timeout', %(statement_ms)s::text, true)
"""

log = structlog.get_logger()

T = TypeVar("T")


class Round:
    """Transactions of which each may fail, or find a lock held, and the next one goes on."""

    def __init__(self, conn: psycopg.Connection, interval_s: float) -> None:
        """`interval_s` is the time between two ticks."""
        self._conn = conn
        self._task_s = min(TASK_S_MAX, TASK_SHARE * interval_s)
        self._statement_ms = round(1000 * min(STATEMENT_S_MAX, STATEMENT_SHARE * interval_s))
        self._locked = False
        self._failed: set[Task] = set()
        self.finished = True
        """Whether nothing is left over."""

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

    def each(
        self, task: Task, query: LiteralString, several: Iterable[Mapping[str, object]]
    ) -> int:
        """Ask `query` with each of `several` while there is time; return how often it said yes."""
        done, until = 0, time.monotonic() + self._task_s
        for given in several:
            if time.monotonic() > until:
                self.finished = False
                break
            said = self.attempt(task, partial(_says_yes, self._conn, query, given))
            done += said is True
            if said is None and self._locked:
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


def _says_yes(conn: psycopg.Connection, query: LiteralString, given: Mapping[str, object]) -> bool:
    return conn.execute(query, given).fetchall() == [(True,)]


def _report(task: Task, error: Unavailable) -> None:
    metrics.RETENTION_FAILURES.labels(task).inc()
    if task == "make_partitions" and isinstance(error.__cause__, errors.CheckViolation):
        log.error("default_partition_in_use", hint="rows there lie in the time of a new partition")
    else:
        log.warning("upkeep_failed", task=task, detail=error.detail)
